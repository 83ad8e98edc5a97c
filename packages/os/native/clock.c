/* Time: the monotonic clock, the time stamp counter and its frequency. */
#include "nsgx_os.h"
#include <time.h>
#include <x86intrin.h>

uint64_t monotonic_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

int poll_remaining_ms(uint64_t deadline_ns) {
  uint64_t now = monotonic_ns();
  if (now >= deadline_ns) return 0;
  uint64_t ms = (deadline_ns - now + 999999) / 1000000;
  return ms > INT32_MAX ? INT32_MAX : (int)ms;
}

/* A double: exact below 2^53, and a JavaScript number without a BigInt above. */
EXPORT double nsgx_rdtsc(void) { return (double)__rdtsc(); }

/* Cycles of the time stamp counter per second, measured over `ms` milliseconds (best of three). */
EXPORT double nsgx_tsc_hz(uint32_t ms) {
  double best = 0, best_error = 1e300;
  for (int round = 0; round < 3; round++) {
    uint64_t a0 = __rdtsc(), t0 = monotonic_ns(), b0 = __rdtsc();
    uint64_t until = t0 + (uint64_t)ms * 1000000ull;
    struct timespec ts = {(time_t)(until / 1000000000ull), (long)(until % 1000000000ull)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR) {
    }
    uint64_t a1 = __rdtsc(), t1 = monotonic_ns(), b1 = __rdtsc();
    double error = (double)(b0 - a0) + (double)(b1 - a1);
    if (error < best_error) {
      best_error = error;
      best = (((double)a1 + (double)b1) - ((double)a0 + (double)b0)) / 2 * 1e9 / (double)(t1 - t0);
    }
  }
  return best;
}
