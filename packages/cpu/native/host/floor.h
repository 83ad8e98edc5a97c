/* The least that a round trip between two processes can cost: one shared word, spin or futex, nothing done. */
#ifndef NSGX_FLOOR_H
#define NSGX_FLOOR_H
#define _GNU_SOURCE
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <x86intrin.h>

enum { FLOOR_IDLE = 0, FLOOR_CALL = 1, FLOOR_DONE = 2 };

struct floor {
  _Atomic uint32_t state;
  uint32_t spin;
  char pad[120];
  _Atomic uint32_t server_asleep;
  char pad2[60];
  _Atomic uint32_t caller_asleep;
};

/* Waits until the state is `wanted`; spins for `spin` rounds first. */
static inline void floor_await(struct floor *f, uint32_t wanted, uint32_t spin, _Atomic uint32_t *asleep) {
  for (uint32_t i = 0; i < spin; i++) {
    if (f->state == wanted) return;
    _mm_pause();
  }
  *asleep = 1;
  for (;;) {
    uint32_t seen = f->state;
    if (seen == wanted) break;
    syscall(SYS_futex, &f->state, FUTEX_WAIT, seen, 0, 0, 0);
  }
  *asleep = 0;
}

static inline void floor_set(struct floor *f, uint32_t state, _Atomic uint32_t *asleep) {
  f->state = state;
  if (*asleep) syscall(SYS_futex, &f->state, FUTEX_WAKE, 1, 0, 0, 0);
}
#endif
