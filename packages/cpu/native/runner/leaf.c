/* ENCLU leaf functions inside the enclave: most are the monitor's, EDECCSSA is the runner's own. */
#include "runner.h"

#define EREPORT 0u
#define EMODPE 6u
#define EDECCSSA 9u
#define LAST_LEAF 0xffu
/* An awake monitor answers within this time, or is not running. */
#define LEAF_SPIN_CYCLES 60000u

/*
 * Tells the monitor that a leaf waits: first this enclave's word, then the machine's doorbell. Returns 1 when the
 * monitor was awake, so that its answer is worth spinning for.
 */
s32 ring_monitor(void) {
  __atomic_fetch_add(&control()->ring, 1, __ATOMIC_SEQ_CST);
  if (!enclave.doorbell) return 0;
  __atomic_fetch_add(enclave.doorbell, 1, __ATOMIC_SEQ_CST);
  if (!READ(enclave.doorbell[16])) return 1;
  call_futex(enclave.doorbell, 1 /* FUTEX_WAKE */, 1, 0, 0, 0);
  return 0;
}

/* Asks the monitor for a leaf function. */
static s32 ask_monitor(struct thread *t, u32 number) {
  static const s64 timeout[2] = { 0, 50000000 };
  struct control_tcs *c = tcs(t);
  u32 seq = ++t->leaf_seq;
  set_state(t, TCS_STATE_LEAF);
  WRITE(gate(t)->progress_state, PROGRESS_IN_MONITOR);
  WRITE(c->leaf, number);
  WRITE(c->leaf_rbx, t->rbx);
  WRITE(c->leaf_rcx, t->rcx);
  WRITE(c->leaf_rdx, t->rdx);
  EXCHANGE(c->leaf_seq, seq);
  if (ring_monitor() && enclave.cpus > 1)
    for (u64 start = cycles_only(); READ(c->answer_seq) != seq && cycles_only() - start < LEAF_SPIN_CYCLES;)
      __asm__ volatile("pause");
  for (;;) {
    u32 answered = READ(c->answer_seq);
    if (answered == seq) break;
    call_futex(&c->answer_seq, 0 /* FUTEX_WAIT */, answered, timeout, 0, 0);
  }
  set_state(t, TCS_STATE_INSIDE);
  WRITE(gate(t)->progress_state, PROGRESS_IDLE);
  u32 flags = READ(c->answer_flags);
  if (flags & ANSWER_FAULT) {
    exception_set(t, READ(c->answer_vector), READ(c->answer_error_code), READ(c->answer_address));
    return 1;
  }
  t->rax = READ(c->answer_rax);
  /* EREPORT and EMODPE leave the flags alone unless the monitor says otherwise; the others clear all but ZF and CF. */
  u64 clear = number == EREPORT || number == EMODPE ? 0x41 : 0x8d5;
  t->rflags &= ~clear;
  if (flags & ANSWER_ZF) t->rflags |= 0x40;
  if (flags & ANSWER_CF) t->rflags |= 1;
  return 0;
}

/* EDECCSSA: the frame below becomes the current one, provided that it can be written. */
static s32 decrement_cssa(struct thread *t) {
  if (t->cssa == 0) {
    exception_set(t, 13, 0, 0);
    return 1;
  }
  if (frame_missing(t, t->cssa - 1)) {
    exception_set(t, 14, page_fault_code(t->guard_address, t->guard_error), t->guard_address);
    return 1;
  }
  WRITE(tcs(t)->cssa, --t->cssa);
  return 0;
}

/*
 * Executes the leaf in RAX, RIP being that of the ENCLU. Returns 1 when control cannot go on behind it: the exception
 * is set, a fault of the leaf or the single step that ends with it.
 */
s32 leaf(struct thread *t, u32 number) {
  u32 stepped = opted_in(t) && (t->step || (t->rflags & RFLAGS_TF));
  t->step = 0;
  /* EENTER and ERESUME are for the outside, and EEXIT came here for its target; leaves beyond 0xff do not exist. */
  if ((number >= 2 && number <= 4) || number > LAST_LEAF) {
    exception_set(t, 13, 0, 0);
    return 1;
  }
  if (number == EDECCSSA ? decrement_cssa(t) : ask_monitor(t, number)) return 1;
  t->rip += 3;
  t->rflags &= ~(u64)(RFLAGS_TF | RFLAGS_RF);
  if (stepped) exception_set(t, 1, 0, 0);
  return (s32)stepped;
}
