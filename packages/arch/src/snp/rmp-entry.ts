/**
 * Reverse Map Table entry. Source: AMD APM Vol. 2, "Reverse Map Table", "RMP Entry Format" (the assigned,
 * page-size, immutable, guest-physical-address, ASID, VMSA and validated fields); bit positions as in
 * family 19h. The manual leaves the place of the VMPL permissions open; here byte n of the high quadword
 * holds those of VMPL n.
 */
import { array, u8, u64 } from '../codec/field.js';
import { at, type StructValue, struct } from '../codec/struct.js';

/** RMP_ENTRY (16 bytes): LOW holds the packed fields, VMPL_PERMISSIONS one byte each for VMPL0…3. */
export const RMP_ENTRY = struct('RMP_ENTRY', 16, { LOW: at(0, u64), VMPL_PERMISSIONS: at(8, array(u8, 4)) });
/** Decoded {@link RMP_ENTRY}. */
export type RmpEntryRaw = StructValue<typeof RMP_ENTRY>;

/** The fields of an RMP entry. GPA is a byte address (4 KiB aligned); PAGE_SIZE 0 = 4 KiB, 1 = 2 MiB. */
export interface RmpEntryFields {
  ASSIGNED: boolean;
  PAGE_SIZE: 0 | 1;
  IMMUTABLE: boolean;
  GPA: bigint;
  ASID: number;
  VMSA: boolean;
  VALIDATED: boolean;
}

const GPA_MASK = 0x0007_ffff_ffff_f000n;

/** Unpacks the low quadword of an RMP entry. */
export function unpackRmpEntry(low: bigint): RmpEntryFields {
  return {
    ASSIGNED: (low & 1n) !== 0n,
    PAGE_SIZE: (low & 2n) !== 0n ? 1 : 0,
    IMMUTABLE: (low & 4n) !== 0n,
    GPA: low & GPA_MASK,
    ASID: Number((low >> 51n) & 0x3ffn),
    VMSA: (low >> 61n) % 2n === 1n,
    VALIDATED: (low >> 62n) % 2n === 1n,
  };
}

/** Packs the low quadword of an RMP entry; bits outside a field's width are dropped. */
export function packRmpEntry(f: RmpEntryFields): bigint {
  return (
    (f.ASSIGNED ? 1n : 0n) |
    (f.PAGE_SIZE === 1 ? 2n : 0n) |
    (f.IMMUTABLE ? 4n : 0n) |
    (f.GPA & GPA_MASK) |
    ((BigInt(f.ASID) & 0x3ffn) << 51n) |
    (f.VMSA ? 1n << 61n : 0n) |
    (f.VALIDATED ? 1n << 62n : 0n)
  );
}

/** VMPL permission bits of an RMP entry. APM Vol. 2, "VMPL Permission Mask". */
export const VMPL_PERMISSION = Object.freeze({
  READ: 1,
  WRITE: 2,
  EXECUTE_USER: 4,
  EXECUTE_SUPERVISOR: 8,
} as const);
