/* Time without leaving the enclave: the host's clock is asked at the start and the processor's counter does the rest.
 * The host gives the time and how fast the counter runs, so both are its word; inside time only runs forward. */
#include "libos.h"

#define CLOCK_REALTIME 0
#define SHIFT 32
#define SYS_GETTIMEOFDAY 96
#define SYS_CLOCK_GETTIME 228
#define EFAULT 14
/* Realtime, monotonic, monotonic raw, both coarse ones, boottime: not those of processors, which the core knows. */
#define ANSWERED 0xf3u

static uint64_t first_tick, first_realtime, first_monotonic, scale;
static uint64_t latest[2];

static uint64_t ticks(void) {
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

bool libos_clock_start(uint64_t ticks_per_second);
bool libos_clock_start(uint64_t ticks_per_second) {
    uint64_t now[2];
    if (ticks_per_second < 100000000 || ticks_per_second > 100000000000 || !libos_host_clock(now)) return false;
    scale = (uint64_t)((((unsigned __int128)1000000000) << SHIFT) / ticks_per_second);
    first_tick = ticks();
    first_realtime = now[0];
    first_monotonic = now[1];
    return true;
}

/* Realtime (0, 5) or monotonic (all others), in nanoseconds. */
uint64_t libos_clock_now(uint32_t clock) {
    uint64_t passed = (uint64_t)(((unsigned __int128)(ticks() - first_tick) * scale) >> SHIFT);
    uint32_t row = clock == CLOCK_REALTIME || clock == 5 ? 0 : 1;
    uint64_t now = passed + (row == 0 ? first_realtime : first_monotonic);
    /* Threads ask without a lock: what they overwrite of one another is older only where counters of processors differ. */
    uint64_t before = __atomic_load_n(&latest[row], __ATOMIC_RELAXED);
    if (now < before) return before;
    __atomic_store_n(&latest[row], now, __ATOMIC_RELAXED);
    return now;
}

/* What the vDSO does on Linux: calls for the time by programs, which need nothing of the core. */
bool libos_clock_call(uint32_t number, uint64_t first, uint64_t second, int64_t *result) {
    uint64_t user = second, clock = first, unit = 1;
    if (number == SYS_GETTIMEOFDAY) {
        if (first == 0 || second != 0) return false;
        user = first, clock = CLOCK_REALTIME, unit = 1000;
    } else if (number != SYS_CLOCK_GETTIME || (ANSWERED >> (clock & 63) & 1) == 0 || clock > 63) {
        return false;
    }
    uint64_t now = libos_clock_now((uint32_t)clock);
    uint64_t time[2] = {now / 1000000000, now % 1000000000 / unit};
    bool good = libos_in_user(user, sizeof time) && libos_guarded_copy((void *)user, time, sizeof time);
    *result = good ? 0 : -EFAULT;
    return true;
}
