/*
 * Futexes on memory that other processes map as well.
 *
 * Doorbell protocol. A ringer increments the word and, only if `asleep` is set, wakes it. A sleeper sets
 * `asleep`, passes a full fence, looks at the word again and only then sleeps; so of the ringer's increment
 * and the sleeper's flag at least one is seen by the other side. Every wait has a deadline: a hostile process
 * that shares the memory can move a waiter to another word (FUTEX_CMP_REQUEUE), and only time ends that.
 */
#include "nsgx_os.h"
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <time.h>
#include <x86intrin.h>

#define YIELD_CYCLES 3000u

long futex_wake_word(uint32_t *word, int count) { return syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0); }

void ring_doorbell(uint32_t *word, uint32_t *asleep) {
  __atomic_add_fetch(word, 1, __ATOMIC_SEQ_CST);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  if (!asleep || __atomic_load_n(asleep, __ATOMIC_SEQ_CST)) futex_wake_word(word, INT_MAX);
}

int futex_wait_until(uint32_t *word, uint32_t expected, uint64_t deadline_ns) {
  struct timespec until = {(time_t)(deadline_ns / 1000000000ull), (long)(deadline_ns % 1000000000ull)};
  for (;;) { /* FUTEX_WAIT_BITSET takes an absolute time, so an interrupted wait does not start anew */
    long r = syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected, &until, NULL, FUTEX_BITSET_MATCH_ANY);
    if (r == 0) return 0;
    if (errno != EINTR) return -errno;
  }
}

EXPORT int64_t nsgx_futex_wake(uint64_t address, int32_t count) {
  return result(futex_wake_word((uint32_t *)address, count));
}

/* 0 woken, 1 the word already differed, 2 timeout. */
EXPORT int64_t nsgx_futex_wait(uint64_t address, uint32_t expected, uint32_t timeout_us) {
  int r = futex_wait_until((uint32_t *)address, expected, monotonic_ns() + (uint64_t)timeout_us * 1000);
  if (r == -EAGAIN) return 1;
  if (r == -ETIMEDOUT) return 2;
  return r;
}

/* Moves waiters of one word to another: what a hostile neighbour can do, for the tests and demonstrations. */
EXPORT int64_t nsgx_futex_requeue(uint64_t from, uint64_t to, int32_t wake, int32_t move) {
  return result(syscall(SYS_futex, (uint32_t *)from, FUTEX_REQUEUE, wake, (void *)(uintptr_t)move, (uint32_t *)to, 0));
}

/* Increments the word and wakes its sleepers if `asleep` is set (asleep 0: always). Returns the new value. */
EXPORT int64_t nsgx_ring(uint64_t word, uint64_t asleep) {
  ring_doorbell((uint32_t *)word, (uint32_t *)asleep);
  return __atomic_load_n((uint32_t *)word, __ATOMIC_RELAXED);
}

/* Whoever is to change the word may wait for this very CPU: a spin that lasts lets others run in between. */
static inline int spin(uint32_t *word, uint32_t expected, uint64_t cycles) {
  const uint64_t start = __rdtsc();
  uint64_t spent = 0, next_yield = YIELD_CYCLES;
  do {
    for (int i = 0; i < 8; i++) {
      if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != expected) return 1;
      _mm_pause();
    }
    spent = __rdtsc() - start;
    if (spent >= next_yield) {
      sched_yield();
      next_yield = __rdtsc() - start + YIELD_CYCLES;
    }
  } while (spent < cycles);
  return __atomic_load_n(word, __ATOMIC_ACQUIRE) != expected;
}

static void sleep_on(uint32_t *word, uint32_t expected, uint32_t timeout_us, uint32_t *asleep) {
  uint64_t deadline = monotonic_ns() + (uint64_t)timeout_us * 1000;
  if (asleep) __atomic_store_n(asleep, 1, __ATOMIC_SEQ_CST);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  while (__atomic_load_n(word, __ATOMIC_SEQ_CST) == expected) {
    int r = futex_wait_until(word, expected, deadline);
    /* A wake without a change, or a word that changes to and fro, must not end or prolong the wait. */
    if ((r != 0 && r != -EAGAIN) || monotonic_ns() >= deadline) break;
  }
  if (asleep) __atomic_store_n(asleep, 0, __ATOMIC_SEQ_CST);
}

/* Returns the word: at once if it differs, after spinning, or after sleeping for at most timeout_us. */
EXPORT uint32_t nsgx_spin_then_wait(uint64_t word_address, uint32_t expected, uint32_t spin_cycles, uint32_t timeout_us,
                                    uint64_t asleep_address) {
  uint32_t *word = (uint32_t *)word_address;
  uint32_t now = __atomic_load_n(word, __ATOMIC_ACQUIRE);
  if (now != expected) return now;
  if (spin_cycles && spin(word, expected, spin_cycles)) return __atomic_load_n(word, __ATOMIC_ACQUIRE);
  if (timeout_us) sleep_on(word, expected, timeout_us, (uint32_t *)asleep_address);
  return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* State of an adaptive waiter, kept in JavaScript memory (layout mirrored in src/waiter.ts). */
struct waiter {
  uint64_t word, asleep;
  uint32_t budget, max;       /* cycles */
  uint32_t hits, misses;      /* counters, wrapping */
};

/* As nsgx_spin_then_wait; the budget is halved on a miss, and doubled when spinning did or would have paid. */
EXPORT uint32_t nsgx_waiter_wait(struct waiter *w, uint32_t expected, uint32_t timeout_us) {
  uint32_t *word = (uint32_t *)w->word;
  uint32_t now = __atomic_load_n(word, __ATOMIC_ACQUIRE);
  if (now != expected) return now;
  uint64_t start = __rdtsc();
  if (w->budget && spin(word, expected, w->budget)) {
    w->hits++;
    uint32_t grown = w->budget * 2;
    w->budget = grown > w->max ? w->max : grown;
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
  }
  if (timeout_us) sleep_on(word, expected, timeout_us, (uint32_t *)w->asleep);
  now = __atomic_load_n(word, __ATOMIC_ACQUIRE);
  w->misses++;
  if (now != expected && __rdtsc() - start < 4ull * w->max) {
    uint32_t grown = w->budget < 256 ? 512 : w->budget * 2;
    w->budget = grown > w->max ? w->max : grown;
  } else {
    w->budget /= 2;
  }
  return now;
}
