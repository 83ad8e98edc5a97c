/*
 * An application of a guest that owns a micro enclave, and does what it is told on its standard input, a line each. The
 * enclave's image comes from a file: a head, pages, and the SIGSTRUCT.
 */
#define _GNU_SOURCE
#include <asm/sgx.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096ul
#define IMAGE_MAGIC 0x31474d495847534eul /* "NSGXIMG1" */
#define OP_WRITE 1
#define OP_READ 2
#define OP_NOTHING 0
#define OP_CALL 8
#define EXTRA_CODE 0x800
#define TIMES_MAX 100000

struct head {
  uint64_t magic, size, pages, tcs, data;
  uint8_t secs[PAGE], sigstruct[1808 + 240];
};
struct page {
  uint64_t offset, secinfo, measured, reserved;
  uint8_t bytes[PAGE];
};

static uint64_t base, tcs, data, elrange;
static int device;
static sigjmp_buf away;
static volatile int signalled;

static void die(const char *what) {
  perror(what);
  exit(2);
}

/* The mapped file; the head says how long it is. */
static void *file(const char *path) {
  int fd = open(path, O_RDONLY);
  off_t bytes = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
  void *at = bytes > 0 ? mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE, fd, 0) : MAP_FAILED;
  if (at == MAP_FAILED) die(path);
  close(fd);
  return at;
}

static void load(const char *path) {
  struct head *head = file(path);
  struct page *page = (struct page *)(head + 1);
  static uint8_t source[PAGE] __attribute__((aligned(4096))), secs[PAGE] __attribute__((aligned(4096)));
  int fd = open("/dev/sgx_enclave", O_RDWR);
  if (fd < 0) die("/dev/sgx_enclave");
  if (head->magic != IMAGE_MAGIC) die("image");
  uint8_t *room = mmap(NULL, 2 * head->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  base = ((uint64_t)room + head->size - 1) / head->size * head->size;
  memcpy(secs, head->secs, PAGE);
  memcpy(secs + 8, &base, 8);
  struct sgx_enclave_create create = {.src = (uint64_t)secs};
  munmap(room, 2 * head->size);
  if (mmap((void *)base, head->size, PROT_NONE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) die("mmap");
  if (ioctl(fd, SGX_IOC_ENCLAVE_CREATE, &create)) die("create");
  /* What the pages come from has to be memory that may be executed. */
  if (mprotect(source, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC)) die("mprotect");
  for (uint64_t i = 0; i < head->pages; i++) {
    uint64_t secinfo[8] = {page[i].secinfo};
    int rights = page[i].secinfo >> 8 == 1 ? PROT_READ | PROT_WRITE : (int)(page[i].secinfo & 7);
    struct sgx_enclave_add_pages add = {.src = (uint64_t)source,
                                        .offset = page[i].offset,
                                        .length = PAGE,
                                        .secinfo = (uint64_t)secinfo,
                                        .flags = page[i].measured ? SGX_PAGE_MEASURE : 0};
    memcpy(source, page[i].bytes, PAGE);
    if (ioctl(fd, SGX_IOC_ENCLAVE_ADD_PAGES, &add)) die("add pages");
    if (mmap((void *)(base + page[i].offset), PAGE, rights, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) die("mmap page");
  }
  struct sgx_enclave_init init = {.sigstruct = (uint64_t)head->sigstruct};
  if (ioctl(fd, SGX_IOC_ENCLAVE_INIT, &init)) die("init");
  device = fd;
  elrange = head->size;
  uint64_t tcs_at = head->tcs, data_at = head->data;
  munmap(head, sizeof *head + head->pages * sizeof *page);
  tcs = base + tcs_at;
  data = base + data_at;
}

/* The kernel takes the enclave down with its last mapping and its last descriptor. */
static void unload(void) {
  munmap((void *)base, elrange);
  close(device);
}

/* EENTER without the vDSO: an exception is a signal, and the enclave is then not entered again. */
static uint64_t enter(uint64_t op, uint64_t rsi, uint64_t rdx) {
  register uint64_t r8 __asm__("r8") = 0, r9 __asm__("r9") = 0;
  uint64_t rax = 2, rbx = tcs, rcx, rdi = op;
  __asm__ volatile(
      "lea 1f(%%rip), %%rcx\n"
      "1: .byte 0x0f, 0x01, 0xd7\n" /* ENCLU: EENTER, and ERESUME as the AEP */
      : "+a"(rax), "+b"(rbx), "=&c"(rcx), "+D"(rdi), "+S"(rsi), "+d"(rdx), "+r"(r8), "+r"(r9)
      :
      : "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
  return rsi;
}

static void on_signal(int number) {
  signalled = number;
  siglongjmp(away, 1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Reads the secret again and again, and lets the enclave use memory of this program beside it. */
static void loop(uint64_t secret, double ms) {
  static volatile uint64_t outside[8 * PAGE / 8] __attribute__((aligned(4096)));
  unsigned long rounds = 0, wrong = 0, other = 0;
  for (double end = now() + ms; now() < end; rounds++) {
    volatile uint64_t *place = &outside[rounds * 513 % (8 * PAGE / 8)];
    if (enter(OP_READ, data, 0) != secret) wrong++;
    enter(OP_WRITE, (uint64_t)place, rounds);
    if (*place != rounds) other++;
  }
  printf("rounds %lu wrong %lu outside %lu\n", rounds, wrong, other);
}

static int ascending(const void *a, const void *b) {
  double d = *(const double *)a - *(const double *)b;
  return d < 0 ? -1 : d > 0;
}

static void print_times(double *ms, uint64_t count) {
  qsort(ms, count, sizeof *ms, ascending);
  printf("p50 %.0f p99 %.0f min %.0f\n", ms[count / 2] * 1e6, ms[count * 99 / 100] * 1e6, ms[0] * 1e6);
}

/* Nanoseconds of an entry that does nothing, and of the clock alone taken away. */
static void time_entries(uint64_t count) {
  static double ms[TIMES_MAX];
  if (count < 1 || count > TIMES_MAX) return (void)printf("unknown\n");
  double clock = now();
  for (int i = 0; i < 1000; i++) (void)now();
  clock = (now() - clock) / 1001;
  for (uint64_t i = 0; i < count; i++) {
    double begin = now();
    enter(OP_NOTHING, 0, 0);
    ms[i] = now() - begin - clock;
  }
  print_times(ms, count);
}

/* Nanoseconds of `count` rounds of a loop inside. */
static void time_compute(uint64_t count) {
  double begin = now();
  enter(OP_CALL, base + EXTRA_CODE, count);
  printf("ns %.0f\n", (now() - begin) * 1e6);
}

/* Enclaves that come, are used, and go. */
static void cycles(const char *path, uint64_t count) {
  static double ms[TIMES_MAX];
  if (count < 1 || count > TIMES_MAX) return (void)printf("unknown\n");
  for (uint64_t i = 0; i < count; i++) {
    double begin = now();
    unload();
    load(path);
    enter(OP_WRITE, data, i);
    if (enter(OP_READ, data, 0) != i) return (void)printf("wrong after %lu\n", (unsigned long)i);
    ms[i] = now() - begin;
  }
  print_times(ms, count);
}

int main(int argc, char **argv) {
  char line[256], word[32];
  const int fatal[] = {SIGSEGV, SIGILL, SIGBUS, SIGFPE, SIGTRAP};
  if (argc != 2) return 2;
  setvbuf(stdout, NULL, _IOLBF, 0);
  load(argv[1]);
  static uint8_t stack[65536];
  stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
  sigaltstack(&alternate, NULL);
  for (unsigned i = 0; i < sizeof fatal / sizeof *fatal; i++) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK | SA_NODEFER};
    sigaction(fatal[i], &action, NULL);
  }
  printf("base 0x%lx pid %d\n", (unsigned long)base, getpid());
  while (fgets(line, sizeof line, stdin)) {
    uint64_t a = 0, b = 0;
    if (sscanf(line, "%31s %lx %lx", word, &a, &b) < 1) continue;
    if (sigsetjmp(away, 1)) {
      printf("signal %d\n", signalled);
      continue;
    }
    if (strcmp(word, "put") == 0) printf("put %lx\n", (unsigned long)enter(OP_WRITE, data, a));
    else if (strcmp(word, "get") == 0) printf("got %lx\n", (unsigned long)enter(OP_READ, data, 0));
    else if (strcmp(word, "peek") == 0) printf("got %lx\n", (unsigned long)enter(OP_READ, a, 0));
    else if (strcmp(word, "touch") == 0) printf("touched %x\n", *(volatile uint8_t *)data);
    else if (strcmp(word, "time") == 0) time_entries(a);
    else if (strcmp(word, "compute") == 0) time_compute(a);
    else if (strcmp(word, "cycles") == 0) cycles(argv[1], a);
    else if (strcmp(word, "loop") == 0) loop(a, (double)b);
    else if (strcmp(word, "quit") == 0) break;
    else printf("unknown\n");
  }
  return 0;
}
