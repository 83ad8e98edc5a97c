/*
 * The system calls that remain. Enclave code can jump to any of their instructions with registers of its choice, so
 * each is harmless whatever its arguments; the address test gives SYSCALL elsewhere the meaning of #UD.
 */
#include "runner.h"

struct filter_step { u16 code; u8 yes, no; u32 value; };
struct filter_program { u16 count; u16 pad[3]; const struct filter_step *steps; };
/* Argument `index` must equal `value` in the bits of `mask`; a mask of 0 tests nothing. */
struct argument { u32 index; u64 mask, value; };
struct allowed { u32 number; const char *ip; struct argument argument[3]; };

#define LOAD 0x20
#define JUMP_EQUAL 0x15
#define AND 0x54
#define RETURN 0x06
#define ALLOW 0x7fff0000u
#define TRAP 0x00030000u
#define NOT_PERMITTED 0x00050001u /* SECCOMP_RET_ERRNO | EPERM */
#define DATA_NUMBER 0
#define DATA_ARCH 4
#define DATA_IP 8
#define DATA_ARGUMENT(n) (16 + 8 * (n))
#define ARCH_X86_64 0xc000003eu
#define MAP_FLAGS 0x100001u /* MAP_SHARED | MAP_FIXED_NOREPLACE */
#define EXACTLY(index, value) { index, ~0ul, value }

static struct filter_step steps[288];
static u32 count;

static void step(u16 code, u8 yes, u8 no, u32 value) {
  if (count < COUNT(steps)) steps[count++] = (struct filter_step){ code, yes, no, value };
}

static void half(u32 at, u32 mask, u32 value, u32 trap) {
  if (mask == 0) return;
  step(LOAD, 0, 0, at);
  if (mask != 0xffffffff) step(AND, 0, 0, mask);
  step(JUMP_EQUAL, 0, (u8)(trap - count - 1), value);
}

static u32 half_steps(u32 mask) { return mask == 0 ? 0 : mask == 0xffffffff ? 2 : 3; }

/* A block ends in ALLOW; every test that fails falls through to the TRAP behind it. */
static void allow(const struct allowed *call) {
  u32 length = 4 + 2; /* the two halves of the address, ALLOW, TRAP */
  for (u32 i = 0; i < COUNT(call->argument); i++)
    length += half_steps((u32)call->argument[i].mask) + half_steps((u32)(call->argument[i].mask >> 32));
  step(LOAD, 0, 0, DATA_NUMBER);
  step(JUMP_EQUAL, 0, (u8)length, call->number);
  u32 trap = count + length - 1;
  half(DATA_IP, 0xffffffff, (u32)(u64)call->ip, trap);
  half(DATA_IP + 4, 0xffffffff, 0, trap);
  for (u32 i = 0; i < COUNT(call->argument); i++) {
    const struct argument *a = &call->argument[i];
    half(DATA_ARGUMENT(a->index) + 4, (u32)(a->mask >> 32), (u32)(a->value >> 32), trap);
    half(DATA_ARGUMENT(a->index), (u32)a->mask, (u32)a->value, trap);
  }
  step(RETURN, 0, 0, ALLOW);
  step(RETURN, 0, 0, TRAP);
}

/* Calls with the same tests, at an address that is tested already; the number is loaded. */
struct group { u8 numbers[9], count; struct argument argument[3]; };

static void allow_group(const struct group *g) {
  u32 length = 2;
  for (u32 i = 0; i < COUNT(g->argument); i++)
    length += half_steps((u32)g->argument[i].mask) + half_steps((u32)(g->argument[i].mask >> 32));
  for (u32 i = 0; i < g->count; i++)
    step(JUMP_EQUAL, (u8)(g->count - 1 - i), i + 1 == g->count ? (u8)length : 0, g->numbers[i]);
  u32 refusal = count + length - 1;
  for (u32 i = 0; i < COUNT(g->argument); i++) {
    const struct argument *a = &g->argument[i];
    half(DATA_ARGUMENT(a->index) + 4, (u32)(a->mask >> 32), (u32)(a->value >> 32), refusal);
    half(DATA_ARGUMENT(a->index), (u32)a->mask, (u32)a->value, refusal);
  }
  step(RETURN, 0, 0, ALLOW);
  step(RETURN, 0, 0, NOT_PERMITTED);
}

/*
 * The calls on host descriptors, at an address of their own. Descriptors outside the range do not pass, nor do addresses of
 * sockets. A descriptor is received on the grant socket only, and by its numbers the kernel puts it into the range (see
 * descriptors.c); closing one makes room there. poll tells which of the runner's descriptors are ready, no more. All of
 * these read and write memory of this process only, in which the enclave may do as it likes anyway.
 */
static void allow_descriptor_calls(void) {
  const u64 first = descriptors_first;
  const struct argument granted = { 0, ~(first - 1), first };
  const struct group groups[] = {
    { { 0, 1, 232, 19, 20, 17, 18, 3 }, 8, { granted } }, /* read write epoll_wait readv writev pread64 pwrite64 close */
    { { 45, 44 }, 2, { granted, EXACTLY(4, 0), EXACTLY(5, 0) } }, /* recvfrom sendto */
    { { 202 }, 1, { { 1, ~1ul, 128 } } }, /* futex: WAIT or WAKE, private */
    { { 7, 24, 219 }, 3, { { 0 } } }, /* poll; sched_yield; restart_syscall: what the kernel makes of a poll or futex */
    { { 47 }, 1, { EXACTLY(0, GRANT_SOCKET) } }, /* recvmsg */
  };
  step(LOAD, 0, 0, DATA_IP);
  u32 elsewhere = count;
  step(JUMP_EQUAL, 0, 0, (u32)(u64)descriptor_call_ip);
  step(LOAD, 0, 0, DATA_IP + 4);
  step(JUMP_EQUAL, 1, 0, 0);
  step(RETURN, 0, 0, NOT_PERMITTED);
  step(LOAD, 0, 0, DATA_NUMBER);
  for (u32 i = 0; i < COUNT(groups); i++) allow_group(&groups[i]);
  step(RETURN, 0, 0, NOT_PERMITTED);
  steps[elsewhere].no = (u8)(count - elsewhere - 1);
}

/* Installs the filter on every thread. Returns 0 or a negative errno. */
s64 filter_install(void) {
  /* Only where pages can be kept out of reach by mprotect alone may it take R as well. */
  u64 any = enclave.flags & PLAN_FLAG_USERFAULT ? 6 : 7, least = enclave.flags & PLAN_FLAG_USERFAULT ? 1 : 0;
  const struct allowed calls[] = {
    /* WAIT or WAKE. */
    { 202, call_futex_ip, { { 1, ~1ul, 0 } } },
    /* restart_syscall: what the kernel makes of a futex wait that was stopped, or woken by a signal another thread took. */
    { 219, call_futex_ip, { { 0 } } },
    { 203, call_setaffinity_ip, { EXACTLY(0, 0), EXACTLY(1, sizeof cpu_mask) } },
    { 24, call_yield_ip, { { 0 } } },
    { 0, call_read_ip, { EXACTLY(0, SOCKET) } },
    { 234, call_tgkill_ip, { EXACTLY(0, process_id), EXACTLY(2, KICK_SIGNAL) } },
    { 231, call_exit_group_ip, { { 0 } } },
    /*
     * mprotect of the ELRANGE, whose size is a power of two and divides its base: an address in it, a length below its
     * size, R with any of W and X. The page above the ELRANGE is unmapped, and mprotect ends at a gap, so nothing else of
     * this process changes. In the enclave's own hands: it can take pages from itself; W that the monitor took stays
     * taken (write protection of the userfaultfd), absent pages stay absent; X on its own pages is all it can win, as
     * with its own code. The files behind them are its own, nobody else maps them executable.
     */
    { 10, call_mprotect_ip, { { 0, ~(enclave.size - 1), enclave.base }, { 1, ~(enclave.size - 1), 0 }, { 2, ~any, least } } },
  };
  /*
   * vm mode: guest RAM, which is mapped anyway, at further addresses, never executable and never over what is there; and
   * taking mappings away. In the enclave's own hands: it loses memory of its own, or shows itself other memory of its guest.
   */
  const struct allowed vm_calls[] = {
    { 9, call_mmap_ip, { { 2, ~2ul, 1 }, EXACTLY(3, MAP_FLAGS), EXACTLY(4, RAM_FILE) } },
    { 11, call_munmap_ip, { { 0 } } },
  };
  step(LOAD, 0, 0, DATA_ARCH);
  step(JUMP_EQUAL, 1, 0, ARCH_X86_64);
  step(RETURN, 0, 0, TRAP);
  if (descriptor_mode()) allow_descriptor_calls();
  for (u32 i = 0; vm_mode() && i < COUNT(vm_calls); i++) allow(&vm_calls[i]);
  for (u32 i = 0; i < COUNT(calls); i++) allow(&calls[i]);
  step(RETURN, 0, 0, TRAP);
  struct filter_program program = { (u16)count, { 0, 0, 0 }, steps };
  if (count == COUNT(steps)) return -28;
  s64 result = start_call(157 /* prctl */, 38 /* PR_SET_NO_NEW_PRIVS */, 1, 0, 0, 0, 0);
  if (result < 0) return result;
  return start_call(317 /* seccomp */, 1 /* SET_MODE_FILTER */, 1 /* TSYNC */, (u64)&program, 0, 0, 0);
}
