/** What the checks on an SNP report know, and small outcomes they share. */
import { failed, type Outcome, ok } from '../appraisal.js';
import { toHex } from '../bytes.js';
import type { Policy } from '../policy/index.js';
import type { SnpReport } from './report.js';

/** A report with all that it is judged by. */
export interface SnpSubject {
  readonly report: SnpReport;
  /** DER, the leaf first. */
  readonly certificates: readonly Uint8Array[];
  /** True when the certificates are part of the evidence. */
  readonly exactChain: boolean;
  /** What to do when there is no leaf. */
  readonly missingLeaf: string;
  readonly policy: Policy;
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly crl: Uint8Array | undefined;
  readonly vmpl: number;
  readonly launchDigests: readonly string[];
  /** The policy field that pins launch digests, and whether the evidence fails when it is empty. */
  readonly launchDigestField: 'nested.launchDigest' | 'snp.launchDigest';
  readonly launchDigestNeeded: boolean;
}

/** Compares bytes with a list of the policy; null when the list is empty. */
export function pinned(
  value: Uint8Array,
  accepted: readonly string[],
  field: string,
  what: string,
): Outcome | null {
  if (accepted.length === 0) return null;
  const hex = toHex(value);
  if (accepted.includes(hex)) return ok(`${what} ${hex} is one that the policy names (${field})`);
  return failed(`${what} is ${hex}, the policy names ${accepted.join(', ')} (${field})`);
}
