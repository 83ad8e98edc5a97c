/* The host's half of the floors: the least that two processes and a call from Node can cost, without any protocol. */
#define _GNU_SOURCE
#include "floor.h"
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <x86intrin.h>

#define EXPORT __attribute__((visibility("default")))

static long futex(uint32_t *word, int op, uint32_t value) {
  return syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

/* As many arguments as entering an enclave takes, so that the call from Node costs the same. */
EXPORT uint32_t nsgx_floor_spin(uint64_t address, uint32_t unused, int64_t a, int64_t b) {
  struct floor_page *page = (struct floor_page *)address;
  (void)unused, (void)a, (void)b;
  uint32_t next = page->request + 1;
  __atomic_store_n(&page->request, next, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(&page->asleep, __ATOMIC_SEQ_CST)) futex(&page->request, FUTEX_WAKE, 1);
  while (__atomic_load_n(&page->response, __ATOMIC_ACQUIRE) != next) _mm_pause();
  return next;
}

EXPORT uint32_t nsgx_floor_futex(uint64_t address, uint32_t unused, int64_t a, int64_t b) {
  struct floor_page *page = (struct floor_page *)address;
  (void)unused, (void)a, (void)b;
  uint32_t next = page->request + 1;
  __atomic_store_n(&page->request, next, __ATOMIC_SEQ_CST);
  futex(&page->request, FUTEX_WAKE, 1);
  for (;;) {
    uint32_t seen = __atomic_load_n(&page->response, __ATOMIC_ACQUIRE);
    if (seen == next) return next;
    futex(&page->response, FUTEX_WAIT, seen);
  }
}

EXPORT void nsgx_floor_end(uint64_t address) {
  struct floor_page *page = (struct floor_page *)address;
  __atomic_store_n(&page->request, FLOOR_END, __ATOMIC_SEQ_CST);
  futex(&page->request, FUTEX_WAKE, 1);
}

/* Zeroed private memory in small pages, touched. 0 when there is none. */
EXPORT uint64_t nsgx_floor_memory(uint64_t length) {
  void *p = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return 0;
  madvise(p, length, MADV_NOHUGEPAGE);
  memset(p, 0, length);
  return (uint64_t)p;
}

EXPORT void nsgx_floor_free(uint64_t address, uint64_t length) { munmap((void *)address, length); }

/* Calls code by its address; returns the cycles it took. */
EXPORT uint64_t nsgx_floor_time(uint64_t function, uint64_t a, uint64_t b, uint64_t c) {
  uint64_t start = __rdtsc();
  volatile uint64_t result = ((uint64_t(*)(uint64_t, uint64_t, uint64_t))function)(a, b, c);
  (void)result;
  return __rdtsc() - start;
}

/* Stays awake and does nothing for so many cycles. */
EXPORT void nsgx_floor_pause(uint64_t cycles) {
  uint64_t start = __rdtsc();
  while (__rdtsc() - start < cycles) _mm_pause();
}
