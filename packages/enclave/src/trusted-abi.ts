/**
 * What the trusted runtime and its host agree on (native/runtime/thread.h, runtime.h and native/include/nsgx.h), for
 * the host's side. A test holds both against each other.
 *
 * EENTER takes RDI = ECALL index (0 and up) or a command, RSI = pointer to the marshalling structure. EEXIT gives
 * RDI = {@link EXIT_RETURN} and RSI = status, or RDI = OCALL index and RSI = pointer to the OCALL's structure. The
 * host answers an OCALL by writing its structure and entering with ORET (RSI is not looked at).
 */

/** Commands in RDI of EENTER. */
export const COMMAND = Object.freeze({
  /** RSI: null or {u64 version = 1; u64 missing CPU features}. Optional: the first entry of any kind initialises. */
  INIT: -1,
  ORET: -2,
  /** Only at CSSA 1. Status 0: ERESUME and the enclave handles it. */
  EXCEPT: -3,
  /** Ends the enclave: every later entry returns CRASHED. */
  UNINIT: -5,
  /** Fetches a kept response; RSI as for an ECALL, the request is not looked at. */
  FETCH: -100,
  /** RSI as for an ECALL; request TARGETINFO (512) and REPORTDATA (64), response REPORT (432). */
  REPORT: -110,
  /** As an ECALL without request: prepares one more thread. Response: u64 offset of the page to become a TCS, OSSA, NSSA. */
  ADD_THREAD: -120,
  /** As an ECALL: accepts that page as a TCS. */
  ACCEPT_THREAD: -121,
  /** As an ECALL: takes free pages off the end of the heap. Response: u64 offset, u64 bytes (0: none). */
  TRIM_HEAP: -122,
  /** As an ECALL: accepts that these pages, now PT_TRIM, will be removed. */
  ACCEPT_TRIM: -123,
});

/** RDI of EEXIT that ends a call. */
export const EXIT_RETURN = -1;

/** Status of a call: RSI of the returning EEXIT and `status` of the marshalling structure. */
export const STATUS = Object.freeze({
  OK: 0,
  INVALID_REQUEST: 1,
  RESPONSE_TOO_LARGE: 2,
  INVALID_POINTER: 3,
  UNKNOWN_CALL: 4,
  OUT_OF_MEMORY: 5,
  CRASHED: 6,
  NOTHING_KEPT: 7,
  TOO_DEEP: 8,
  OCALL_FAILED: 9,
  BAD_COMMAND: 10,
  FORBIDDEN: 11,
  BUSY: 12,
  NO_EXCEPTION: 13,
  BAD_SEAL: 14,
  KEY_REFUSED: 15,
  INVALID_ARGUMENT: 16,
  /** plus the 16-bit code that the enclave's own code gave to nsgx_fail. */
  FAILED: 0x10000,
});

/** Name of a status, such as `RESPONSE_TOO_LARGE`, `FAILED(3)` or `UNKNOWN(99)`. */
export function statusName(status: number): string {
  if (status >= STATUS.FAILED && status <= STATUS.FAILED + 0xffff) return `FAILED(${status - STATUS.FAILED})`;
  const found = Object.entries(STATUS).find(([, value]) => value === status);
  return found === undefined ? `UNKNOWN(${status})` : found[0];
}

/** Byte offsets in the marshalling structure of an ECALL (64 bytes, all fields u64). */
export const ECALL_MS = Object.freeze({
  REQUEST: 0,
  REQUEST_LENGTH: 8,
  RESPONSE: 16,
  RESPONSE_CAPACITY: 24,
  RESPONSE_LENGTH: 32,
  STATUS: 40,
  OCALL_BUFFER: 48,
  OCALL_CAPACITY: 56,
  SIZE: 64,
});

/**
 * Byte offsets in the marshalling structure of an OCALL (48 bytes, at the 8-byte aligned start of the OCALL buffer;
 * the request follows it, the rest of the buffer is offered for the response). The host may point RESPONSE at other
 * memory of its own when the answer needs more room.
 */
export const OCALL_MS = Object.freeze({
  REQUEST: 0,
  REQUEST_LENGTH: 8,
  RESPONSE: 16,
  RESPONSE_CAPACITY: 24,
  RESPONSE_LENGTH: 32,
  STATUS: 40,
  SIZE: 48,
});

/** Bits of `missing` in the structure of INIT: what the CPU lacks. A lie costs speed or the call, never a secret. */
export const MISSING = Object.freeze({ XGETBV1: 1, AESNI: 2, PCLMULQDQ: 4 });
