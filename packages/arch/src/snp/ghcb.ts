/** Guest-hypervisor communication block. Source: AMD 56421, "SEV-ES Guest-Hypervisor Communication Block Standardization", "GHCB Layout" and "Standard NAE events". */
import { bytes, u8, u16, u32, u64 } from '../codec/field.js';
import { at, type StructValue, struct } from '../codec/struct.js';

/** GHCB (4096 bytes). */
export const GHCB = struct('GHCB', 4096, {
  CPL: at(0xcb, u8),
  XSS: at(0x140, u64),
  DR7: at(0x160, u64),
  RIP: at(0x178, u64),
  RSP: at(0x1d8, u64),
  RAX: at(0x1f8, u64),
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
  SW_EXITCODE: at(0x390, u64),
  SW_EXITINFO1: at(0x398, u64),
  SW_EXITINFO2: at(0x3a0, u64),
  SW_SCRATCH: at(0x3a8, u64),
  XCR0: at(0x3e8, u64),
  VALID_BITMAP: at(0x3f0, bytes(16)),
  X87_STATE_GPA: at(0x400, u64),
  SHARED_BUFFER: at(0x800, bytes(0x7f0)),
  PROTOCOL_VERSION: at(0xffa, u16),
  GHCB_USAGE: at(0xffc, u32),
});
/** Decoded {@link GHCB}. */
export type GhcbFields = StructValue<typeof GHCB>;

/** Whether VALID_BITMAP (16 bytes) marks the quadword at GHCB offset `offset` (below 0x3f0) as valid. */
export function ghcbIsValid(bitmap: Uint8Array, offset: number): boolean {
  const bit = offset >>> 3;
  return ((bitmap[bit >>> 3] >>> (bit & 7)) & 1) === 1;
}

/** Marks the quadword at GHCB offset `offset` as valid in VALID_BITMAP (16 bytes). */
export function ghcbSetValid(bitmap: Uint8Array, offset: number): void {
  const bit = offset >>> 3;
  bitmap[bit >>> 3] |= 1 << (bit & 7);
}

/** SW_EXITCODE of the non-automatic exits. */
export const GHCB_EXIT = Object.freeze({
  RDTSC: 0x6e,
  CPUID: 0x72,
  IOIO: 0x7b,
  MSR: 0x7c,
  VMMCALL: 0x81,
  RDTSCP: 0x87,
  MMIO_READ: 0x8000_0001,
  MMIO_WRITE: 0x8000_0002,
  NMI_COMPLETE: 0x8000_0003,
  AP_HLT_LOOP: 0x8000_0004,
  AP_JUMP_TABLE: 0x8000_0005,
  PAGE_STATE_CHANGE: 0x8000_0010,
  GUEST_REQUEST: 0x8000_0011,
  EXTENDED_GUEST_REQUEST: 0x8000_0012,
  AP_CREATION: 0x8000_0013,
  HV_DOORBELL: 0x8000_0014,
  HV_IPI: 0x8000_0015,
  HV_TIMER: 0x8000_0016,
  GET_APIC_IDS: 0x8000_0017,
  SNP_RUN_VMPL: 0x8000_0018,
  HV_FEATURES: 0x8000_fffd,
  TERMINATE: 0x8000_fffe,
  UNSUPPORTED: 0x8000_ffff,
} as const);

/** GHCB MSR protocol requests and responses (MSR C001_0130 bits 11:0). */
export const GHCB_MSR = Object.freeze({
  SEV_INFO_RESPONSE: 0x001,
  SEV_INFO_REQUEST: 0x002,
  CPUID_REQUEST: 0x004,
  CPUID_RESPONSE: 0x005,
  AP_RESET_HOLD_REQUEST: 0x006,
  AP_RESET_HOLD_RESPONSE: 0x007,
  REGISTER_GHCB_REQUEST: 0x012,
  REGISTER_GHCB_RESPONSE: 0x013,
  PAGE_STATE_CHANGE_REQUEST: 0x014,
  PAGE_STATE_CHANGE_RESPONSE: 0x015,
  RUN_VMPL_REQUEST: 0x016,
  RUN_VMPL_RESPONSE: 0x017,
  HV_FEATURES_REQUEST: 0x080,
  HV_FEATURES_RESPONSE: 0x081,
  TERMINATE_REQUEST: 0x100,
} as const);
