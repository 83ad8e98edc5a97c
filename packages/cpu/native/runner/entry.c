/* EENTER and ERESUME, and what happens until the enclave is left. */
#include "runner.h"

#define EEXIT 4u
#define NO_SITE ((u32)-1)
#define RFLAGS_AT_ENTRY 0x202u

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

static void entry_failed(struct thread *t, u32 vector, u32 error_code, u64 address) {
  set_state(t, TCS_STATE_IDLE);
  respond(t, EXIT_KIND_ENTRY_FAILED, vector | (u64)error_code << 32, address, 0, 0, 0, 0);
}
static void entry_protection_fault(struct thread *t) { entry_failed(t, 13, 0, t->tcs); }
/* The page fault of the guarded access that just failed. */
static void entry_page_fault(struct thread *t) {
  entry_failed(t, 14, page_fault_code(t->guard_address, t->guard_error), t->guard_address & ~0xffful);
}

/*
 * A TCS is not admitted for its own sake or for its frame's: the address is that of the page which is not there. What
 * the thread knows of a TCS that has changed since its last entry is of no use.
 */
static void not_admitted(struct thread *t, u32 frame) {
  s32 known = READ(tcs(t)->generation) == t->generation;
  if (known && frame < t->nssa && frame_missing(t, frame)) return entry_page_fault(t);
  entry_failed(t, 14, 0, READ(tcs(t)->tcs));
}

static void unsupported(struct thread *t) { respond(t, EXIT_KIND_ENTRY_FAILED, 13, 0, 0, 0, 0, 0); }

/* After a patched site the mov is done, the registers are as they were, and RIP is the ENCLU's. */
static u32 enclu_leaf(struct thread *t) {
  if (t->site == NO_SITE) return (u32)t->rax;
  const struct plan_site *site = &enclave.site[t->site >> 1];
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
  /* Which byte of an enclave's page was touched is its own affair; a guest's kernel wants to know it of its own pages. */
  u64 mask = vm_mode() && !in_elrange(t->address) ? 0 : 0xfff;
  u64 page = t->vector == 14 ? t->address & ~mask : 0;
  respond(t, EXIT_KIND_AEX, t->vector | (u64)t->error_code << 32, page, 0, 0, 0, 0);
}

static void synchronous_exit(struct thread *t) {
  COUNT_ONE(t, eexit);
  set_state(t, TCS_STATE_IDLE);
  respond(t, EXIT_KIND_EEXIT, t->rdi, t->rsi, t->rdx, t->r8, t->r9, t->rbx);
  if (vm_mode()) {
    struct gate *g = gate(t);
    WRITE(g->response_rsp, t->rsp);
    WRITE(g->response_rbp, t->rbp);
    WRITE(g->response_rflags, t->rflags);
    WRITE(g->response_r10, t->r10);
    WRITE(g->response_r11, t->r11);
    WRITE(g->response_r12, t->r12);
    WRITE(g->response_r13, t->r13);
    WRITE(g->response_r14, t->r14);
    WRITE(g->response_r15, t->r15);
  }
}

/* Runs the enclave until it leaves; `why` is how control came back first. */
static void until_exit(struct thread *t, u32 why) {
  while (why == BACK_ENCLU) {
    if (t->site != NO_SITE && (t->site >> 1) >= enclave.sites) lost(LOST_STUB_FAULT, t->site, 0);
    if (t->site != NO_SITE && enclave.site[t->site >> 1].leaf == EEXIT && canonical(t->rbx)) return synchronous_exit(t);
    u32 number = enclu_leaf(t);
    if (number == EEXIT && canonical(t->rbx)) return synchronous_exit(t);
    if (leaf(t, number)) return asynchronous_exit(t);
    why = resume_enclave(t, 0);
    if (why == BACK_RETRY) {
      exception_set(t, INTERRUPT_VECTOR, 0, 0);
      return asynchronous_exit(t);
    }
  }
  if (why == BACK_FAULT) return asynchronous_exit(t);
  entry_protection_fault(t);
}

/* Without debug opt-in a TCS asks for notifications exactly when its enclave does. */
static s32 flags_contradict(const struct thread *t) {
  u32 wanted = t->tcs_flags & TCS_FLAG_AEXNOTIFY ? PLAN_FLAG_AEXNOTIFY : 0;
  return !(t->tcs_flags & TCS_FLAG_DBGOPTIN) && wanted != (enclave.flags & PLAN_FLAG_AEXNOTIFY);
}

/*
 * Enters at OENTRY with the next free frame: EENTER, and ERESUME when it notifies instead of resuming. Returns a
 * BACK_* value, or 0 when the entry failed and that is said.
 */
static u32 enter_at_oentry(struct thread *t, const struct request *r) {
  if (t->cssa >= t->nssa) return entry_protection_fault(t), 0;
  u8 *at = frame(t, t->cssa);
  if (enclave.xsave_pages && frame_missing(t, t->cssa)) return entry_page_fault(t), 0;
  if (guarded_store_pair((u64 *)(gprsgx(at) + GPRSGX_URSP), r->rsp, r->rbp)) return entry_page_fault(t), 0;
  if (!canonical(t->entry) || !canonical(t->tcs_fs_base) || !canonical(t->tcs_gs_base))
    return entry_protection_fault(t), 0;
  t->step = 0;
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
  if (vm_mode()) {
    t->rcx = r->rcx;
    t->r10 = r->r10;
    t->r11 = r->r11;
    t->r12 = r->r12;
    t->r13 = r->r13;
    t->r14 = r->r14;
    t->r15 = r->r15;
    t->rflags = RFLAGS_AT_ENTRY;
    /* IRETQ, which takes registers and flags from the thread block, refuses what JMP takes: that is checked above. */
    if (!r->step || !opted_in(t)) return resume_enclave(t, 0);
  }
  if (!r->step || !opted_in(t)) return enter_enclave(t);
  /* The single step ends with the entry itself. */
  t->r10 = t->r11 = t->r12 = t->r13 = t->r14 = t->r15 = 0;
  t->rflags = 0;
  exception_set(t, 1, 0, 0);
  return BACK_FAULT;
}

static void eenter(struct thread *t, const struct request *r) {
  u32 why;
  do {
    if (!admit(t)) return not_admitted(t, t->cssa);
    if (flags_contradict(t)) return entry_protection_fault(t);
    COUNT_ONE(t, eenter);
    why = enter_at_oentry(t, r);
    if (why == 0 || why == BACK_RETRY) WRITE(tcs(t)->eenter, tcs(t)->eenter - 1);
    if (why == 0) return;
  } while (why == BACK_RETRY);
  until_exit(t, why);
}

static u32 resume_frame(struct thread *t, const struct request *r) {
  u64 step = r->step && opted_in(t) ? RFLAGS_TF : 0;
  u8 notify = 0;
  if (frame_missing(t, t->cssa - 1)) return entry_page_fault(t), 0;
  if ((t->tcs_flags & TCS_FLAG_AEXNOTIFY) &&
      guarded_load(gprsgx(frame(t, t->cssa - 1)) + GPRSGX_AEXNOTIFY, &notify))
    return entry_page_fault(t), 0;
  if (notify & 1) return enter_at_oentry(t, r);
  s32 vector = eresume_load(t);
  if (vector == 14) return entry_page_fault(t), 0;
  if (vector) return entry_protection_fault(t), 0;
  t->rflags |= step;
  t->step = 0;
  WRITE(tcs(t)->cssa, --t->cssa);
  u32 why = resume_enclave(t, (const void *)(u64)(MEMORY_XSAVE + t->index * MEMORY_XSAVE_STRIDE));
  if (why == BACK_RETRY || why == BACK_RESUME_FAULT) WRITE(tcs(t)->cssa, ++t->cssa);
  if (why != BACK_RESUME_FAULT) return why;
  return entry_protection_fault(t), 0;
}

static void eresume(struct thread *t, const struct request *r) {
  u32 why;
  do {
    if (!admit(t)) return not_admitted(t, t->cssa ? t->cssa - 1 : 0);
    if (flags_contradict(t) || t->cssa == 0) return entry_protection_fault(t);
    /* A frame that the monitor does not vouch for may be gone at the next exit. */
    if (t->cssa > t->nssa) return entry_failed(t, 14, 0, t->ssa + (u64)(t->cssa - 1) * enclave.ssa_frame_bytes);
    COUNT_ONE(t, eresume);
    why = resume_frame(t, r);
    if (why == 0 || why == BACK_RETRY) WRITE(tcs(t)->eresume, tcs(t)->eresume - 1);
    if (why == 0) return;
  } while (why == BACK_RETRY);
  until_exit(t, why);
}

void enter(struct thread *t, const struct request *r) {
  if (r->function == GATE_FUNCTION_EENTER) eenter(t, r);
  else if (r->function == GATE_FUNCTION_ERESUME) eresume(t, r);
  else unsupported(t);
}
