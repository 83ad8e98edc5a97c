/* What a signal means: an exception of the enclave, an interrupt of it, a single step, or nothing. */
#define WANT_FAULT_SIGNALS
#include "runner.h"

enum { G_R8, G_R9, G_R10, G_R11, G_R12, G_R13, G_R14, G_R15, G_RDI, G_RSI, G_RBP, G_RBX, G_RDX, G_RAX, G_RCX, G_RSP,
  G_RIP, G_RFLAGS, G_SEGMENTS, G_ERROR, G_TRAP, G_MASK, G_CR2, G_FPSTATE };
#define CONTEXT_GREGS 5 /* u64 words before the registers in a ucontext */
#define SIGTRAP 5
#define SIGSEGV 11
#define TRAP_TRACE 2
#define TRAP_PAGE_FAULT 14
#define CODE 2 /* index of si_code */
#define SA_FLAGS 0x4c000004ul /* SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTORER */

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

NORETURN static void interrupt(struct thread *t, u64 *context, const u64 *g) {
  if (t->inside && enclave_code(g[G_RIP])) {
    take_registers(t, g);
    exception_set(t, INTERRUPT_VECTOR, 0, 0);
    back(t, g, BACK_FAULT);
  }
  if (in_window(g[G_RIP])) back(t, g, BACK_RETRY);
  WRITE(t->kick_pending, 1);
  resume_context(context);
}

/*
 * TF is set. Without debug opt-in an enclave cannot set it, so it goes. With opt-in it goes while a patched site is on
 * its way to the stub: the step ends with the leaf.
 */
NORETURN static void skip_step(struct thread *t, u64 *context, u64 *g) {
  /* On the way through a call on a host descriptor the stepping goes on; the step ends behind it. */
  if (opted_in(t) && enclave_code(g[G_RIP])) resume_context(context);
  g[G_RFLAGS] &= ~(u64)RFLAGS_TF;
  if (!in_elrange(g[G_RIP])) t->step = 1;
  resume_context(context);
}

NORETURN void on_signal(s32 signal, const s32 *info, u64 *context) {
  u64 *g = context + CONTEXT_GREGS, rip = g[G_RIP];
  u32 index = (u32)(((u64)context - MEMORY_SIGNAL_STACKS) / MEMORY_SIGNAL_STACK_STRIDE);
  struct thread *t = thread_at(index & 0xff);
  if (signal == SLICE_SIGNAL) {
    leave_callers_cpu(t);
    /* A kick that came meanwhile found this handler, and not the enclave. */
    if (READ(t->kick_pending)) interrupt(t, context, g);
    resume_context(context);
  }
  if (signal == KICK_SIGNAL || info[CODE] <= 0) interrupt(t, context, g);
  if (within(rip, guard_start, guard_end)) {
    t->guard_address = g[G_CR2];
    t->guard_error = (u32)g[G_ERROR];
    g[G_RIP] = (u64)guard_fail;
    resume_context(context);
  }
  if (rip == (u64)int80_at) {
    g[G_RIP] = (u64)int80_fail;
    resume_context(context);
  }
  if (signal == SIGTRAP && info[CODE] == TRAP_TRACE && !(in_elrange(rip) && opted_in(t))) skip_step(t, context, g);
  if (within(rip, resume_window_start, resume_window_end)) leave_to_host(t, BACK_RESUME_FAULT);
  if (!t->inside) lost(LOST_STUB_FAULT, (u32)signal, rip);
  /* Other signals' frames carry the trap that the thread had last. */
  if (vm_mode() && signal == SIGSEGV && g[G_TRAP] == TRAP_PAGE_FAULT && in_elrange(rip) &&
      outside_map(t, g[G_CR2], (u32)g[G_ERROR])) {
    if (READ(t->kick_pending)) interrupt(t, context, g);
    resume_context(context);
  }
  take_registers(t, g);
  const struct signal_facts fact = { (s32)g[G_TRAP], (u32)g[G_ERROR], g[G_CR2] };
  u32 why = exception_take(t, signal, &fact);
  if (why == BACK_TRAMPOLINE) {
    g[G_RIP] = t->rip;
    resume_context(context);
  }
  back(t, g, why);
}
