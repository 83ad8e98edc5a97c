/*
 * The other process of the floors: answers requests on a shared page (descriptor 3), or measures what a trap costs in
 * one process. Usage: nsgx-floor answer | nsgx-floor trap ROUNDS
 */
#define _GNU_SOURCE
#include "floor.h"
#include <linux/futex.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <x86intrin.h>

#define BATCHES 11

static long futex(uint32_t *word, int op, uint32_t value) {
  return syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

static uint32_t next_request(struct floor_page *page, uint32_t seen) {
  uint64_t start = __rdtsc();
  while (__rdtsc() - start < page->spin_cycles) {
    uint32_t now = __atomic_load_n(&page->request, __ATOMIC_ACQUIRE);
    if (now != seen) return now;
    _mm_pause();
  }
  uint32_t now;
  __atomic_store_n(&page->asleep, 1, __ATOMIC_SEQ_CST);
  while ((now = __atomic_load_n(&page->request, __ATOMIC_SEQ_CST)) == seen) futex(&page->request, FUTEX_WAIT, seen);
  __atomic_store_n(&page->asleep, 0, __ATOMIC_SEQ_CST);
  return now;
}

static void answer(struct floor_page *page) {
  uint32_t seen = 0;
  while ((seen = next_request(page, seen)) != FLOOR_END) {
    int spinning = page->spin_cycles != 0;
    __atomic_store_n(&page->response, seen, __ATOMIC_SEQ_CST);
    if (!spinning) futex(&page->response, FUTEX_WAKE, 1);
  }
}

/* Leaves by IRETQ and keeps the frame's registers: RDX = ucontext; its RIP @168, RSP @160, flags @176, RDI @104. */
__asm__(".text\n"
        "leave_by_iret:\n"
        "  mov 168(%rdx), %rax\n"
        "  mov 160(%rdx), %rsi\n"
        "  mov 176(%rdx), %rdi\n"
        "  push $0x2b\n  push %rsi\n  push %rdi\n  push $0x33\n  push %rax\n"
        "  mov 112(%rdx), %rsi\n  mov 104(%rdx), %rdi\n  mov 144(%rdx), %rax\n  mov 136(%rdx), %rdx\n"
        "  iretq\n"
        "give_up: mov $15, %eax\n  syscall\n");
extern void leave_by_iret(int);
extern void give_up(void);

struct kernel_sigaction {
  void (*handler)(int);
  unsigned long flags;
  void (*restorer)(void);
  unsigned long mask;
};

static int by_value(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static void traps(struct floor_page *page, int rounds) {
  static char stack[65536];
  stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
  sigaltstack(&alternate, NULL);
  struct kernel_sigaction action = {leave_by_iret, SA_SIGINFO | SA_ONSTACK | SA_NODEFER | 0x04000000, give_up, 0};
  syscall(SYS_rt_sigaction, SIGTRAP, &action, NULL, 8);
  uint64_t batches[BATCHES];
  for (int batch = 0; batch < BATCHES; batch++) {
    uint64_t start = __rdtsc();
    for (int i = 0; i < rounds; i++) __asm__ volatile("int3" : : : "memory", "cc");
    batches[batch] = (__rdtsc() - start) / (uint64_t)rounds;
  }
  qsort(batches, BATCHES, sizeof batches[0], by_value);
  page->cycles = batches[BATCHES / 2];
  __atomic_store_n(&page->response, 1, __ATOMIC_SEQ_CST);
  futex(&page->response, FUTEX_WAKE, 1);
}

int main(int argc, char **argv) {
  struct floor_page *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 3, 0);
  if (page == MAP_FAILED || argc < 2) return 2;
  if (strcmp(argv[1], "answer") == 0) answer(page);
  else if (strcmp(argv[1], "trap") == 0 && argc == 3) traps(page, atoi(argv[2]));
  else return 2;
  return 0;
}
