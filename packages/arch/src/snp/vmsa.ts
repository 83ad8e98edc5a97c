/** Virtual machine save area. Source: AMD APM Vol. 2, Appendix B, "VMSA Layout, State Save Area for SEV-ES and SEV-SNP". */
import { bytes, u8, u16, u32, u64 } from '../codec/field.js';
import { at, type StructValue, struct } from '../codec/struct.js';

/** One segment register of a VMSA (16 bytes). */
export const VMSA_SEGMENT = struct('VMSA_SEGMENT', 16, {
  SELECTOR: at(0, u16),
  ATTRIB: at(2, u16),
  LIMIT: at(4, u32),
  BASE: at(8, u64),
});
/** Decoded {@link VMSA_SEGMENT}. */
export type VmsaSegment = StructValue<typeof VMSA_SEGMENT>;

/** VMSA (4096 bytes). */
export const VMSA = struct('VMSA', 4096, {
  ES: at(0x00, VMSA_SEGMENT),
  CS: at(0x10, VMSA_SEGMENT),
  SS: at(0x20, VMSA_SEGMENT),
  DS: at(0x30, VMSA_SEGMENT),
  FS: at(0x40, VMSA_SEGMENT),
  GS: at(0x50, VMSA_SEGMENT),
  GDTR: at(0x60, VMSA_SEGMENT),
  LDTR: at(0x70, VMSA_SEGMENT),
  IDTR: at(0x80, VMSA_SEGMENT),
  TR: at(0x90, VMSA_SEGMENT),
  PL0_SSP: at(0xa0, u64),
  PL1_SSP: at(0xa8, u64),
  PL2_SSP: at(0xb0, u64),
  PL3_SSP: at(0xb8, u64),
  U_CET: at(0xc0, u64),
  VMPL: at(0xca, u8),
  CPL: at(0xcb, u8),
  EFER: at(0xd0, u64),
  XSS: at(0x140, u64),
  CR4: at(0x148, u64),
  CR3: at(0x150, u64),
  CR0: at(0x158, u64),
  DR7: at(0x160, u64),
  DR6: at(0x168, u64),
  RFLAGS: at(0x170, u64),
  RIP: at(0x178, u64),
  DR0: at(0x180, u64),
  DR1: at(0x188, u64),
  DR2: at(0x190, u64),
  DR3: at(0x198, u64),
  DR0_ADDR_MASK: at(0x1a0, u64),
  DR1_ADDR_MASK: at(0x1a8, u64),
  DR2_ADDR_MASK: at(0x1b0, u64),
  DR3_ADDR_MASK: at(0x1b8, u64),
  RSP: at(0x1d8, u64),
  S_CET: at(0x1e0, u64),
  SSP: at(0x1e8, u64),
  ISST_ADDR: at(0x1f0, u64),
  RAX: at(0x1f8, u64),
  STAR: at(0x200, u64),
  LSTAR: at(0x208, u64),
  CSTAR: at(0x210, u64),
  SFMASK: at(0x218, u64),
  KERNEL_GS_BASE: at(0x220, u64),
  SYSENTER_CS: at(0x228, u64),
  SYSENTER_ESP: at(0x230, u64),
  SYSENTER_EIP: at(0x238, u64),
  CR2: at(0x240, u64),
  G_PAT: at(0x268, u64),
  DBGCTL: at(0x270, u64),
  BR_FROM: at(0x278, u64),
  BR_TO: at(0x280, u64),
  LAST_EXCP_FROM: at(0x288, u64),
  LAST_EXCP_TO: at(0x290, u64),
  PKRU: at(0x2e8, u32),
  TSC_AUX: at(0x2ec, u32),
  GUEST_TSC_SCALE: at(0x2f0, u64),
  GUEST_TSC_OFFSET: at(0x2f8, u64),
  RCX: at(0x308, u64),
  RDX: at(0x310, u64),
  RBX: at(0x318, u64),
  RBP: at(0x328, u64),
  RSI: at(0x330, u64),
  RDI: at(0x338, u64),
  R8: at(0x340, u64),
  R9: at(0x348, u64),
  R10: at(0x350, u64),
  R11: at(0x358, u64),
  R12: at(0x360, u64),
  R13: at(0x368, u64),
  R14: at(0x370, u64),
  R15: at(0x378, u64),
  GUEST_EXITINFO1: at(0x390, u64),
  GUEST_EXITINFO2: at(0x398, u64),
  GUEST_EXITINTINFO: at(0x3a0, u64),
  GUEST_NRIP: at(0x3a8, u64),
  SEV_FEATURES: at(0x3b0, u64),
  VINTR_CTRL: at(0x3b8, u64),
  GUEST_EXITCODE: at(0x3c0, u64),
  VIRTUAL_TOM: at(0x3c8, u64),
  TLB_ID: at(0x3d0, u64),
  PCPU_ID: at(0x3d8, u64),
  EVENTINJ: at(0x3e0, u64),
  XCR0: at(0x3e8, u64),
  X87_DP: at(0x400, u64),
  MXCSR: at(0x408, u32),
  X87_FTW: at(0x40c, u16),
  X87_FSW: at(0x40e, u16),
  X87_FCW: at(0x410, u16),
  X87_FOP: at(0x412, u16),
  X87_DS: at(0x414, u16),
  X87_CS: at(0x416, u16),
  X87_RIP: at(0x418, u64),
  FPREG_X87: at(0x420, bytes(80)),
  FPREG_XMM: at(0x470, bytes(256)),
  FPREG_YMM: at(0x570, bytes(256)),
});
/** Decoded {@link VMSA}. */
export type VmsaFields = StructValue<typeof VMSA>;

/** SEV_FEATURES.SNPActive. APM Vol. 2, Appendix B, "SEV_FEATURES". */
export const SEV_FEATURES_SNP_ACTIVE = 1n << 0n;
/** SEV_FEATURES.vTOM. */
export const SEV_FEATURES_VTOM = 1n << 1n;
/** SEV_FEATURES.ReflectVC. */
export const SEV_FEATURES_REFLECT_VC = 1n << 2n;
/** SEV_FEATURES.RestrictedInjection. */
export const SEV_FEATURES_RESTRICTED_INJECTION = 1n << 3n;
/** SEV_FEATURES.AlternateInjection. */
export const SEV_FEATURES_ALTERNATE_INJECTION = 1n << 4n;
/** SEV_FEATURES.DebugSwap. */
export const SEV_FEATURES_DEBUG_SWAP = 1n << 5n;
/** EFER.SVME, which a VMSA must have set. */
export const EFER_SVME = 1n << 12n;
