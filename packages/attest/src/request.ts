/** A verification's options, checked once. */
import { copyBytes, fromHex } from './bytes.js';
import type { Collateral } from './collateral.js';
import { AttestError } from './errors.js';
import { type Policy, type PolicyDocument, parsePolicy } from './policy/index.js';
import { PreparedCollateral, prepareCollateral } from './prepared.js';

/** Options of `verify`. */
export interface VerifyOptions {
  /** The policy document; left out, the strict defaults apply (which pin nothing and so accept no enclave). */
  readonly policy?: PolicyDocument;
  /** The files, or what `prepareCollateral` made of them, which is faster for many appraisals. */
  readonly collateral?: Collateral | PreparedCollateral;
  /** The report data expected: up to 64 bytes (zero padded), or as hexadecimal. Left out, nothing is compared. */
  readonly reportData?: Uint8Array | string;
  /** The time of verification: a Date, milliseconds since 1970, or RFC 3339. Left out, now. */
  readonly time?: Date | number | string;
}

/** Options in the form that the appraisals use. */
export interface Request {
  readonly policy: Policy;
  readonly collateral: Collateral;
  /** The same, with what is remembered of it. */
  readonly prepared: PreparedCollateral;
  /** 64 bytes, or null. */
  readonly reportData: Uint8Array | null;
  /** Milliseconds since 1970. */
  readonly time: number;
}

const RFC_3339 = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/;

function timeOf(time: VerifyOptions['time']): number {
  let value: number;
  if (time === undefined) value = Date.now();
  else if (typeof time === 'number') value = time;
  else if (typeof time === 'string')
    value = RFC_3339.test(time) ? Date.parse(time.replace(' ', 'T')) : Number.NaN;
  else value = time instanceof Date ? time.getTime() : Number.NaN;
  if (!Number.isFinite(value) || Math.abs(value) > 8.64e15) {
    throw new AttestError('OPTIONS_INVALID', `The time of verification '${String(time)}' is no time.`, {
      advice: 'Give a date and time as RFC 3339, for example 2026-01-31T12:00:00Z.',
    });
  }
  return value;
}

function reportDataOf(data: VerifyOptions['reportData']): Uint8Array | null {
  if (data === undefined) return null;
  const bytes =
    typeof data === 'string' ? fromHex(data) : data instanceof Uint8Array ? copyBytes(data) : null;
  if (bytes === null || bytes.length > 64) {
    throw new AttestError(
      'OPTIONS_INVALID',
      'The expected report data are not at most 64 bytes (128 hexadecimal digits).',
      {
        advice: 'Give the report data that were passed when the evidence was asked for.',
      },
    );
  }
  const padded = new Uint8Array(64);
  padded.set(bytes);
  return padded;
}

/** Checks the options. @throws AttestError POLICY_INVALID or OPTIONS_INVALID */
export function readOptions(options: VerifyOptions): Request {
  const given = options.collateral ?? {};
  const prepared = given instanceof PreparedCollateral ? given : prepareCollateral(given);
  return {
    policy: parsePolicy(options.policy ?? { version: 1 }),
    collateral: prepared.files,
    prepared,
    reportData: reportDataOf(options.reportData),
    time: timeOf(options.time),
  };
}
