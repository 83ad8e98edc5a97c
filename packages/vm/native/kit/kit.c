/* Attacks of a guest's root user that need no kernel module. Prints one line of what was observed. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "enclaves.h"
#include "window.h"

#define PAGE 4096ul
#define ANSWER_MS 5000

/* Still there: the monitor tells its versions of the SGX protocol. */
static int query(void) {
  struct call call = {.protocol = 0, .number = 6, .rcx = (uint64_t)SGX_PROTOCOL << 32 | 1};
  if (!make_call(LAST_VCPU, &call, ANSWER_MS)) {
    printf("no answer\n");
    return 1;
  }
  printf("result 0x%lx versions 0x%lx\n", (unsigned long)call.rax, (unsigned long)call.rcx);
  return 0;
}

/* Something that an operand may be: addresses of every kind, lengths, flags, noise. */
static uint64_t operand(uint64_t *state) {
  const struct vm_info *info = (const struct vm_info *)window;
  uint64_t r = next_random(state), frame = info->epc_gpa + (r >> 8) % (info->epc_pages + 4) * PAGE;
  switch (r % 10) {
    case 0:
      return 0;
    case 1:
      return r >> 8 & 0xff;
    case 2:
    case 3:
      return frame;
    case 4:
      return frame + (r >> 40 & 0xfff);
    case 5:
      return WINDOW + (r >> 8) % (WINDOW_BYTES + 2 * PAGE) / 8 * 8;
    case 6:
      return info->slice_gpa + (r >> 8) % info->slice_bytes / PAGE * PAGE;
    case 7:
      return info->ram_bytes - PAGE + (r >> 8) % (4 * PAGE);
    case 8:
      return ~0ull << (r >> 8) % 64;
    default:
      return r;
  }
}

/* Calls of the SGX protocol with operands at random. */
static int calls(uint64_t seed, unsigned count) {
  uint64_t state = seed | 1;
  unsigned served = 0, faults = 0, refused = 0;
  for (unsigned i = 0; i < count; i++) {
    uint64_t r = next_random(&state);
    struct call call = {.protocol = r % 16 ? SGX_PROTOCOL : (uint32_t)(r >> 8),
                        .number = r & 0x100000 ? (uint32_t)(r >> 24) % 0x14 : 0x100 + (uint32_t)(r >> 24) % 0x12,
                        .rcx = operand(&state),
                        .rdx = operand(&state),
                        .r8 = operand(&state),
                        .r9 = operand(&state)};
    if (call.protocol == 0) continue;
    if (!make_call(LAST_VCPU, &call, ANSWER_MS)) {
      printf("no answer to call 0x%x:0x%x rcx 0x%lx rdx 0x%lx r8 0x%lx\n", call.protocol, call.number,
             (unsigned long)call.rcx, (unsigned long)call.rdx, (unsigned long)call.r8);
      return 1;
    }
    if (call.rax == 0)
      served++;
    else if (call.rax >> 8 == 0x800010)
      faults++;
    else
      refused++;
  }
  printf("%u calls: %u served, %u leaves that faulted, %u refused\n", count, served, faults, refused);
  return 0;
}

/* Noise in everything that machine and guest share, but for the gates and lists of others' enclaves: the first 256 KiB. */
static int scribble(uint64_t seed, unsigned ms) {
  uint64_t state = seed | 1, written = 0;
  struct timespec begin, at;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  do {
    for (unsigned i = 0; i < 1000; i++, written++) {
      uint64_t r = next_random(&state);
      *(volatile uint64_t *)(window + DOORBELL + r % 0x3f000 / 8 * 8) = next_random(&state);
    }
    clock_gettime(CLOCK_MONOTONIC, &at);
  } while ((at.tv_sec - begin.tv_sec) * 1000 + (at.tv_nsec - begin.tv_nsec) / 1000000 < ms);
  memset(window + DOORBELL, 0, 0x3f000);
  printf("%lu words written\n", (unsigned long)written);
  return 0;
}

static sigjmp_buf away;
static void on_fault(int signal_number) { siglongjmp(away, signal_number); }

enum { EPC_UNMAPPED, EPC_FAULT, EPC_EMPTY, EPC_CONTENT, EPC_OUTCOMES };

static int look(uint64_t gpa) {
  volatile uint64_t *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, (off_t)gpa);
  int bytes = 0;
  if (page == MAP_FAILED) return EPC_UNMAPPED;
  if (sigsetjmp(away, 1)) return EPC_FAULT;
  for (unsigned k = 0; k < PAGE / 8; k++) bytes |= page[k] != 0 && page[k] != ~0ull;
  page[0] = 0x6e736778;
  return bytes || page[0] == 0x6e736778 ? EPC_CONTENT : EPC_EMPTY;
}

/* Reads and writes EPC at its physical addresses. */
static int epc(void) {
  const struct vm_info *info = (const struct vm_info *)window;
  unsigned outcomes[EPC_OUTCOMES] = {0}, pages = info->epc_pages < 64 ? (unsigned)info->epc_pages : 64;
  signal(SIGBUS, on_fault);
  signal(SIGSEGV, on_fault);
  for (unsigned i = 0; i < pages; i++) outcomes[look(info->epc_gpa + i * (info->epc_pages / pages) * PAGE)]++;
  printf("%u pages: %u not mapped, %u faulted, %u empty, %u with content\n", pages, outcomes[EPC_UNMAPPED],
         outcomes[EPC_FAULT], outcomes[EPC_EMPTY], outcomes[EPC_CONTENT]);
  return outcomes[EPC_CONTENT] != 0;
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "";
  uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
  unsigned amount = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 0) : 1;
  open_window();
  if (strcmp(what, "query") == 0) return query();
  if (strcmp(what, "calls") == 0) return calls(seed, amount);
  if (strcmp(what, "scribble") == 0) return scribble(seed, amount);
  if (strcmp(what, "epc") == 0) return epc();
  if (strcmp(what, "seize") == 0) return seize(seed);
  if (strcmp(what, "storm") == 0) return storm((unsigned)seed);
  if (strcmp(what, "replay") == 0) return replay(seed);
  fprintf(stderr, "usage: nsgx-kit query | calls SEED COUNT | scribble SEED MS | epc | seize SECRET | storm MS | replay LINEAR\n");
  return 2;
}
