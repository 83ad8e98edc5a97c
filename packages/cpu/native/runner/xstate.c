/* Sizes and checks of XSAVE images in the standard format. */
#include "runner.h"

u64 xstate_xcr0;
u32 xstate_stack_bytes;
static u32 component_offset[64], component_bytes[64];

/* Everything in its initial state; MXCSR is loaded from the image whatever XSTATE_BV says. */
const u8 xstate_initial[576] __attribute__((aligned(64))) = { [24] = 0x80, [25] = 0x1f };

static void cpuid(u32 leaf, u32 sub, u32 *a, u32 *b, u32 *c, u32 *d) {
  __asm__ volatile("cpuid" : "=a"(*a), "=b"(*b), "=c"(*c), "=d"(*d) : "a"(leaf), "c"(sub));
}

void xstate_setup(void) {
  u32 low, high, a, b, c, d;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  xstate_xcr0 = (u64)high << 32 | low;
  for (u32 i = 2; i < 63; i++)
    if (xstate_xcr0 >> i & 1) {
      cpuid(0xd, i, &a, &b, &c, &d);
      component_bytes[i] = a;
      component_offset[i] = b;
    }
}

/* Bytes of an image with these components: legacy area, header, then each at its offset. */
u32 xstate_bytes(u64 xfrm) {
  u32 bytes = 576;
  for (u32 i = 2; i < 63; i++)
    if (xfrm >> i & 1 && component_offset[i] + component_bytes[i] > bytes)
      bytes = component_offset[i] + component_bytes[i];
  return bytes;
}

/*
 * ERESUME's checks of the XSAVE header: only components of XFRM, standard format (bytes 520 to 535 zero). What follows
 * is nobody's, and cleared.
 */
s32 xstate_acceptable(u8 *image) {
  u64 *header = (u64 *)(image + 512);
  if ((header[0] & ~enclave.xfrm) || header[1] || header[2]) return 0;
  for (u32 i = 3; i < 8; i++) header[i] = 0;
  return 1;
}
