import { NsgxError } from '@nestedsgx/arch';

/** Every code a {@link VerifierError} can carry, with its one-line meaning. */
export const VERIFIER_ERRORS = Object.freeze({
  FETCH_OPTIONS: 'An option of the fetcher (address, time, product) cannot be used.',
  FETCH_FAILED: 'A service could not be reached, or kept answering with an error.',
  FETCH_REFUSED:
    'A service answered with something that is not followed or read: a redirect, too much, no collateral.',
  COLLATERAL_CACHE: 'The collateral directory cannot be read or written.',
} as const);

/** A stable code of this package. */
export type VerifierErrorCode = keyof typeof VERIFIER_ERRORS;

/** An error of the fetcher. */
export class VerifierError extends NsgxError {
  constructor(code: VerifierErrorCode, message: string, options?: { cause?: unknown; advice?: string }) {
    super(code, message, options);
    this.name = 'VerifierError';
  }
}
