#include "enclaves.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "window.h"

#define PAGE 4096ul
#define ANSWER_MS 5000
#define FRAMES 4096
/* The last pages of the slice: the module's allocator takes from the front. */
#define BUFFER_PAGES 16

enum { ECREATE, EADD, EINIT, EREMOVE, EDBGRD, EDBGWR, EEXTEND, ELDB, ELDU, EBLOCK, EPA, EWB, ETRACK, EAUG, EMODPR, EMODT };
enum { STATUS = 0x106, KICK = 0x105, EVICT = 0x10a, LOAD = 0x10b };
#define PT_VA 3

static const struct vm_info *info(void) { return (const struct vm_info *)window; }
static uint64_t buffer_gpa(void) { return info()->slice_gpa + info()->slice_bytes - BUFFER_PAGES * PAGE; }
static uint8_t *buffer(void) { return window + (buffer_gpa() - info()->window_gpa); }

static int leaf(uint32_t number, uint64_t rbx, uint64_t rcx, uint64_t rdx, struct call *out) {
  *out = (struct call){.protocol = SGX_PROTOCOL, .number = number, .rcx = rbx, .rdx = rcx, .r8 = rdx};
  return make_call(LAST_VCPU, out, ANSWER_MS);
}

/* The SECS of the first enclave that runs, found by asking for every page. 0: there is none. */
static uint64_t find_secs(void) {
  for (uint64_t i = 0; i < FRAMES && i < info()->epc_pages; i++) {
    struct call call;
    uint64_t gpa = info()->epc_gpa + i * PAGE;
    if (!leaf(STATUS, gpa, 0, 0, &call)) return 0;
    if (call.rax == 0 && call.rcx == 1) return gpa;
  }
  return 0;
}

static void count(struct call *call, int answered, unsigned *served, unsigned *refused, unsigned *silent) {
  if (!answered) ++*silent;
  else if (call->rax == 0 && (uint32_t)call->rcx == 0) ++*served;
  else ++*refused;
}

int seize(uint64_t secret) {
  uint64_t secs = find_secs(), state = secret | 1;
  unsigned served = 0, refused = 0, silent = 0, leaks = 0;
  if (!secs) {
    printf("no enclave runs\n");
    return 2;
  }
  for (uint64_t frame = secs; frame < secs + 8 * PAGE; frame += PAGE) {
    static const uint32_t tried[] = {ECREATE, EADD, EDBGRD, EDBGWR, EEXTEND, ELDU, EWB, EAUG, EPA, EMODPR, EINIT};
    for (unsigned i = 0; i < sizeof tried / sizeof *tried; i++)
      for (unsigned k = 0; k < 8; k++) {
        struct call call;
        uint64_t *operands = (uint64_t *)buffer();
        memset(operands, 0, 4 * PAGE);
        /* PAGEINFO with the victim's own SECS, a source of ours, and a SECINFO that asks for all rights. */
        operands[0] = next_random(&state) % 8 * PAGE;
        operands[1] = buffer_gpa() + PAGE;
        operands[2] = buffer_gpa() + 512;
        operands[3] = k & 1 ? secs : 0;
        operands[64] = 0x207;
        count(&call, leaf(tried[i], k & 2 ? buffer_gpa() : secret + 1, frame + (k & 4 ? 8 : 0), frame, &call), &served,
              &refused, &silent);
        leaks += call.rax == secret || call.rcx == secret || call.rdx == secret || call.r8 == secret;
        for (unsigned word = 0; word < BUFFER_PAGES * PAGE / 8; word++) leaks += operands[word] == secret;
      }
  }
  printf("%u leaves: %u served, %u refused, %u without an answer, secret seen %u times\n", served + refused + silent, served,
         refused, silent, leaks);
  return leaks != 0 || silent != 0;
}

int storm(unsigned ms) {
  uint64_t secs = find_secs();
  unsigned long kicks = 0;
  struct timespec begin, at;
  struct call call;
  if (!secs) {
    printf("no enclave runs\n");
    return 2;
  }
  clock_gettime(CLOCK_MONOTONIC, &begin);
  do {
    if (!leaf(KICK, secs, 0, 0, &call)) return 1;
    kicks++;
    clock_gettime(CLOCK_MONOTONIC, &at);
  } while ((at.tv_sec - begin.tv_sec) * 1000 + (at.tv_nsec - begin.tv_nsec) / 1000000 < ms);
  printf("%lu interrupts\n", kicks);
  return 0;
}

/* One entry of EVICT or LOAD for `frame`; contents and PCMD at page `at` of the buffer. */
static int move_page(uint32_t number, uint64_t secs, uint64_t frame, uint64_t slot, unsigned at, uint64_t linear) {
  uint64_t *entry = (uint64_t *)buffer();
  struct call call;
  entry[0] = frame;
  entry[1] = slot;
  entry[2] = buffer_gpa() + at * PAGE;
  entry[3] = buffer_gpa() + (at + 1) * PAGE;
  entry[4] = linear;
  if (!leaf(number, secs, buffer_gpa(), 1, &call)) return -1;
  return call.rax == 0 && (uint32_t)call.rcx == 0 ? 0 : (int)(call.rax ? call.rax & 0xffff : call.rcx) | 0x10000;
}

int replay(uint64_t linear) {
  uint64_t secs = find_secs(), frame = secs + 2 * PAGE, va = info()->epc_gpa + (info()->epc_pages - 1) * PAGE;
  unsigned accepted = 0;
  struct call call;
  char line[16];
  if (!secs || !leaf(EPA, PT_VA, va, 0, &call) || call.rax) {
    printf("no enclave runs, or no version array can be made (0x%lx)\n", (unsigned long)call.rax);
    return 2;
  }
  int first = move_page(EVICT, secs, frame, va, 1, linear);
  memcpy(buffer() + 5 * PAGE, buffer() + PAGE, 2 * PAGE); /* the old copy */
  int back = move_page(LOAD, secs, frame, va, 1, linear);
  printf("evicted %x loaded %x\n", first, back);
  fflush(stdout);
  if (first || back || !fgets(line, sizeof line, stdin)) return 2;
  int second = move_page(EVICT, secs, frame, va + 8, 1, linear);
  memcpy(buffer() + 7 * PAGE, buffer() + PAGE, 2 * PAGE); /* the present one */
  accepted += move_page(LOAD, secs, frame, va + 8, 5, linear) == 0;
  accepted += move_page(LOAD, secs, frame, va, 5, linear) == 0;
  accepted += move_page(LOAD, secs, frame, va + 8, 7, linear + PAGE) == 0;
  accepted += move_page(LOAD, secs, frame, va + 16, 7, linear) == 0;
  for (unsigned bit = 0; bit < 64; bit++) {
    uint8_t *byte = buffer() + 7 * PAGE + (bit < 48 ? bit * 85 : PAGE + bit);
    *byte ^= 1u << bit % 8;
    accepted += move_page(LOAD, secs, frame, va + 8, 7, linear) == 0;
    *byte ^= 1u << bit % 8;
  }
  int genuine = move_page(LOAD, secs, frame, va + 8, 7, linear);
  printf("evicted again %x, false copies accepted %u of 68, the genuine one %x\n", second, accepted, genuine);
  return accepted != 0 || second || genuine;
}
