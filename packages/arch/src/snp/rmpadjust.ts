/**
 * Operands and result codes of RMPADJUST, PVALIDATE, RMPUPDATE and PSMASH.
 * Source: AMD APM Vol. 3, instruction references of the same names.
 */

/** RMPADJUST RDX: target VMPL in bits 7:0, permissions in 15:8, VMSA in bit 16. */
export const RMPADJUST = Object.freeze({
  TARGET_VMPL_MASK: 0xff,
  READ: 1 << 8,
  WRITE: 1 << 9,
  X_USER: 1 << 10,
  X_SUPER: 1 << 11,
  PERMISSIONS_SHIFT: 8,
  PERMISSIONS_MASK: 0xff00,
  VMSA: 1 << 16,
} as const);

/** EAX of RMPADJUST, PVALIDATE, RMPUPDATE and PSMASH. */
export const RMP_RESULT = Object.freeze({
  SUCCESS: 0,
  FAIL_INPUT: 1,
  FAIL_PERMISSION: 2,
  FAIL_INUSE: 3,
  FAIL_OVERLAP: 4,
  FAIL_SIZEMISMATCH: 6,
} as const);

/** Page-size operand of RMPADJUST and PVALIDATE. */
export const RMP_PG_SIZE = Object.freeze({ SIZE_4K: 0, SIZE_2M: 1 } as const);
