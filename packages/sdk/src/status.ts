/** Statuses of the trusted runtime (nsgx_status in nsgx.h) as errors of the host. */
import { NsgxError } from '@nestedsgx/arch';

/** Names and meanings of the runtime's statuses. */
export const ENCLAVE_STATUS = Object.freeze({
  INVALID_REQUEST: [1, 'the request does not follow the ECALL’s types'],
  RESPONSE_TOO_LARGE: [2, 'the response does not fit the buffer'],
  INVALID_POINTER: [3, 'a pointer of the host does not lie wholly outside of the enclave'],
  UNKNOWN_CALL: [4, 'the enclave has no ECALL with this number'],
  OUT_OF_MEMORY: [5, 'the enclave’s heap is exhausted, or an OCALL does not fit its buffer'],
  CRASHED: [6, 'the enclave aborted and refuses all calls'],
  NOTHING_KEPT: [7, 'there is no kept response to fetch'],
  TOO_DEEP: [8, 'ECALLs are nested too deeply'],
  OCALL_FAILED: [9, 'an OCALL failed'],
  BAD_COMMAND: [10, 'the enclave does not know this command'],
  FORBIDDEN: [11, 'the enclave’s policy refuses this'],
  BUSY: [12, 'another thread is initialising the enclave'],
  NO_EXCEPTION: [13, 'there is no exception to handle'],
  BAD_SEAL: [14, 'sealed data was changed, or sealed by another identity'],
  KEY_REFUSED: [15, 'EGETKEY refused the key'],
  INVALID_ARGUMENT: [16, 'the enclave refuses an argument'],
} as const);

export type EnclaveStatusName = keyof typeof ENCLAVE_STATUS;

/** From here on a status is the enclave code's own: FAILED + n for `nsgx_fail(n)`. */
export const STATUS_FAILED = 0x1_0000;

/**
 * A call that the enclave's runtime or code ended with a status other than OK: `status` is the number, `statusName` the
 * runtime's name for it or `FAILED`, `failure` the number given to `nsgx_fail`.
 */
export class EnclaveStatusError extends NsgxError {
  readonly status: number;
  readonly statusName: EnclaveStatusName | 'FAILED' | 'UNKNOWN';
  readonly failure?: number;

  constructor(status: number, what: string, options: { cause?: unknown } = {}) {
    const known = Object.entries(ENCLAVE_STATUS).find(([, [number]]) => number === status);
    const failure =
      status >= STATUS_FAILED && status < 2 * STATUS_FAILED ? status - STATUS_FAILED : undefined;
    const why =
      known?.[1][1] ?? (failure === undefined ? 'unknown reason' : `its code failed with ${failure}`);
    super('ENCLAVE_STATUS', `${what} failed with status ${status}: ${why}`, {
      cause: options.cause,
      advice: ADVICE[status] ?? 'look at the enclave’s code for the reason',
    });
    this.status = status;
    this.statusName =
      (known?.[0] as EnclaveStatusName | undefined) ?? (failure === undefined ? 'UNKNOWN' : 'FAILED');
    if (failure !== undefined) this.failure = failure;
  }
}

const ADVICE: Readonly<Record<number, string>> = {
  1: 'the interface description may belong to another build of the enclave',
  4: 'the interface description may belong to another build of the enclave',
  5: 'build the enclave with more heapPages, or load it with a larger ocallBufferBytes',
  6: 'load the enclave again',
  14: 'data can be opened only by the identity (MRENCLAVE or MRSIGNER) and chip that sealed it',
};
