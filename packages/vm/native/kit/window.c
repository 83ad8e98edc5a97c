#include "window.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <time.h>

#define KICK_PORT 0x4e4
#define RUN_VMPL 0x80000018ul

/* GHCB page (GHCB specification, "GHCB layout"). */
enum {
  GHCB_RAX = 0x1f8,
  GHCB_RCX = 0x308,
  GHCB_RDX = 0x310,
  GHCB_R8 = 0x340,
  GHCB_R9 = 0x348,
  GHCB_EXIT_CODE = 0x390,
  GHCB_EXIT_INFO_1 = 0x398,
  GHCB_EXIT_INFO_2 = 0x3a0,
  GHCB_VALID = 0x3f0,
  GHCB_VERSION = 0xffa,
  GHCB_USAGE = 0xffc
};
/* Calling area page. */
enum { CALL_PENDING = 0, CALL_RING = 64, CALL_ANSWER = 128 };

uint8_t *window;
int memory_fd;

static uint64_t *quad(uint8_t *at) { return (uint64_t *)at; }
static uint32_t *word(uint8_t *at) { return (uint32_t *)at; }

void open_window(void) {
  memory_fd = open("/dev/mem", O_RDWR);
  if (memory_fd >= 0) window = mmap(NULL, WINDOW_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, WINDOW);
  if (memory_fd < 0 || window == MAP_FAILED || ioperm(KICK_PORT, 1, 1) < 0) {
    perror("kit");
    exit(2);
  }
}

static void kick(uint32_t page) {
  __atomic_or_fetch(quad(window + RELAY + RELAY_BITMAP) + page / 64, 1ull << page % 64, __ATOMIC_SEQ_CST);
  __atomic_or_fetch(quad(window + RELAY + RELAY_SUMMARY) + page / 4096, 1ull << page / 64 % 64, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(word(window + RELAY + RELAY_RELAY_ASLEEP), __ATOMIC_SEQ_CST)) outb('!', KICK_PORT);
}

static uint64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int make_call(unsigned vcpu, struct call *call, unsigned ms) {
  static const uint16_t valid[] = {GHCB_RAX, GHCB_RCX,       GHCB_RDX,         GHCB_R8,
                                   GHCB_R9,  GHCB_EXIT_CODE, GHCB_EXIT_INFO_1, GHCB_EXIT_INFO_2};
  uint8_t *ghcb = window + VCPUS + vcpu * VCPU_STRIDE, *area = ghcb + 4096;
  memset(ghcb + GHCB_VALID, 0, 16);
  for (unsigned i = 0; i < sizeof valid / sizeof *valid; i++)
    ghcb[GHCB_VALID + valid[i] / 64] |= (uint8_t)(1u << valid[i] / 8 % 8);
  *quad(ghcb + GHCB_RAX) = (uint64_t)call->protocol << 32 | call->number;
  *quad(ghcb + GHCB_RCX) = call->rcx;
  *quad(ghcb + GHCB_RDX) = call->rdx;
  *quad(ghcb + GHCB_R8) = call->r8;
  *quad(ghcb + GHCB_R9) = call->r9;
  *quad(ghcb + GHCB_EXIT_CODE) = RUN_VMPL;
  *quad(ghcb + GHCB_EXIT_INFO_1) = *quad(ghcb + GHCB_EXIT_INFO_2) = 0;
  ghcb[GHCB_VERSION] = 2;
  ghcb[GHCB_VERSION + 1] = 0;
  *word(ghcb + GHCB_USAGE) = 0;
  area[CALL_PENDING] = 1;
  uint32_t ring = *word(area + CALL_RING) + 1;
  __atomic_store_n(word(area + CALL_RING), ring, __ATOMIC_SEQ_CST);
  __atomic_add_fetch(word(window + DOORBELL), 1, __ATOMIC_SEQ_CST);
  kick(DOORBELL / 4096);
  for (uint64_t end = now_ms() + ms; now_ms() < end; sched_yield()) {
    if (__atomic_load_n(word(area + CALL_ANSWER), __ATOMIC_SEQ_CST) != ring) continue;
    call->rax = *quad(ghcb + GHCB_RAX);
    call->rcx = *quad(ghcb + GHCB_RCX);
    return 1;
  }
  return 0;
}

/* xorshift64*: for choices that can be repeated, not for secrets. */
uint64_t next_random(uint64_t *state) {
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return *state * 0x2545f4914f6cdd1dull;
}
