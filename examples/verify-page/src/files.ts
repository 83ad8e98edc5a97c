/** What each dropped file is: evidence, policy, collateral, or nothing that is known here. */
import { AttestError, collateralFromFiles, evidenceFormat, parsePolicyText } from '@nestedsgx/attest';
import { certificateName, documentName } from './collateral-name.js';

/** A file with what it was taken for. */
export interface GivenFile {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly role: 'evidence' | 'policy' | 'collateral' | 'unknown';
  /** The name in a collateral directory. */
  readonly collateral?: string;
  /** The role in words. */
  readonly label: string;
}

const FORMATS = {
  evidence: 'evidence of this system',
  'snp-report': 'SEV-SNP report',
  quote: 'DCAP quote',
} as const;

/** Evidence is often passed around as hexadecimal digits. */
function fromHexText(bytes: Uint8Array): Uint8Array | null {
  const text = new TextDecoder('latin1').decode(bytes).replace(/\s/g, '');
  if (text.length < 2 || text.length % 2 !== 0 || !/^[0-9a-fA-F]+$/.test(text)) return null;
  return Uint8Array.from({ length: text.length / 2 }, (_, i) =>
    Number.parseInt(text.slice(2 * i, 2 * i + 2), 16),
  );
}

function isPolicy(bytes: Uint8Array): boolean {
  try {
    parsePolicyText(new TextDecoder().decode(bytes));
    return true;
  } catch (error) {
    if (error instanceof AttestError) return false;
    throw error;
  }
}

function asEvidence(name: string, bytes: Uint8Array): GivenFile | null {
  for (const candidate of [bytes, fromHexText(bytes)]) {
    const format = candidate === null ? null : evidenceFormat(candidate);
    if (format !== null) return { name, bytes: candidate!, role: 'evidence', label: FORMATS[format] };
  }
  return null;
}

/** Tells a file's role: by its name where that is one of a collateral directory, else by its contents. */
export function sortFile(name: string, bytes: Uint8Array): GivenFile {
  if (Object.keys(collateralFromFiles([[name, bytes]])).length > 0)
    return { name, bytes, role: 'collateral', collateral: name, label: 'collateral' };
  // A policy that does not hold is shown as one, with what is wrong.
  if (isPolicy(bytes) || /policy.*\.json$/i.test(name))
    return { name, bytes, role: 'policy', label: 'policy' };
  // What is JSON could also be a TSM report.
  const evidence = documentName(bytes) === null ? asEvidence(name, bytes) : null;
  if (evidence !== null) return evidence;
  const collateral = documentName(bytes) ?? certificateName(bytes);
  if (collateral !== null)
    return { name, bytes, role: 'collateral', collateral, label: `collateral: ${collateral}` };
  return { name, bytes, role: 'unknown', label: 'not used: no evidence, no policy, no collateral' };
}
