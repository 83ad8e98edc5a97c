/** Codes that leaf functions return in RAX. Source: Intel SDM Vol. 3D, "Error or Information Codes for Intel SGX Instructions". */

/** Name → number. SGX_LOCKFAIL is the older name of SGX_EPC_PAGE_CONFLICT. */
export const SGX_ERROR = Object.freeze({
  SGX_SUCCESS: 0,
  SGX_INVALID_SIG_STRUCT: 1,
  SGX_INVALID_ATTRIBUTE: 2,
  SGX_BLKSTATE: 3,
  SGX_INVALID_MEASUREMENT: 4,
  SGX_NOTBLOCKABLE: 5,
  SGX_PG_INVLD: 6,
  SGX_EPC_PAGE_CONFLICT: 7,
  SGX_LOCKFAIL: 7,
  SGX_INVALID_SIGNATURE: 8,
  SGX_MAC_COMPARE_FAIL: 9,
  SGX_PAGE_NOT_BLOCKED: 10,
  SGX_NOT_TRACKED: 11,
  SGX_VA_SLOT_OCCUPIED: 12,
  SGX_CHILD_PRESENT: 13,
  SGX_ENCLAVE_ACT: 14,
  SGX_ENTRYEPOCH_LOCKED: 15,
  SGX_INVALID_EINITTOKEN: 16,
  SGX_PREV_TRK_INCMPL: 17,
  SGX_PG_IS_SECS: 18,
  SGX_PAGE_ATTRIBUTES_MISMATCH: 19,
  SGX_PAGE_NOT_MODIFIABLE: 20,
  SGX_PAGE_NOT_DEBUGGABLE: 21,
  SGX_INVALID_COUNTER: 25,
  SGX_PG_NONEPC: 26,
  SGX_TRACK_NOT_REQUIRED: 27,
  SGX_INSUFFICIENT_ENTROPY: 29,
  SGX_EPC_NOT_READY: 30,
  SGX_NO_UPDATE: 31,
  SGX_INVALID_CPUSVN: 32,
  SGX_INVALID_ISVSVN: 64,
  SGX_UNMASKED_EVENT: 128,
  SGX_INVALID_KEYNAME: 256,
} as const);

const names = new Map<number, string>();
for (const [name, n] of Object.entries(SGX_ERROR)) if (!names.has(n)) names.set(n, name);

/** The manual's name of a leaf's return code, or `SGX_ERROR_<n>` for a number it does not list. */
export function sgxErrorName(n: number): string {
  return names.get(n) ?? `SGX_ERROR_${n}`;
}
