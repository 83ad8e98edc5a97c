/*
 * An application as an existing one would be: loads an enclave through /dev/sgx_enclave, enters it through the kernel's own
 * vDSO function, and prints what happened, one line each. The enclave is what microImage makes; RDI says what it does.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "linux-sgx.c"

#define PAGE 4096ul
#define IOC_CREATE 0x4008a400ul
#define IOC_ADD_PAGES 0xc030a401ul
#define IOC_INIT 0x4008a402ul
#define EENTER 2
enum { OP_NOTHING, OP_WRITE, OP_READ, OP_UNDEFINED, OP_SPIN, OP_LEAF, OP_STATE, OP_HAMMER };

struct image {
  uint64_t size, attributes, xfrm, pages, tcs, data;
  uint8_t sigstruct[1808];
};
struct image_page {
  uint64_t offset, flags;
  uint8_t bytes[PAGE];
};
struct run {
  uint64_t tcs;
  uint32_t function;
  uint16_t vector, error_code;
  uint64_t address, handler, user_data;
  uint8_t reserved[216];
};

static uint64_t vdso, base;
static struct image image;

static void check(int good, const char *what) {
  if (good) return;
  perror(what);
  exit(1);
}

struct outcome {
  uint64_t rsi, rdx;
  struct run run;
  int result;
};

/* All registers that the enclave may change go through here: its answers are in RSI and RDX. */
static struct outcome enter(uint64_t op, uint64_t rsi, uint64_t rdx, uint64_t r8_in, uint64_t r9_in) {
  struct outcome out = {.run = {.tcs = base + image.tcs}};
  register uint64_t r8 __asm__("r8") = r8_in;
  register uint64_t r9 __asm__("r9") = r9_in;
  register void *run __asm__("r10") = &out.run; /* neither RBX nor RBP, which are changed below */
  uint64_t rdi = op, rcx = EENTER, rax;
  __asm__ volatile(
      "sub $128, %%rsp; push %%rbx; push %%rbp; mov %%rsp, %%rbp; and $-16, %%rsp; sub $8, %%rsp; push %[run]; call *%[call]\n\t"
      "mov %%rbp, %%rsp; pop %%rbp; pop %%rbx; add $128, %%rsp" /* 128: the red zone */
      : "+D"(rdi), "+S"(rsi), "+d"(rdx), "+c"(rcx), "+r"(r8), "+r"(r9), [run] "+r"(run), "=a"(rax)
      : [call] "a"(vdso)
      : "r11", "r12", "r13", "r14", "r15", "memory", "cc");
  out.result = (int)rax;
  out.rsi = rsi;
  out.rdx = rdx;
  return out;
}

static void load(const char *path) {
  static uint8_t secs[PAGE] __attribute__((aligned(4096)));
  static uint8_t secinfo[64] __attribute__((aligned(64)));
  static struct image_page page;
  static uint8_t content[PAGE] __attribute__((aligned(4096)));
  int file = open(path, O_RDONLY), fd = (int)nsgx_sgx_open("/dev/sgx_enclave");
  check(file >= 0 && read(file, &image, sizeof image) == sizeof image, path);
  check(fd >= 0, "/dev/sgx_enclave");
  base = (uint64_t)nsgx_sgx_reserve(image.size);
  memcpy(secs, &image.size, 8);
  memcpy(secs + 8, &base, 8);
  secs[16] = 1;
  memcpy(secs + 48, &image.attributes, 16);
  uint64_t create = (uint64_t)secs;
  check(nsgx_sgx_ioctl(fd, IOC_CREATE, &create) == 0, "create");
  uint64_t protections[64][2];
  check(image.pages <= 64, "pages");
  for (uint64_t i = 0; i < image.pages; i++) {
    check(read(file, &page, sizeof page) == sizeof page, "image");
    memcpy(content, page.bytes, PAGE);
    memcpy(secinfo, &page.flags, 8);
    uint64_t add[6] = {(uint64_t)content, page.offset, PAGE, (uint64_t)secinfo, 1, 0};
    check(nsgx_sgx_ioctl(fd, IOC_ADD_PAGES, add) == 0 && add[5] == PAGE, "add pages");
    protections[i][0] = page.offset;
    protections[i][1] = (page.flags >> 8 & 0xff) == 1 ? 3 : (page.flags & 7);
  }
  uint64_t init = (uint64_t)image.sigstruct;
  check(nsgx_sgx_ioctl(fd, IOC_INIT, &init) == 0, "init");
  for (uint64_t i = 0; i < image.pages; i++)
    check(nsgx_sgx_map(fd, base + protections[i][0], PAGE, (int)protections[i][1]) == 0, "map");
  close(file);
}

static volatile uint64_t counter, one = 1;

static void calls(unsigned count) {
  struct timespec a, b;
  clock_gettime(CLOCK_MONOTONIC, &a);
  for (unsigned i = 0; i < count; i++) check(enter(OP_HAMMER, (uint64_t)&counter, (uint64_t)&one, 0, 0).result == 0, "call");
  clock_gettime(CLOCK_MONOTONIC, &b);
  double us = ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / 1e3 / count;
  printf("calls %lu of %u\n", (unsigned long)counter, count);
  fprintf(stderr, "%.1f us a call\n", us);
}

static void tell(const char *what, struct outcome o) {
  printf("%s: function %u vector %u error 0x%x\n", what, o.run.function, o.run.vector, o.run.error_code);
}

static void memory(void) {
  uint64_t *fresh = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  tell("a page that nobody has touched", enter(OP_WRITE, (uint64_t)fresh, 0x1234, 0, 0));
  printf("it holds 0x%lx\n", (unsigned long)fresh[0]);
  fresh[0] = 77;
  printf("the enclave reads %lu\n", (unsigned long)enter(OP_READ, (uint64_t)fresh, 0, 0, 0).rsi);
  munmap(fresh, PAGE);
  tell("a page that has gone", enter(OP_READ, (uint64_t)fresh, 0, 0, 0));
  mprotect(fresh + PAGE / 8, PAGE, PROT_READ);
  tell("a page that is read only", enter(OP_WRITE, (uint64_t)fresh + PAGE, 1, 0, 0));
  tell("an invalid instruction", enter(OP_UNDEFINED, 0, 0, 0, 0));
  uint64_t secret = base + image.data + 2048;
  enter(OP_WRITE, secret, 0x5ec2e7, 0, 0);
  printf("inside 0x%lx, outside 0x%lx\n", (unsigned long)enter(OP_READ, secret, 0, 0, 0).rsi,
         (unsigned long)*(volatile uint64_t *)secret);
}

static void quote(const char *path) {
  static uint8_t target[512], report[432], bytes[32768];
  int fd = open("/dev/nsgx_quote", O_RDWR), out = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  check(fd >= 0 && out >= 0, "/dev/nsgx_quote");
  check(read(fd, target, sizeof target) == sizeof target, "target info");
  uint64_t at = base + image.data, word;
  for (unsigned i = 0; i < sizeof target; i += 8) {
    memcpy(&word, target + i, 8);
    enter(OP_WRITE, at + i, word, 0, 0);
  }
  enter(OP_WRITE, at + 512, 0x64656e6769736e, 0, 0); /* report data */
  struct outcome leaf = enter(OP_LEAF, at, at + 512, at + 1024, 0);
  check(leaf.result == 0 && leaf.run.function == 4, "EREPORT");
  for (unsigned i = 0; i < sizeof report; i += 8) {
    word = enter(OP_READ, at + 1024 + i, 0, 0, 0).rsi;
    memcpy(report + i, &word, 8);
  }
  check(write(fd, report, sizeof report) == sizeof report, "report");
  ssize_t length = read(fd, bytes, sizeof bytes);
  check(length > 0 && write(out, bytes, (size_t)length) == length, "quote");
  printf("quoted\n");
}

int main(int argc, char **argv) {
  check(argc == 3, "usage: enclave IMAGE QUOTE");
  vdso = nsgx_sgx_vdso();
  load(argv[1]);
  calls(1000);
  memory();
  quote(argv[2]);
  return 0;
}
