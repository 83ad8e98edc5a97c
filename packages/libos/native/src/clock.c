/* Time without leaving the enclave: the host's clock is asked at the start and the processor's counter does the rest.
 * The host gives the time and how fast the counter runs, so both are its word; inside time only runs forward. */
#include "libos.h"

#define CLOCK_REALTIME 0
#define SHIFT 32

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
    if (now < latest[row]) now = latest[row];
    latest[row] = now;
    return now;
}
