/*
 * The system calls that remain. Enclave code can jump to any of their instructions with registers of its choice, so
 * each is harmless whatever its arguments; the address test gives SYSCALL elsewhere the meaning of #UD.
 */
#include "runner.h"

struct filter_step { u16 code; u8 yes, no; u32 value; };
struct filter_program { u16 count; u16 pad[3]; const struct filter_step *steps; };
struct argument { u32 index; u32 values; u32 value[2]; };
struct allowed { u32 number; const char *ip; struct argument argument[2]; };

#define LOAD 0x20
#define JUMP_EQUAL 0x15
#define RETURN 0x06
#define ALLOW 0x7fff0000u
#define TRAP 0x00030000u
#define DATA_NUMBER 0
#define DATA_ARCH 4
#define DATA_IP 8
#define DATA_ARGUMENT(n) (16 + 8 * (n))
#define ARCH_X86_64 0xc000003eu
#define NO_ARGUMENT { 0, 0, { 0, 0 } }

static struct filter_step steps[160];
static u32 count;

static void step(u16 code, u8 yes, u8 no, u32 value) {
  if (count < COUNT(steps)) steps[count++] = (struct filter_step){ code, yes, no, value };
}

/* A block ends in ALLOW; every test that fails falls through to the TRAP behind it. */
static void allow(const struct allowed *call) {
  u32 tests = 2;
  for (u32 i = 0; i < COUNT(call->argument); i++) tests += call->argument[i].values ? 2 : 0;
  u32 length = tests * 2 + 2;
  for (u32 i = 0; i < COUNT(call->argument); i++)
    if (call->argument[i].values == 2) length++;
  step(LOAD, 0, 0, DATA_NUMBER);
  step(JUMP_EQUAL, 0, (u8)length, call->number);
  u32 trap = count + length - 1;
#define UNLESS(at, expected) \
  do { \
    step(LOAD, 0, 0, at); \
    step(JUMP_EQUAL, 0, (u8)(trap - count - 1), expected); \
  } while (0)
  UNLESS(DATA_IP, (u32)(u64)call->ip);
  UNLESS(DATA_IP + 4, 0);
  for (u32 i = 0; i < COUNT(call->argument); i++) {
    const struct argument *a = &call->argument[i];
    if (!a->values) continue;
    UNLESS(DATA_ARGUMENT(a->index) + 4, 0);
    step(LOAD, 0, 0, DATA_ARGUMENT(a->index));
    if (a->values == 2) step(JUMP_EQUAL, 1, 0, a->value[0]);
    step(JUMP_EQUAL, 0, (u8)(trap - count - 1), a->value[a->values - 1]);
  }
  step(RETURN, 0, 0, ALLOW);
  step(RETURN, 0, 0, TRAP);
}

/* Installs the filter on every thread. Returns 0 or a negative errno. */
s64 filter_install(void) {
  const struct allowed calls[] = {
    { 202, call_futex_ip, { { 1, 2, { 0, 1 } }, NO_ARGUMENT } },
    /* restart_syscall: what the kernel makes of a futex wait that was stopped, or woken by a signal another thread took. */
    { 219, call_futex_ip, { NO_ARGUMENT, NO_ARGUMENT } },
    { 203, call_setaffinity_ip, { { 0, 1, { 0, 0 } }, { 1, 1, { sizeof cpu_mask, 0 } } } },
    { 24, call_yield_ip, { NO_ARGUMENT, NO_ARGUMENT } },
    { 0, call_read_ip, { { 0, 1, { SOCKET, 0 } }, NO_ARGUMENT } },
    { 234, call_tgkill_ip, { { 0, 1, { process_id, 0 } }, { 2, 1, { KICK_SIGNAL, 0 } } } },
    { 231, call_exit_group_ip, { NO_ARGUMENT, NO_ARGUMENT } },
  };
  step(LOAD, 0, 0, DATA_ARCH);
  step(JUMP_EQUAL, 1, 0, ARCH_X86_64);
  step(RETURN, 0, 0, TRAP);
  for (u32 i = 0; i < COUNT(calls); i++) allow(&calls[i]);
  step(RETURN, 0, 0, TRAP);
  struct filter_program program = { (u16)count, { 0, 0, 0 }, steps };
  if (count == COUNT(steps)) return -28;
  s64 result = start_call(157 /* prctl */, 38 /* PR_SET_NO_NEW_PRIVS */, 1, 0, 0, 0, 0);
  if (result < 0) return result;
  return start_call(317 /* seccomp */, 1 /* SET_MODE_FILTER */, 1 /* TSYNC */, (u64)&program, 0, 0, 0);
}
