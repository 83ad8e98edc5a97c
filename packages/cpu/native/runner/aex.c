/* The SSA frame: written by an asynchronous exit, read by ERESUME. */
#include "runner.h"

#define EXINFO_SIZE 16
#define PAGE 4096ul
#define RFLAGS_FIXED 0x202ul
/* CF PF AF ZF SF DF OF NT RF AC ID: what a frame carries. TF is saved as 0, and never taken from a frame. */
#define RFLAGS_CARRIED 0x254cd5ul

/* Touches the pages of a frame that an exit may write. 1 when one cannot be: guard_address and guard_error say why. */
s32 frame_missing(struct thread *t, u32 index) {
  u8 *at = frame(t, index), *gpr = gprsgx(at);
  for (u64 page = 0; page < enclave.xsave_pages; page++)
    if (guarded_touch(at + page * PAGE)) return 1;
  return guarded_touch(gpr);
}

/*
 * Saves the thread's registers (in its block) and the live extended state to SSA[CSSA], and moves to the next frame.
 * Returns 1 when the frame cannot be written: the enclave is then lost.
 */
s32 aex_save(struct thread *t) {
  static const u64 zero[8];
  u8 *at = frame(t, t->cssa), *gpr = gprsgx(at);
  if (guarded_copy(at + 512, zero, 64) || guarded_xsave(at, enclave.xfrm)) return 1;
  load_xstate(xstate_initial);
  t->rflags = (t->rflags & RFLAGS_CARRIED) | RFLAGS_FIXED;
  /* URSP and URBP keep what the entry stored, AEXNOTIFY what the enclave did. */
  if (guarded_copy(gpr, &t->rax, GPRSGX_URSP) || guarded_store_word((u32 *)(gpr + GPRSGX_EXITINFO), t->exit_info) ||
      guarded_store_pair((u64 *)(gpr + GPRSGX_FSBASE), t->fs_base, t->gs_base))
    return 1;
  if (t->has_exinfo && guarded_store_pair((u64 *)(gpr - EXINFO_SIZE), t->address, t->error_code)) return 1;
  t->cssa++;
  return 0;
}

/* Loads SSA[CSSA-1] into the thread block and its XSAVE area. Returns 0, or the vector with which ERESUME fails. */
s32 eresume_load(struct thread *t) {
  u8 *at = frame(t, t->cssa - 1), *image = (u8 *)(u64)(MEMORY_XSAVE + t->index * MEMORY_XSAVE_STRIDE);
  if (guarded_copy(&t->rax, gprsgx(at), GPRSGX_SIZE)) return 14;
  if (guarded_copy(image, at, enclave.xsave_bytes)) return 14;
  if (!canonical(t->rip) || !canonical(t->fs_base) || !canonical(t->gs_base)) return 13;
  if (!xstate_acceptable(image)) return 13;
  t->rflags = (t->rflags & RFLAGS_CARRIED) | RFLAGS_FIXED;
  return 0;
}
