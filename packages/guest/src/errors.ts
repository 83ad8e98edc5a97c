/** Error codes of the guest package, each with its meaning in one line. */
import { NsgxError } from '@nestedsgx/arch';

/** Every code that functions of this package throw as the `code` of an `NsgxError`. */
export const GUEST_ERRORS = Object.freeze({
  GUEST_PROTOCOL: 'the confidential VM answered with a message that does not follow the control protocol',
  GUEST_RAM_RANGE_TAKEN: 'the address range of guest RAM is already used in this process',
  GUEST_REFUSED: 'the confidential VM refused a request on its control socket',
  GUEST_TIMEOUT: 'the confidential VM did not answer in time',
  GUEST_CLOSED: 'the connection to the confidential VM has been closed',
  GUEST_MEMORY_EXHAUSTED: "the connection's slice of guest RAM has no free block of the wanted size",
  GUEST_MEMORY_BAD_FREE: 'a block was freed twice, or was never allocated',
  GUEST_MEMORY_BAD_SIZE: 'a block of guest RAM was asked for with an impossible size or alignment',
  VCPU_BUSY: 'a call was made on a virtual CPU that is still inside another call',
  CVM_LOST: 'the confidential VM has ended or no longer serves its doorbell',
  HOST_DESCRIPTORS_REFUSED: 'the confidential VM lets no enclave use descriptors of its host',
  SVSM_REFUSED: 'the monitor refused an SVSM call',
  EPC_EXHAUSTED: 'the enclave page cache has no free frame left for this connection',
  EPC_PAGE_DAMAGED: 'an evicted page came back changed, replaced or rolled back; its enclave was stopped',
  ELRANGE_EXHAUSTED: 'no free linear address range of the wanted size is left below 47 bits',
  SGX_IOCTL: 'an operation of the SGX driver failed with an errno as Linux reports it',
  ENCLAVE_LOST: 'the enclave, its runner or its confidential VM has ended; its state is gone',
  ENCLAVE_BAD_ENTRY: 'the processor refused to enter the enclave',
} as const);

export type GuestErrorCode = keyof typeof GUEST_ERRORS;

/** Makes an error of this package; `advice` says what to do about it. */
export function guestError(
  code: GuestErrorCode,
  message: string,
  advice?: string,
  cause?: unknown,
): NsgxError {
  return new NsgxError(code, message, { advice, cause });
}

/** The errno values that `/dev/sgx_enclave` reports, with their numbers on x86-64 Linux. */
export const ERRNO = Object.freeze({
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EINVAL: 22,
  ENODEV: 19,
} as const);

export type ErrnoName = keyof typeof ERRNO;

/**
 * What an ioctl of `/dev/sgx_enclave` would report: `errno` (name), `errnoNumber`, and where an ENCLS leaf was the
 * reason its result in `sgxCode` (SDM error code) or `fault` (vector of the exception the leaf raised).
 */
export class SgxIoctlError extends NsgxError {
  readonly errno: ErrnoName;
  readonly errnoNumber: number;
  readonly sgxCode?: number;
  readonly fault?: { vector: number; errorCode: number; address: number; check: number };
  /** Bytes that `addPages` had added before it failed. */
  count = 0;

  constructor(
    errno: ErrnoName,
    message: string,
    detail: { advice?: string; sgxCode?: number; fault?: SgxIoctlError['fault']; cause?: unknown } = {},
  ) {
    super('SGX_IOCTL', `${message} (${errno})`, { advice: detail.advice, cause: detail.cause });
    this.errno = errno;
    this.errnoNumber = ERRNO[errno];
    this.sgxCode = detail.sgxCode;
    this.fault = detail.fault;
  }
}
