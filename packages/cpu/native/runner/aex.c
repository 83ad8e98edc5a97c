/* The SSA frame: written by an asynchronous exit, read by ERESUME. */
#include "runner.h"

#define GPRSGX_SIZE 184
#define EXINFO_SIZE 16
#define RFLAGS_FIXED 0x202ul
/* CF PF AF ZF SF DF OF AC ID: what a frame carries. TF is left out: single steps belong to debuggers. */
#define RFLAGS_CARRIED 0x240cd5ul

static u8 *frame(struct thread *t, u32 index) { return (u8 *)(t->ssa + (u64)index * enclave.ssa_frame_bytes); }
static u8 *gprsgx(u8 *at) { return at + enclave.ssa_frame_bytes - GPRSGX_SIZE; }

/*
 * Saves the thread's registers (in its block) and the live extended state to SSA[CSSA], and moves to the next frame.
 * Returns 1 when the frame cannot be written: the enclave is then lost.
 */
s32 aex_save(struct thread *t) {
  static const u64 zero[8];
  u8 *at = frame(t, t->cssa), *gpr = gprsgx(at);
  if (guarded_copy(at + 512, zero, 64) || guarded_xsave(at, enclave.xfrm)) return 1;
  load_xstate(xstate_initial);
  t->exit_info_slot = t->exit_info;
  t->rflags = (t->rflags & RFLAGS_CARRIED) | RFLAGS_FIXED;
  /* URSP and URBP keep what EENTER stored. */
  if (guarded_copy(gpr, &t->rax, 144) || guarded_copy(gpr + 160, &t->exit_info_slot, 24)) return 1;
  if (enclave.miscselect & 1) {
    u64 exinfo[2] = { t->has_exinfo ? t->address : 0, t->has_exinfo ? t->error_code : 0 };
    if (guarded_copy(gpr - EXINFO_SIZE, exinfo, EXINFO_SIZE)) return 1;
  }
  t->cssa++;
  return 0;
}

/* Loads SSA[CSSA-1] into the thread block and its XSAVE area. Returns 0, or the vector with which ERESUME fails. */
s32 eresume_load(struct thread *t) {
  u8 *at = frame(t, t->cssa - 1), *image = (u8 *)(u64)(MEMORY_XSAVE + t->index * MEMORY_XSAVE_STRIDE);
  u64 ursp = t->ursp, urbp = t->urbp;
  if (guarded_copy(&t->rax, gprsgx(at), GPRSGX_SIZE)) return 14;
  if (guarded_copy(image, at, xstate_bytes(enclave.xfrm))) return 14;
  if (!canonical(t->rip) || !canonical(t->fs_base) || !canonical(t->gs_base)) return 13;
  if (!xstate_acceptable(image)) return 13;
  t->rflags = (t->rflags & RFLAGS_CARRIED) | RFLAGS_FIXED;
  if (guarded_store_pair((u64 *)(gprsgx(at) + 144), ursp, urbp)) return 14;
  return 0;
}
