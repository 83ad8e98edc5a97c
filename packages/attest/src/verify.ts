/** The entry point: tells the evidence's format and appraises it. */
import { Appraisal, failed, type Verdict } from './appraisal.js';
import { copyBytes } from './bytes.js';
import { appraiseDcap } from './dcap/appraise.js';
import { looksLikeQuote } from './dcap/quote.js';
import { AttestError } from './errors.js';
import { appraiseNested } from './nested/appraise.js';
import { looksLikeNestedQuote } from './nested/quote.js';
import { readOptions, type VerifyOptions } from './request.js';
import { appraiseSnp } from './snp/appraise.js';
import { looksLikeSnpEvidence } from './snp/evidence.js';

/** Largest evidence that is read, in bytes. */
export const MAX_EVIDENCE_BYTES = 65536;

/** Formats that are told apart: this system's evidence, a raw SNP report, a quote of Intel's DCAP. */
export type EvidenceFormat = 'evidence' | 'snp-report' | 'quote';

/** The format that `bytes` look like, or null. Looks at sizes and fixed fields only. */
export function evidenceFormat(bytes: Uint8Array): EvidenceFormat | null {
  if (looksLikeSnpEvidence(bytes)) return 'snp-report';
  if (looksLikeNestedQuote(bytes)) return 'evidence';
  if (looksLikeQuote(bytes)) return 'quote';
  return null;
}

/** Refuses what is no byte array or too large. @throws AttestError EVIDENCE_MALFORMED, EVIDENCE_TOO_LARGE */
export function takeEvidence(evidence: Uint8Array): Uint8Array<ArrayBuffer> {
  if (!(evidence instanceof Uint8Array))
    throw new AttestError('EVIDENCE_MALFORMED', 'The evidence is no byte array.');
  if (evidence.length > MAX_EVIDENCE_BYTES) {
    throw new AttestError(
      'EVIDENCE_TOO_LARGE',
      `The evidence has ${evidence.length} bytes; ${MAX_EVIDENCE_BYTES} is the limit.`,
    );
  }
  return copyBytes(evidence);
}

/**
 * Appraises evidence: this system's quote, a raw SNP report, or a DCAP quote (told apart by content).
 * Bad evidence gives the verdict `rejected`, never an exception.
 *
 * @example
 * const verdict = await verify(bytes, { policy: { version: 1, nested: { mrenclave: [hex], … } } });
 * if (verdict.verdict !== 'accepted') console.error(formatVerdict(verdict));
 * @throws AttestError POLICY_INVALID or OPTIONS_INVALID for what the caller gave
 */
export async function verify(evidence: Uint8Array, options: VerifyOptions = {}): Promise<Verdict> {
  const request = readOptions(options);
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    bytes = takeEvidence(evidence);
  } catch (error) {
    if (!(error instanceof AttestError)) throw error;
    return unusable(error.message);
  }
  const format = evidenceFormat(bytes);
  if (format === 'evidence') return appraiseNested(bytes, request);
  if (format === 'snp-report') return appraiseSnp(bytes, request);
  if (format === 'quote') return appraiseDcap(bytes, request);
  return unusable(`The ${bytes.length} bytes are no quote and no SNP report`);
}

async function unusable(reason: string): Promise<Verdict> {
  const appraisal = new Appraisal(['evidence.format']);
  await appraisal.check('evidence.format', [], () =>
    failed(reason[0]!.toLowerCase() + reason.slice(1).replace(/\.$/, '')),
  );
  return appraisal.finish();
}
