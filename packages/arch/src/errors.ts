/**
 * The error base of all packages and the codes of this one.
 *
 * A message is one sentence of what failed, with the offending value; `advice` is one sentence of what to do.
 */

/** Options of {@link NsgxError}. */
export interface NsgxErrorOptions {
  /** The lower-level error behind this one. */
  readonly cause?: unknown;
  /** One sentence that says what the reader can do about it. */
  readonly advice?: string;
}

/**
 * Base of every error this project throws on purpose. `code` is stable, upper snake case, and listed with
 * its meaning in the error table of the package that throws it.
 */
export class NsgxError extends Error {
  /** Stable machine-readable code, for example `CODEC_SHORT_INPUT`. */
  readonly code: string;
  /** One sentence of what to do, when there is something to do. */
  readonly advice?: string;

  constructor(code: string, message: string, options: NsgxErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    if (options.advice !== undefined) this.advice = options.advice;
  }
}

/** Every error code that package `arch` throws, with its meaning in one line. */
export const ARCH_ERRORS = Object.freeze({
  CODEC_SHORT_INPUT: 'The bytes end before the structure does.',
  CODEC_FIELD_RANGE: 'A value does not fit its field, or is not an integer.',
  CODEC_FIELD_LENGTH: 'A byte string or list does not have the exact length of its field.',
  CODEC_UNKNOWN_FIELD: 'A value names a field that the structure does not have.',
  CODEC_LAYOUT: 'A structure definition is inconsistent: fields overlap or leave the structure.',
  MEASUREMENT_ORDER: 'Measurement operations came in an order the architecture does not allow.',
  MEASUREMENT_ARGUMENT: 'An operand of a measurement operation is misaligned or has the wrong length.',
  SIGSTRUCT_FIELD: 'A SIGSTRUCT field has a value that EINIT refuses (SGX_INVALID_SIG_STRUCT).',
  SIGSTRUCT_SIGNATURE: 'The RSA signature, Q1 or Q2 of a SIGSTRUCT is wrong (SGX_INVALID_SIGNATURE).',
  SIGSTRUCT_KEY: 'The signing key or its output is unusable for SIGSTRUCT (RSA-3072, exponent 3).',
  SNP_REPORT_SIZE: 'An SNP attestation report does not have 1184 bytes.',
  SNP_REPORT_VERSION: 'An SNP attestation report has a version this project does not know.',
  SNP_REPORT_RESERVED: 'A reserved byte of an SNP attestation report is not zero.',
  SNP_REPORT_FIELD: 'A field of an SNP attestation report has a value the ABI does not define.',
  SNP_LAUNCH_PAGE: 'A launch-digest update has a wrong page type, address or contents.',
  SNP_FIRMWARE: 'A firmware or SVSM image cannot be parsed, or lacks what a launch needs.',
  SNP_LAUNCH_OPTION: 'Parts of an SNP launch do not go together, or one is out of range.',
  QUOTE_MALFORMED:
    'A Quote v3 is truncated, has lengths that do not add up, or an unknown version or key type.',
  CERTIFICATION_DATA_MALFORMED: 'Certification data of type 0x4E53 is truncated or inconsistent.',
} as const);

/** Codes of {@link ARCH_ERRORS}. */
export type ArchErrorCode = keyof typeof ARCH_ERRORS;
