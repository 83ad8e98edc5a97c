/** Error codes of the sdk package, each with its meaning in one line. */
import { NsgxError } from '@nestedsgx/arch';
import type { EdlErrorCode } from '@nestedsgx/edl';

/** Every code that functions of this package throw as the `code` of an `NsgxError`. */
export const SDK_ERRORS = Object.freeze({
  INSTALLATION_INCOMPLETE: 'a built part of the installation is missing',
  PLATFORM_UNSUPPORTED: 'this operating system or processor cannot run enclaves',
  CVM_LAUNCH_FAILED: 'the confidential VM did not start',
  CVM_CLOSED: 'the Cvm object has been closed',
  CVM_REPLY_INVALID: 'the confidential VM answered in a form that this version does not know',
  LAUNCH_OPTION_INVALID: 'an option of Cvm.launch or Cvm.load has a wrong type or value',
  IMAGE_FILES_MISSING: 'an enclave image or a file beside it cannot be read',
  IMAGE_DESCRIPTION_INVALID: 'the description beside an enclave image is not JSON',
  REPORT_DATA_TOO_LONG: 'report data are longer than the 64 bytes that a report carries',
  IMAGE_UNSIGNED: 'the enclave image has no signature',
  ENCLAVE_NOT_DEBUGGABLE: 'the signature of the enclave does not allow loading it for debugging',
  EDL_FILE: 'an EDL file cannot be read',
  LAUNCH_SIGNER_REFUSED: 'the launch policy of the confidential VM does not accept the signer of the enclave',
  IMAGE_UNSUPPORTED: 'the enclave image needs something this platform does not offer',
  IMAGE_SIMULATION: "an enclave of Intel's SDK was built for simulation mode",
  IMAGE_NO_ENCLU: 'the code of an enclave has no instruction to leave it by',
  ECALL_UNKNOWN: 'the enclave has no ECALL of this name or number',
  OCALL_UNKNOWN: 'the enclave asked for an OCALL that its host does not offer',
  OCALL_PROMISE_IN_SYNC_ECALL: 'an OCALL handler returned a promise during a synchronous ECALL',
  OCALL_STACK_OVERFLOW: 'OCALLs need more untrusted stack than their thread has',
  OCALL_FAILED: 'an OCALL handler threw an error',
  ENCLAVE_CLOSED: 'the enclave has been closed',
  ENCLAVE_CRASHED: 'the enclave had an unhandled exception earlier and takes no more calls',
  ENCLAVE_FAULT: 'enclave code raised an exception that it did not handle',
  ENCLAVE_LOST: 'the enclave, its runner or its confidential VM has ended; its state is gone',
  ENCLAVE_INIT_FAILED: "the enclave's runtime did not initialise",
  ENCLAVE_STATUS: "the enclave's runtime refused a call",
  ENCLAVE_BAD_ENTRY: 'the processor refused to enter the enclave',
  TCS_EXHAUSTED: 'all threads (TCS) of the enclave are inside it',
  SWITCHLESS_UNAVAILABLE: 'the enclave cannot make switchless calls, or has too few threads for them',
  HOST_DESCRIPTORS_OFF: 'the enclave was not loaded with hostDescriptors',
  HOST_DESCRIPTORS_FULL: 'the enclave does not take the descriptors that it is granted',
  ECALL_DEPTH: 'ECALLs and OCALLs are nested too deeply',
  SGX_STATUS: "a call of Intel's SDK ended with a status other than SGX_SUCCESS",
  ENCLAVE_FILES_FOLDER: 'the folder given for protected files of an enclave cannot be used',
  ENCLAVE_FILES_REFUSED: 'the enclave asked for a protected file, and its host gave it no folder',
} as const);

export type SdkErrorCode = keyof typeof SDK_ERRORS;

/** Makes an error of this package; `advice` says what to do about it. */
export function sdkError(
  code: SdkErrorCode | EdlErrorCode,
  message: string,
  advice?: string,
  cause?: unknown,
): NsgxError {
  return new NsgxError(code, message, { advice, cause });
}

const VECTOR_NAMES: Readonly<Record<number, string>> = {
  0: '#DE',
  1: '#DB',
  3: '#BP',
  4: '#OF',
  5: '#BR',
  6: '#UD',
  7: '#NM',
  11: '#NP',
  12: '#SS',
  13: '#GP',
  14: '#PF',
  16: '#MF',
  17: '#AC',
  19: '#XM',
  21: '#CP',
};

/** An exception that enclave code raised and did not handle. `address` is meaningful for #PF only. */
export class EnclaveFault extends NsgxError {
  readonly vector: number;
  /** For example `#PF`. */
  readonly vectorName: string;
  readonly errorCode: number;
  readonly address: number;

  constructor(vector: number, errorCode: number, address: number) {
    const name = VECTOR_NAMES[vector] ?? `vector ${vector}`;
    const where = vector === 14 ? ` at 0x${address.toString(16)}` : '';
    super('ENCLAVE_FAULT', `enclave code raised ${name} (error code 0x${errorCode.toString(16)})${where}`, {
      advice: 'debug the enclave, or register an exception handler in it; load it again to go on',
    });
    this.vector = vector;
    this.vectorName = name;
    this.errorCode = errorCode;
    this.address = address;
  }
}

/** The enclave is gone; what it sealed can be unsealed by a new one. */
export function enclaveLost(why: string, cause?: unknown): NsgxError {
  return sdkError(
    'ENCLAVE_LOST',
    `the enclave is lost: ${why}`,
    'load it again; sealed data can be opened there',
    cause,
  );
}
