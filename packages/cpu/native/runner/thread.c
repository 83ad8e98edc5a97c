/* A runner thread: serves the gate of one TCS. */
#include "runner.h"

#define EEXIT 4u
#define NO_SITE ((u32)-1)
/* An awake monitor answers within this time, or is not running. */
#define LEAF_SPIN_CYCLES 60000u

struct request { u32 function; u64 rdi, rsi, rdx, r8, r9, rsp, rbp; };

/* Gives the enclave up: the process ends, the monitor's process reads why. */
NORETURN void lost(u32 reason, u32 detail, u64 address) {
  WRITE(control()->lost_detail, detail);
  WRITE(control()->lost_address, address);
  WRITE(control()->lost_reason, reason);
  call_exit_group(reason);
}

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

static struct control_tcs *tcs(struct thread *t) { return (struct control_tcs *)t->control; }
static struct gate *gate(struct thread *t) { return (struct gate *)t->gate; }
/* Counters have one writer: the thread. */
#define COUNT_ONE(t, counter) WRITE(tcs(t)->counter, tcs(t)->counter + 1)
static void set_state(struct thread *t, u32 state) { WRITE(tcs(t)->state, state); }

static void respond(struct thread *t, u32 kind, u64 rdi, u64 rsi, u64 rdx, u64 r8, u64 r9, u64 rbx) {
  struct gate *g = gate(t);
  WRITE(g->response_kind, kind);
  WRITE(g->response_rdi, rdi);
  WRITE(g->response_rsi, rsi);
  WRITE(g->response_rdx, rdx);
  WRITE(g->response_r8, r8);
  WRITE(g->response_r9, r9);
  WRITE(g->response_rbx, rbx);
}

static void entry_failed(struct thread *t, u32 vector, u64 address) {
  set_state(t, TCS_STATE_IDLE);
  respond(t, EXIT_KIND_ENTRY_FAILED, vector, address, 0, 0, 0, 0);
}

/* The monitor changes a TCS while it is not admitted; seen after admission, so once for an entry. */
static void take_tcs(struct thread *t) {
  const struct control_tcs *c = tcs(t);
  u32 generation = READ(c->generation);
  if (generation == t->generation) return;
  t->generation = generation;
  t->tcs = READ(c->tcs);
  t->ssa = READ(c->ssa);
  t->entry = READ(c->entry);
  t->tcs_fs_base = READ(c->fs_base);
  t->tcs_gs_base = READ(c->gs_base);
  t->nssa = READ(c->nssa);
  t->tcs_flags = READ(c->tcs_flags);
  t->cssa = READ(c->start_cssa);
  WRITE(tcs(t)->cssa, t->cssa);
}

/*
 * The order that loses no entry: epoch and state are stored (a locked store) before FREEZE and `admitted` are read;
 * the monitor sets FREEZE or bumps EPOCH before it reads the states.
 */
static s32 admit(struct thread *t) {
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
      if (admitted) {
        take_tcs(t);
        set_state(t, TCS_STATE_INSIDE);
        return 1;
      }
      return 0;
    }
    set_state(t, TCS_STATE_IDLE);
    if (tries >= 200) return 0;
    call_futex(&control()->freeze, 0 /* FUTEX_WAIT */, frozen, pause, 0, 0);
  }
}

/* Asks the monitor for a leaf function. Returns 1 when the leaf faulted (the exception is set). */
static s32 leaf(struct thread *t, u32 number) {
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
  u64 clear = number == 0 || number == 6 ? 0x41 : 0x8d5;
  t->rflags &= ~clear;
  if (flags & ANSWER_ZF) t->rflags |= 0x40;
  if (flags & ANSWER_CF) t->rflags |= 1;
  t->rip += 3;
  return 0;
}

/* After a patched site the mov is done, the registers are as they were, and RIP is the ENCLU's. */
static u32 enclu_leaf(struct thread *t) {
  if (t->site == NO_SITE) return (u32)t->rax;
  const struct plan_site *site = &enclave.site[t->site >> 1 < enclave.sites ? t->site >> 1 : 0];
  t->rip = site->enclu;
  t->rax = site->leaf;
  t->rflags = (t->rflags & ~0x40ul) | (t->site & 1 ? 0x40 : 0);
  __asm__ volatile("rdfsbase %0" : "=r"(t->fs_base));
  __asm__ volatile("rdgsbase %0" : "=r"(t->gs_base));
  return site->leaf;
}

static void asynchronous_exit(struct thread *t) {
  COUNT_ONE(t, aex[t->vector < INTERRUPT_VECTOR ? t->vector : 32]);
  if (aex_save(t)) lost(LOST_SSA_WRITE, t->vector, t->ssa + (u64)t->cssa * enclave.ssa_frame_bytes);
  WRITE(tcs(t)->cssa, t->cssa);
  set_state(t, TCS_STATE_IDLE);
  u64 page = t->vector == 14 ? t->address & ~0xffful : 0;
  respond(t, EXIT_KIND_AEX, t->vector | (u64)t->error_code << 32, page, 0, 0, 0, 0);
}

/* Runs the enclave until it leaves; `why` is how control came back first. */
static void until_exit(struct thread *t, u32 why) {
  for (;;) {
    if (why == BACK_ENCLU) {
      if (t->site != NO_SITE && (t->site >> 1) >= enclave.sites) lost(LOST_STUB_FAULT, t->site, 0);
      if (t->site != NO_SITE && enclave.site[t->site >> 1].leaf == EEXIT && canonical(t->rbx)) {
        COUNT_ONE(t, eexit);
        set_state(t, TCS_STATE_IDLE);
        return respond(t, EXIT_KIND_EEXIT, t->rdi, t->rsi, t->rdx, t->r8, t->r9, t->rbx);
      }
      u32 number = enclu_leaf(t);
      if (number == EEXIT && canonical(t->rbx)) {
        COUNT_ONE(t, eexit);
        set_state(t, TCS_STATE_IDLE);
        return respond(t, EXIT_KIND_EEXIT, t->rdi, t->rsi, t->rdx, t->r8, t->r9, t->rbx);
      }
      /* EENTER, ERESUME and EEXIT to a non-canonical address are #GP here; leaves beyond 0xff do not exist. */
      if ((number >= 2 && number <= 4) || number > 0xff) {
        exception_set_gp(t);
        return asynchronous_exit(t);
      }
      if (leaf(t, number)) return asynchronous_exit(t);
      why = resume_enclave(t, 0);
      if (why == BACK_RETRY) {
        exception_set(t, INTERRUPT_VECTOR, 0, 0);
        return asynchronous_exit(t);
      }
      continue;
    }
    if (why == BACK_FAULT) return asynchronous_exit(t);
    return entry_failed(t, 13, 0);
  }
}

static void eenter(struct thread *t, const struct request *r) {
  u32 why;
  do {
    if (!admit(t)) return entry_failed(t, 14, t->tcs);
    if (t->cssa >= t->nssa) return entry_failed(t, 13, t->tcs);
    if (!canonical(t->entry) || !canonical(t->tcs_fs_base) || !canonical(t->tcs_gs_base))
      return entry_failed(t, 13, t->tcs);
    u64 gpr = t->ssa + (u64)(t->cssa + 1) * enclave.ssa_frame_bytes - 184;
    if (guarded_store_pair((u64 *)(gpr + 144), r->rsp, r->rbp)) return entry_failed(t, 14, gpr & ~0xffful);
    t->rax = t->cssa;
    t->rbx = t->tcs;
    t->rcx = AEP_ADDRESS;
    t->rdx = r->rdx;
    t->rsi = r->rsi;
    t->rdi = r->rdi;
    t->r8 = r->r8;
    t->r9 = r->r9;
    t->rsp = r->rsp;
    t->rbp = r->rbp;
    t->rip = t->entry;
    t->fs_base = t->tcs_fs_base;
    t->gs_base = t->tcs_gs_base;
    COUNT_ONE(t, eenter);
    why = enter_enclave(t);
    if (why == BACK_RETRY) WRITE(tcs(t)->eenter, tcs(t)->eenter - 1);
  } while (why == BACK_RETRY);
  until_exit(t, why);
}

static void eresume(struct thread *t, const struct request *r) {
  u32 why;
  do {
    if (!admit(t)) return entry_failed(t, 14, t->tcs);
    if (t->cssa == 0) return entry_failed(t, 13, t->tcs);
    t->ursp = r->rsp;
    t->urbp = r->rbp;
    s32 vector = eresume_load(t);
    if (vector) return entry_failed(t, (u32)vector, t->tcs);
    WRITE(tcs(t)->cssa, --t->cssa);
    COUNT_ONE(t, eresume);
    why = resume_enclave(t, (const void *)(u64)(MEMORY_XSAVE + t->index * MEMORY_XSAVE_STRIDE));
    if (why == BACK_RETRY || why == BACK_RESUME_FAULT) {
      WRITE(tcs(t)->cssa, ++t->cssa);
      WRITE(tcs(t)->eresume, tcs(t)->eresume - 1);
    }
  } while (why == BACK_RETRY);
  if (why == BACK_RESUME_FAULT) return entry_failed(t, 13, t->tcs);
  until_exit(t, why);
}

static void serve(struct thread *t) {
  struct gate *g = gate(t);
  struct request r;
  wait_for_request(t, g);
  t->seen = __atomic_load_n(&g->request_seq, __ATOMIC_ACQUIRE);
  r.function = READ(g->request_function);
  r.rdi = READ(g->request_rdi);
  r.rsi = READ(g->request_rsi);
  r.rdx = READ(g->request_rdx);
  r.r8 = READ(g->request_r8);
  r.r9 = READ(g->request_r9);
  r.rsp = READ(g->request_rsp);
  r.rbp = READ(g->request_rbp);
  if (r.function == GATE_FUNCTION_EENTER) eenter(t, &r);
  else if (r.function == GATE_FUNCTION_ERESUME) eresume(t, &r);
  else respond(t, EXIT_KIND_ENTRY_FAILED, 13, 0, 0, 0, 0, 0);
  publish(t, g);
}

NORETURN void thread_main(struct thread *t) {
  thread_setup(t);
  for (;;) serve(t);
}
