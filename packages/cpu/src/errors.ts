import { NsgxError } from '@nestedsgx/arch';

/** Every error code that package `cpu` throws, with its meaning in one line. */
export const CPU_ERRORS = Object.freeze({
  RUNNER_MISSING: 'The runner program was not built, or its file cannot be read.',
  RUNNER_REFUSED: 'The runner refused to start on this machine.',
  RUNNER_MISMATCH: 'The runner was built from other sources than the monitor.',
  RUNNER_TIMEOUT: 'The runner did not report in time.',
  RUNNER_FAILED: 'The runner could not set the enclave up.',
  PROCESSOR_ARGUMENT: 'An argument given to the processor is out of range or misaligned.',
  PROCESSOR_LIMIT: 'The enclave exceeds a limit of the processor (threads or mappings).',
  ENCLAVE_STOPPED: 'The enclave was stopped or lost before this operation.',
  MAPPING_UNSUPPORTED: 'The kernel refused a change of a running enclave’s mappings.',
  GATE_BUSY: 'The thread is inside the enclave already.',
  GATE_CLOSED: 'The gate was closed.',
});

/** Codes of {@link CpuError}. */
export type CpuErrorCode = keyof typeof CPU_ERRORS;

/** An error of this package; `code` is a row of {@link CPU_ERRORS}. */
export class CpuError extends NsgxError {
  constructor(code: CpuErrorCode, message: string, options: { cause?: unknown; advice?: string } = {}) {
    super(code, message, options);
  }
}
