/* A runner thread: serves the gate of one TCS. */
#include "runner.h"

/* Gives the enclave up: the process ends, the monitor's process reads why. */
NORETURN void lost(u32 reason, u32 detail, u64 address) {
  WRITE(control()->lost_detail, detail);
  WRITE(control()->lost_address, address);
  WRITE(control()->lost_reason, reason);
  call_exit_group(reason);
}

/* The monitor changes a TCS while it is not admitted; seen after admission, so once for an entry. */
static void take_tcs(struct thread *t) {
  struct control_tcs *c = tcs(t);
  t->generation = READ(c->generation);
  t->tcs = READ(c->tcs);
  t->ssa = READ(c->ssa);
  t->entry = READ(c->entry);
  t->tcs_fs_base = READ(c->fs_base);
  t->tcs_gs_base = READ(c->gs_base);
  t->nssa = READ(c->nssa);
  t->tcs_flags = READ(c->tcs_flags);
  t->cssa = READ(c->start_cssa);
  WRITE(c->cssa, t->cssa);
}

/*
 * The order that loses no entry: epoch and state are stored (a locked store) before FREEZE and `admitted` are read;
 * the monitor sets FREEZE or bumps EPOCH before it reads the states.
 */
s32 admit(struct thread *t) {
  static const s64 pause[2] = { 0, 1000000 };
  struct control_tcs *c = tcs(t);
  for (u32 tries = 0;; tries++) {
    WRITE(t->kick_pending, 0);
    WRITE(c->entry_epoch, READ(control()->epoch));
    EXCHANGE(c->state, TCS_STATE_ENTERING);
    u32 epoch = READ(control()->epoch);
    if (READ(c->entry_epoch) != epoch) WRITE(c->entry_epoch, epoch);
    u32 frozen = READ(control()->freeze), admitted = READ(c->admitted);
    if (!frozen) {
      if (!admitted) return 0;
      if (READ(c->generation) != t->generation) take_tcs(t);
      set_state(t, TCS_STATE_INSIDE);
      return 1;
    }
    set_state(t, TCS_STATE_IDLE);
    if (tries >= 200) return 0;
    call_futex(&control()->freeze, 0 /* FUTEX_WAIT */, frozen, pause, 0, 0);
  }
}

static void serve(struct thread *t) {
  struct gate *g = gate(t);
  struct request r;
  wait_for_request(t, g);
  t->seen = __atomic_load_n(&g->request_seq, __ATOMIC_ACQUIRE);
  r.function = READ(g->request_function);
  r.step = r.function & GATE_FUNCTION_TF;
  r.function &= ~(u32)GATE_FUNCTION_TF;
  r.rdi = READ(g->request_rdi);
  r.rsi = READ(g->request_rsi);
  r.rdx = READ(g->request_rdx);
  r.r8 = READ(g->request_r8);
  r.r9 = READ(g->request_r9);
  r.rsp = READ(g->request_rsp);
  r.rbp = READ(g->request_rbp);
  if (vm_mode()) {
    r.rcx = READ(g->request_rcx);
    r.r10 = READ(g->request_r10);
    r.r11 = READ(g->request_r11);
    r.r12 = READ(g->request_r12);
    r.r13 = READ(g->request_r13);
    r.r14 = READ(g->request_r14);
    r.r15 = READ(g->request_r15);
    t->root = READ(g->request_root);
  }
  enter(t, &r);
  publish(t, g);
}

NORETURN void thread_main(struct thread *t) {
  thread_setup(t);
  if (t->index == enclave.threads) revoke_main();
  for (;;) serve(t);
}
