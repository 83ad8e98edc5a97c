import { NsgxError } from '@nestedsgx/arch';

/** Every code an {@link AttestError} can carry, with its one-line meaning. */
export const ATTEST_ERRORS = Object.freeze({
  EVIDENCE_MALFORMED: 'The bytes are no evidence of a known format, or break that format.',
  EVIDENCE_TOO_LARGE: 'The evidence is larger than 64 KiB.',
  POLICY_INVALID: 'The policy has an unknown or ill-typed field.',
  COLLATERAL_MALFORMED: 'A collateral file (certificate, CRL, TCB information, identity) cannot be read.',
  CERTIFICATE_MALFORMED: 'A certificate is not strict DER or lacks a field that it must have.',
  OPTIONS_INVALID: 'An option of the verification (time, report data) has the wrong type or size.',
} as const);

/** A stable code of this package. */
export type AttestErrorCode = keyof typeof ATTEST_ERRORS;

/** The only error class that this package throws: unusable input, policy, collateral or options. */
export class AttestError extends NsgxError {
  constructor(code: AttestErrorCode, message: string, options?: { cause?: unknown; advice?: string }) {
    super(code, message, options);
    this.name = 'AttestError';
  }
}
