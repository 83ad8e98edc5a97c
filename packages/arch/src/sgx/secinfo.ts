/** SECINFO and page types. Source: Intel SDM Vol. 3D, "Security Information (SECINFO)". */
import { u64 } from '../codec/field.js';
import { at, type StructValue, struct } from '../codec/struct.js';

/** SECINFO (64 bytes, 64-byte aligned): FLAGS, the rest reserved. */
export const SECINFO = struct('SECINFO', 64, { FLAGS: at(0, u64) });
/** Decoded {@link SECINFO}. */
export type Secinfo = StructValue<typeof SECINFO>;

/** SECINFO.FLAGS.R: readable inside the enclave. */
export const SECINFO_R = 1 << 0;
/** SECINFO.FLAGS.W: writable inside the enclave. */
export const SECINFO_W = 1 << 1;
/** SECINFO.FLAGS.X: executable inside the enclave. */
export const SECINFO_X = 1 << 2;
/** SECINFO.FLAGS.PENDING. */
export const SECINFO_PENDING = 1 << 3;
/** SECINFO.FLAGS.MODIFIED. */
export const SECINFO_MODIFIED = 1 << 4;
/** SECINFO.FLAGS.PR: a permission restriction is under way. */
export const SECINFO_PR = 1 << 5;
/** SECINFO.FLAGS.PAGE_TYPE is bits 15:8: `(flags >> SECINFO_PAGE_TYPE_SHIFT) & 0xff`. */
export const SECINFO_PAGE_TYPE_SHIFT = 8;

/** Page type of a SECS. SDM Vol. 3D, "PAGE_TYPE Field". */
export const PT_SECS = 0;
/** Page type of a TCS. */
export const PT_TCS = 1;
/** Page type of a regular page. */
export const PT_REG = 2;
/** Page type of a version array. */
export const PT_VA = 3;
/** Page type of a trimmed page. */
export const PT_TRIM = 4;

/** A 64-byte SECINFO with these FLAGS (permissions | type << 8). */
export function secinfoBytes(flags: number): Uint8Array {
  return SECINFO.encode({ FLAGS: BigInt(flags) });
}
