/** Statuses of Intel's SDK (sgx_status_t) as errors, and failures of this platform as such statuses. */
import { NsgxError, SGX_ERROR } from '@nestedsgx/arch';
import { SGX_STATUS_TABLE, type SgxStatusName } from './sgx-status-table.js';

/** Numbers of all statuses by name. Source: sgx_error.h. */
export const SGX_STATUS = Object.freeze(
  Object.fromEntries(Object.entries(SGX_STATUS_TABLE).map(([name, [number]]) => [name, number])),
) as Readonly<Record<SgxStatusName, number>>;

/** What is known of a status. */
export interface SgxStatus {
  readonly status: number;
  readonly name: SgxStatusName | 'UNKNOWN';
  readonly meaning: string;
  readonly advice: string;
}

const byNumber = new Map<number, SgxStatus>();
for (const [name, [status, meaning, advice]] of Object.entries(SGX_STATUS_TABLE))
  byNumber.set(status, Object.freeze({ status, name: name as SgxStatusName, meaning, advice }));

/** What a status means. Numbers that sgx_error.h does not have are `UNKNOWN`: enclave code made them up. */
export function sgxStatus(status: number): SgxStatus {
  return (
    byNumber.get(status) ?? {
      status,
      name: 'UNKNOWN',
      meaning: 'the SDK has no status of this number',
      advice: 'look in the code of the enclave for who returns it',
    }
  );
}

/** A call of the SDK's runtime that ended with a status other than SGX_SUCCESS. */
export class SgxStatusError extends NsgxError {
  readonly status: number;
  readonly statusName: SgxStatusName | 'UNKNOWN';

  /** @param what what failed, for example `loading Enclave.signed.so` */
  constructor(status: number, what: string, options: { cause?: unknown; advice?: string } = {}) {
    const { name, meaning, advice } = sgxStatus(status);
    const label = name === 'UNKNOWN' ? '' : `${name}, `;
    super('SGX_STATUS', `${what} failed with ${label}0x${(status >>> 0).toString(16)}: ${meaning}`, {
      advice: options.advice ?? advice,
      cause: options.cause,
    });
    this.status = status;
    this.statusName = name;
  }
}

const S = SGX_STATUS;

/** What EINIT and other leaves returned. Codes that are not here mean a defect, as in Intel's loader. */
const OF_LEAF: Readonly<Record<number, number>> = {
  [SGX_ERROR.SGX_INVALID_SIG_STRUCT]: S.SGX_ERROR_INVALID_SIGNATURE,
  [SGX_ERROR.SGX_INVALID_SIGNATURE]: S.SGX_ERROR_INVALID_SIGNATURE,
  [SGX_ERROR.SGX_INVALID_MEASUREMENT]: S.SGX_ERROR_INVALID_SIGNATURE,
  [SGX_ERROR.SGX_INVALID_ATTRIBUTE]: S.SGX_ERROR_INVALID_ATTRIBUTE,
  [SGX_ERROR.SGX_INVALID_EINITTOKEN]: S.SGX_ERROR_INVALID_LAUNCH_TOKEN,
  [SGX_ERROR.SGX_INVALID_CPUSVN]: S.SGX_ERROR_INVALID_CPUSVN,
  [SGX_ERROR.SGX_INVALID_ISVSVN]: S.SGX_ERROR_INVALID_ISVSVN,
  [SGX_ERROR.SGX_UNMASKED_EVENT]: S.SGX_ERROR_DEVICE_BUSY,
};

/** What the driver's ioctls report where no leaf returned a code. */
const OF_ERRNO: Readonly<Record<string, number>> = {
  ENOMEM: S.SGX_ERROR_OUT_OF_EPC,
  EINVAL: S.SGX_ERROR_INVALID_PARAMETER,
  EACCES: S.SGX_ERROR_SERVICE_INVALID_PRIVILEGE,
  ENODEV: S.SGX_ERROR_FEATURE_NOT_SUPPORTED,
};

/** Errors of this project by code. */
const OF_CODE: Readonly<Record<string, number>> = {
  ENCLAVE_LOST: S.SGX_ERROR_ENCLAVE_LOST,
  CVM_LOST: S.SGX_ERROR_ENCLAVE_LOST,
  CVM_CLOSED: S.SGX_ERROR_ENCLAVE_LOST,
  GUEST_CLOSED: S.SGX_ERROR_ENCLAVE_LOST,
  EPC_PAGE_DAMAGED: S.SGX_ERROR_ENCLAVE_LOST,
  ENCLAVE_CRASHED: S.SGX_ERROR_ENCLAVE_CRASHED,
  ENCLAVE_FAULT: S.SGX_ERROR_ENCLAVE_CRASHED,
  ENCLAVE_CLOSED: S.SGX_ERROR_INVALID_ENCLAVE_ID,
  EPC_EXHAUSTED: S.SGX_ERROR_OUT_OF_EPC,
  GUEST_MEMORY_EXHAUSTED: S.SGX_ERROR_OUT_OF_MEMORY,
  ELRANGE_EXHAUSTED: S.SGX_ERROR_MEMORY_MAP_FAILURE,
  TCS_EXHAUSTED: S.SGX_ERROR_OUT_OF_TCS,
  ECALL_UNKNOWN: S.SGX_ERROR_INVALID_FUNCTION,
  OCALL_UNKNOWN: S.SGX_ERROR_INVALID_FUNCTION,
  ENCLAVE_NOT_DEBUGGABLE: S.SGX_ERROR_NDEBUG_ENCLAVE,
  ENCLAVE_INIT_FAILED: S.SGX_ERROR_UNEXPECTED,
  LAUNCH_SIGNER_REFUSED: S.SGX_ERROR_INVALID_LAUNCH_TOKEN,
  PLATFORM_UNSUPPORTED: S.SGX_ERROR_NO_DEVICE,
  IMAGE_UNSUPPORTED: S.SGX_ERROR_INVALID_ATTRIBUTE,
  IMAGE_SIMULATION: S.SGX_ERROR_MODE_INCOMPATIBLE,
  IMAGE_NO_ENCLU: S.SGX_ERROR_INVALID_ENCLAVE,
  IMAGE_UNSIGNED: S.SGX_ERROR_INVALID_METADATA,
  IMAGE_METADATA: S.SGX_ERROR_INVALID_METADATA,
  IMAGE_METADATA_VERSION: S.SGX_ERROR_INVALID_METADATA,
  IMAGE_METADATA_LAYOUT: S.SGX_ERROR_INVALID_METADATA,
  IMAGE_METADATA_PATCH: S.SGX_ERROR_INVALID_METADATA,
  IMAGE_ELF: S.SGX_ERROR_INVALID_ENCLAVE,
  IMAGE_TRUNCATED: S.SGX_ERROR_INVALID_ENCLAVE,
  IMAGE_TOO_LARGE: S.SGX_ERROR_INVALID_ENCLAVE,
  IMAGE_FILE: S.SGX_ERROR_ENCLAVE_FILE_ACCESS,
  IMAGE_FILES_MISSING: S.SGX_ERROR_ENCLAVE_FILE_ACCESS,
};

/** Longest chain of causes that is followed. */
const MAX_CAUSES = 8;

/**
 * The status that sgx_create_enclave (or an ECALL) would have given for an error, looking at its causes as well;
 * undefined for errors that are none of this project's. Source of the mapping: what Intel's loader makes of the results
 * of EINIT and of the driver; an enclave whose pages differ from its signature counts as a wrong signature there.
 */
export function statusOfLoadError(error: unknown): number | undefined {
  let at: unknown = error;
  for (let i = 0; i < MAX_CAUSES && typeof at === 'object' && at !== null; i++) {
    const status = statusOf(at);
    if (status !== undefined) return status;
    at = (at as { cause?: unknown }).cause;
  }
  return undefined;
}

function statusOf(error: object): number | undefined {
  if (error instanceof SgxStatusError) return error.status;
  const { code, sgxCode, errno, message } = error as Record<string, unknown>;
  // A check made in place of the leaf names its status itself.
  const named = code === 'IMAGE_UNSUPPORTED' && /\((SGX_[A-Z_]+)\)$/.exec(String(message))?.[1];
  if (named && Object.hasOwn(S, named)) return S[named as SgxStatusName];
  if (code === 'SGX_IOCTL') {
    if (typeof sgxCode === 'number') return OF_LEAF[sgxCode] ?? S.SGX_ERROR_UNEXPECTED;
    return OF_ERRNO[String(errno)] ?? S.SGX_ERROR_UNEXPECTED;
  }
  return typeof code === 'string' && Object.hasOwn(OF_CODE, code) ? OF_CODE[code] : undefined;
}
