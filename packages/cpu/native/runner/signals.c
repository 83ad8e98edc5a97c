/* What a signal means: an exception of the enclave, an interrupt of it, or nothing. */
#define WANT_EXCEPTION_TABLE
#define WANT_FAULT_SIGNALS
#include "runner.h"

enum { G_R8, G_R9, G_R10, G_R11, G_R12, G_R13, G_R14, G_R15, G_RDI, G_RSI, G_RBP, G_RBX, G_RDX, G_RAX, G_RCX, G_RSP,
  G_RIP, G_RFLAGS, G_SEGMENTS, G_ERROR, G_TRAP, G_MASK, G_CR2, G_FPSTATE };
#define CONTEXT_GREGS 5 /* u64 words before the registers in a ucontext */
#define SIGILL 4
#define SIGSYS 31
#define SA_FLAGS 0x4c000004ul /* SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTORER */
#define PF_WRITE 2u
#define PF_FETCH 16u

struct kernel_sigaction { void (*handler)(void); u64 flags; void (*restorer)(void); u64 mask; };

void signals_install(void) {
  struct kernel_sigaction action = { signal_entry, SA_FLAGS, no_restorer, 0 };
  for (u32 i = 0; i < COUNT(fault_signals); i++)
    start_call(13 /* rt_sigaction */, (u64)fault_signals[i], (u64)&action, 0, 8, 0, 0);
  start_call(13, KICK_SIGNAL, (u64)&action, 0, 8, 0, 0);
  start_call(13, SLICE_SIGNAL, (u64)&action, 0, 8, 0, 0);
}

/* The stack's lowest page stays unmapped. */
void signal_stack_install(u32 index) {
  u64 at = MEMORY_SIGNAL_STACKS + (u64)index * MEMORY_SIGNAL_STACK_STRIDE + 4096;
  struct { u64 at; s32 flags; u32 pad; u64 bytes; } stack = { at, 0, 0, MEMORY_SIGNAL_STACK_STRIDE - 4096 };
  start_call(131 /* sigaltstack */, (u64)&stack, 0, 0, 0, 0, 0);
}

static s32 within(u64 rip, const char *from, const char *to) { return rip >= (u64)from && rip < (u64)to; }
static s32 in_window(u64 rip) {
  return within(rip, enter_window_start, enter_window_end) || within(rip, resume_window_start, resume_window_end);
}

static u32 byte_at(u64 address) {
  u8 value = 0;
  if (!in_elrange(address) || guarded_load((const u8 *)address, &value)) return 0x100;
  return value;
}

/* #GP for want of privilege on an instruction that is illegal inside an enclave is #UD there. */
static s32 illegal_instruction(u64 rip) {
  for (u32 i = 0; i < 14; i++, rip++) {
    u32 op = byte_at(rip);
    if (op == 0x66 || op == 0x67 || op == 0xf2 || op == 0xf3 || op == 0x2e || op == 0x36 || op == 0x3e ||
        op == 0x26 || op == 0x64 || op == 0x65 || (op & 0xf0) == 0x40)
      continue;
    if (op == 0x0f) {
      op = byte_at(rip + 1);
      for (u32 k = 0; k < COUNT(illegal_opcodes_0f); k++)
        if (illegal_opcodes_0f[k] == op) return 1;
      return 0;
    }
    for (u32 k = 0; k < COUNT(illegal_opcodes); k++)
      if (illegal_opcodes[k] == op) return 1;
    return 0;
  }
  return 0;
}

static s32 is_enclu(u64 rip) { return byte_at(rip) == 0x0f && byte_at(rip + 1) == 0x01 && byte_at(rip + 2) == 0xd7; }

/* RIP of the system call that the filter refused, or 0 when the call was not made by an instruction of the enclave. */
static u64 refused_call(u64 rip) {
  u32 first = byte_at(rip - 2), second = byte_at(rip - 1);
  if ((first == 0x0f && (second == 0x05 || second == 0x34)) || (first == 0xcd && second == 0x80)) return rip - 2;
  return 0;
}

static u32 page_fault_code(u64 address, u32 reported) {
  u32 access = (reported & (PF_WRITE | PF_FETCH)) | 4, needed = MAP_FLAG_R;
  if (!in_elrange(address)) return access | (reported & 1);
  if (reported & PF_WRITE) needed = MAP_FLAG_W;
  if (reported & PF_FETCH) needed = MAP_FLAG_X;
  u32 low = 0, high = enclave.ranges;
  while (low < high) {
    u32 middle = (low + high) / 2;
    const struct plan_range *range = &enclave.range[middle];
    if (address - range->address < range->length) {
      /* The page is there and the EPCM refuses the access: P and the SGX bit. */
      if (!(range->permissions & needed)) return access | 0x8001;
      return access;
    }
    if (address < range->address) high = middle;
    else low = middle + 1;
  }
  return access;
}

static void take_registers(struct thread *t, const u64 *g) {
  t->rax = g[G_RAX]; t->rcx = g[G_RCX]; t->rdx = g[G_RDX]; t->rbx = g[G_RBX];
  t->rsp = g[G_RSP]; t->rbp = g[G_RBP]; t->rsi = g[G_RSI]; t->rdi = g[G_RDI];
  t->r8 = g[G_R8]; t->r9 = g[G_R9]; t->r10 = g[G_R10]; t->r11 = g[G_R11];
  t->r12 = g[G_R12]; t->r13 = g[G_R13]; t->r14 = g[G_R14]; t->r15 = g[G_R15];
  t->rflags = g[G_RFLAGS];
  t->rip = g[G_RIP];
  __asm__ volatile("rdfsbase %0" : "=r"(t->fs_base));
  __asm__ volatile("rdgsbase %0" : "=r"(t->gs_base));
}

/* The kernel has reset the extended state for the handler: the enclave's goes back into the registers. */
NORETURN static void back(struct thread *t, const u64 *g, u32 why) {
  if (g[G_FPSTATE]) load_xstate((const void *)g[G_FPSTATE]);
  leave_to_host(t, why);
}

static void set_exception(struct thread *t, u32 vector, u32 error_code, u64 address, s32 valid, u32 type) {
  t->vector = vector;
  t->error_code = error_code;
  t->address = address;
  t->exit_info = valid ? vector | type << 8 | 1u << 31 : 0;
  t->has_exinfo = valid && (vector == 13 || vector == 14);
}

void exception_set_gp(struct thread *t) { set_exception(t, 13, 0, 0, enclave.miscselect & 1, 3); }
void exception_set(struct thread *t, u32 vector, u32 error_code, u64 address) {
  s32 valid = vector == 13 || vector == 14 ? (s32)(enclave.miscselect & 1) : vector == 6;
  set_exception(t, vector, error_code, address, valid, 3);
}

NORETURN static void interrupt(struct thread *t, u64 *context, const u64 *g) {
  if (t->inside && in_elrange(g[G_RIP])) {
    take_registers(t, g);
    set_exception(t, INTERRUPT_VECTOR, 0, 0, 0, 0);
    back(t, g, BACK_FAULT);
  }
  if (in_window(g[G_RIP])) back(t, g, BACK_RETRY);
  WRITE(t->kick_pending, 1);
  resume_context(context);
}

NORETURN void on_signal(s32 signal, const s32 *info, u64 *context) {
  u64 *g = context + CONTEXT_GREGS, rip = g[G_RIP];
  u32 index = (u32)(((u64)context - MEMORY_SIGNAL_STACKS) / MEMORY_SIGNAL_STACK_STRIDE);
  struct thread *t = thread_at(index & 0xff);
  if (signal == SLICE_SIGNAL) {
    leave_callers_cpu(t);
    resume_context(context);
  }
  if (signal == KICK_SIGNAL || info[2] <= 0) interrupt(t, context, g);
  if (within(rip, guard_start, guard_end)) {
    g[G_RIP] = (u64)guard_fail;
    resume_context(context);
  }
  if (rip == (u64)int80_at) {
    g[G_RIP] = (u64)int80_fail;
    resume_context(context);
  }
  if (within(rip, resume_window_start, resume_window_end)) leave_to_host(t, BACK_RESUME_FAULT);
  if (!t->inside) lost(LOST_STUB_FAULT, (u32)signal, rip);
  const struct exception_row *row = 0;
  for (u32 i = 0; i < COUNT(exception_rows) && !row; i++)
    if (exception_rows[i].signal == signal &&
        (exception_rows[i].trap < 0 || exception_rows[i].trap == (s32)g[G_TRAP]))
      row = &exception_rows[i];
  if (!row) lost(LOST_STUB_FAULT, (u32)signal | (u32)g[G_TRAP] << 8, rip);
  take_registers(t, g);
  t->site = (u32)-1;
  u64 at = rip - row->rewind;
  if (signal == SIGSYS) at = refused_call(rip);
  if (!in_elrange(at)) {
    /* Fetched outside the ELRANGE. */
    exception_set_gp(t);
    back(t, g, BACK_FAULT);
  }
  t->rip = at;
  if (row->vector == 6 && signal == SIGILL && is_enclu(at)) back(t, g, BACK_ENCLU);
  s32 valid = row->exit_info_when == 1 || (row->exit_info_when == 2 && (enclave.miscselect & 1));
  if (row->vector == 14) {
    u32 error_code = page_fault_code(g[G_CR2], (u32)g[G_ERROR]);
    set_exception(t, 14, error_code, g[G_CR2], valid, row->exit_type);
  } else if (row->vector == 13 && illegal_instruction(at)) {
    set_exception(t, 6, 0, 0, 1, 3);
  } else {
    set_exception(t, row->vector, 0, 0, valid, row->exit_type);
  }
  back(t, g, BACK_FAULT);
}
