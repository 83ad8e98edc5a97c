/*
 * Calls the monitor as the guest's kernel does, from user space: root in a guest has /dev/mem and the ports. Asks so many
 * times for the versions of the SGX protocol and prints the answer and how long a call took, in nanoseconds.
 * Offsets: the GHCB specification, and docs/ARCHITECTURE.md.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <time.h>

#define WINDOW 0x8000000
#define WINDOW_BYTES 0x4000000
#define KICK_PORT 0x4e4
#define DOORBELL 0x1000
#define RELAY 0x2000
#define GHCB 0x10000
#define CALLING_AREA 0x11000
#define SGX_PROTOCOL 0x4e53ull
#define QUERY_PROTOCOL 6
#define RUN_VMPL 0x80000018ull

static uint8_t *window;

static volatile uint32_t *word(uint32_t at) { return (volatile uint32_t *)(window + at); }
static volatile uint64_t *quad(uint32_t at) { return (volatile uint64_t *)(window + at); }

static void mark(uint32_t page) {
  __atomic_or_fetch(quad(RELAY + page / 64 * 8), 1ull << page % 64, __ATOMIC_SEQ_CST);
  __atomic_or_fetch(quad(RELAY + 2048 + page / 4096 * 8), 1ull << page / 64 % 64, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(word(RELAY + 2112), __ATOMIC_SEQ_CST)) outb('!', KICK_PORT);
}

static int query(void) {
  static const uint16_t valid[] = {0x1f8, 0x308, 0x310, 0x340, 0x348, 0x390, 0x398, 0x3a0};
  memset(window + GHCB + 0x3f0, 0, 16);
  for (unsigned i = 0; i < sizeof valid / sizeof *valid; i++)
    window[GHCB + 0x3f0 + valid[i] / 64] |= (uint8_t)(1u << valid[i] / 8 % 8);
  *quad(GHCB + 0x1f8) = QUERY_PROTOCOL;
  *quad(GHCB + 0x308) = SGX_PROTOCOL << 32 | 1;
  *quad(GHCB + 0x310) = *quad(GHCB + 0x340) = *quad(GHCB + 0x348) = 0;
  *quad(GHCB + 0x390) = RUN_VMPL;
  *quad(GHCB + 0x398) = *quad(GHCB + 0x3a0) = 0;
  window[GHCB + 0xffa] = 2;
  window[GHCB + 0xffb] = 0;
  *word(GHCB + 0xffc) = 0;
  window[CALLING_AREA] = 1;
  uint32_t ring = *word(CALLING_AREA + 64) + 1;
  __atomic_store_n(word(CALLING_AREA + 64), ring, __ATOMIC_SEQ_CST);
  __atomic_add_fetch(word(DOORBELL), 1, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(word(DOORBELL + 64), __ATOMIC_SEQ_CST)) mark(DOORBELL / 4096);
  for (uint64_t n = 0; n < 2000000000; n++) {
    if (__atomic_load_n(word(CALLING_AREA + 128), __ATOMIC_SEQ_CST) == ring) return window[CALLING_AREA] == 0;
    if (n % 1000 == 999) sched_yield();
    __builtin_ia32_pause();
  }
  return 0;
}

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

int main(int argc, char **argv) {
  int count = argc > 1 ? atoi(argv[1]) : 1, fd = open("/dev/mem", O_RDWR | O_SYNC);
  window = mmap(NULL, WINDOW_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, WINDOW);
  if (fd < 0 || window == MAP_FAILED || ioperm(KICK_PORT, 1, 1) < 0) {
    perror("svsm");
    return 1;
  }
  uint64_t least = UINT64_MAX, all = 0;
  for (int i = 0; i < count; i++) {
    uint64_t began = now();
    if (!query()) return 3;
    uint64_t took = now() - began;
    if (took < least) least = took;
    all += took;
  }
  printf("result 0x%lx versions 0x%lx least %lu mean %lu\n", (unsigned long)*quad(GHCB + 0x1f8),
         (unsigned long)*quad(GHCB + 0x308), (unsigned long)least, (unsigned long)(all / (uint64_t)count));
  return 0;
}
