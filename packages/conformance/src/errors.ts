/** Error codes of this package, each with its meaning in one line. */
import { NsgxError } from '@nestedsgx/arch';

/** Every code that functions of this package throw as the `code` of an `NsgxError`. */
export const CONFORMANCE_ERRORS = Object.freeze({
  CONFORMANCE_PLATFORM: 'the platform that the suite was to test is not there or lacks something it needs',
} as const);

/** Makes an error of this package. */
export function platformMissing(message: string, advice: string, cause?: unknown): NsgxError {
  return new NsgxError('CONFORMANCE_PLATFORM', message, { advice, cause });
}
