/** The GPRSGX region at the end of an SSA frame. Source: Intel SDM Vol. 3D, "GPRSGX Region". */
import { u8, u32, u64 } from '../codec/field.js';
import { at, type StructValue, struct } from '../codec/struct.js';

/** GPRSGX (184 bytes); it ends at the end of the SSA frame. */
export const GPRSGX = struct('GPRSGX', 184, {
  RAX: at(0, u64),
  RCX: at(8, u64),
  RDX: at(16, u64),
  RBX: at(24, u64),
  RSP: at(32, u64),
  RBP: at(40, u64),
  RSI: at(48, u64),
  RDI: at(56, u64),
  R8: at(64, u64),
  R9: at(72, u64),
  R10: at(80, u64),
  R11: at(88, u64),
  R12: at(96, u64),
  R13: at(104, u64),
  R14: at(112, u64),
  R15: at(120, u64),
  RFLAGS: at(128, u64),
  RIP: at(136, u64),
  URSP: at(144, u64),
  URBP: at(152, u64),
  EXITINFO: at(160, u32),
  AEXNOTIFY: at(167, u8),
  FSBASE: at(168, u64),
  GSBASE: at(176, u64),
});
/** Decoded {@link GPRSGX}. */
export type Gprsgx = StructValue<typeof GPRSGX>;

/** EXITINFO.VALID: VECTOR and EXIT_TYPE are meaningful. SDM Vol. 3D, "EXITINFO". */
export const EXITINFO_VALID = 0x8000_0000;
/** EXITINFO.EXIT_TYPE of a hardware exception (bits 10:8). */
export const EXIT_TYPE_HARDWARE = 3;
/** EXITINFO.EXIT_TYPE of a software exception (#BP, #OF). */
export const EXIT_TYPE_SOFTWARE = 6;

/** EXITINFO for an exception vector the manual reports: VALID, type software for #BP and #OF, else hardware. */
export function exitInfo(vector: number): number {
  const type = vector === 3 || vector === 4 ? EXIT_TYPE_SOFTWARE : EXIT_TYPE_HARDWARE;
  return (EXITINFO_VALID | (type << 8) | (vector & 0xff)) >>> 0;
}
