/** Whose key signed a report: the leaf, its chain, and whether the root is AMD's or a named software machine's. */
import { allZero, sameBytes, toHex } from '../bytes.js';
import { AttestError } from '../errors.js';
import type { Policy } from '../policy/index.js';
import { AMD_ROOTS } from '../x509/built-in-roots.js';
import { type Certificate, parseCertificate } from '../x509/certificate.js';
import { certificateLabel, chainFault, keyFingerprint, orderChain } from '../x509/chain.js';
import { fromBase64 } from '../x509/pem.js';
import { parseSnpLeaf, type SnpLeaf } from './leaf.js';
import type { SnpReport } from './report.js';
import { SNP_PRODUCTS, type SnpProduct, TCB_COMPONENTS, tcbText } from './tcb.js';

/** A root that is accepted: AMD's, built in, or a software machine's that the policy names. */
export type TrustedRoot =
  | { readonly kind: 'amd'; readonly product: SnpProduct; readonly fingerprint: string }
  | { readonly kind: 'software'; readonly fingerprint: string };

/** A verified chain. */
export interface Endorsement {
  readonly leaf: SnpLeaf;
  readonly root: TrustedRoot;
  readonly chain: readonly Certificate[];
}

let builtIn: readonly Certificate[] | undefined;

/** AMD's ARK, ASK and ASVK of every product. */
export function amdCertificates(): readonly Certificate[] {
  builtIn ??= SNP_PRODUCTS.flatMap((product) => {
    const { ark, ask, asvk } = AMD_ROOTS[product];
    return [ark, ask, asvk].map((base64) => parseCertificate(fromBase64(base64)!));
  });
  return builtIn;
}

function trustedRoot(fingerprint: string, softwareRoots: readonly string[]): TrustedRoot | null {
  for (const product of SNP_PRODUCTS) {
    if (AMD_ROOTS[product].keyFingerprint === fingerprint) return { kind: 'amd', product, fingerprint };
  }
  return softwareRoots.includes(fingerprint) ? { kind: 'software', fingerprint } : null;
}

function amdFault(
  report: SnpReport,
  leaf: SnpLeaf,
  chain: readonly Certificate[],
  product: SnpProduct,
): string | null {
  const authority = leaf.kind === 'VCEK' ? `SEV-${product}` : `SEV-VLEK-${product}`;
  if (chain[1]!.subject.commonName !== authority) {
    return `a ${leaf.kind} of ${product} is issued by '${authority}', this one by ${certificateLabel(chain[1]!)}`;
  }
  if (leaf.productName !== product && !leaf.productName.startsWith(`${product}-`)) {
    return `the ${leaf.kind} names product '${leaf.productName}', its root is that of ${product}`;
  }
  if (report.product !== null && report.product !== product) {
    return `the report is of a ${report.product} processor, the root is that of ${product}`;
  }
  return null;
}

/** Why the certificate's extensions and the report's fields do not belong together, or null. */
function bindingFault(report: SnpReport, leaf: SnpLeaf, root: TrustedRoot): string | null {
  if (report.signingKey !== leaf.kind) {
    return `the report says that its ${report.signingKey} signed, the leaf is a ${leaf.kind}`;
  }
  for (const name of TCB_COMPONENTS) {
    if (name === 'fmc' && report.tcbLayout !== 'turin') continue;
    if (leaf.tcb[name] !== report.reportedTcb[name]) {
      return `the ${leaf.kind} is for TCB (${tcbText(leaf.tcb)}), the report says (${tcbText(report.reportedTcb)}): ${name} differs`;
    }
  }
  if (leaf.hwid === null) return null;
  const masked = root.kind === 'amd' && allZero(report.chipId);
  const padded = new Uint8Array(64);
  padded.set(leaf.hwid);
  if (!masked && !sameBytes(padded, report.chipId)) {
    return `the VCEK is of chip ${toHex(leaf.hwid.subarray(0, 8))}…, the report of chip ${toHex(report.chipId.subarray(0, 8))}…`;
  }
  return null;
}

/**
 * Verifies the chain under a report at `time` (milliseconds since 1970).
 * @param certificates DER, the leaf first; AMD's authorities may be left out
 * @param exact true when the certificates come with the evidence: each must be needed and in its place
 * @throws AttestError with the reason when the chain does not hold
 */
export async function verifyEndorsement(
  report: SnpReport,
  certificates: readonly Uint8Array[],
  exact: boolean,
  policy: Policy,
  time: number,
): Promise<Endorsement> {
  const refuse = (reason: string): never => {
    throw new AttestError('EVIDENCE_MALFORMED', reason);
  };
  if (certificates.length === 0) return refuse('there is no leaf certificate (VCEK or VLEK)');
  const given = certificates.map((der) => parseCertificate(der));
  const chain = orderChain(given[0]!, [...given.slice(1), ...amdCertificates()]);
  if (chain === null) {
    return refuse(
      `no certificate of the issuer '${given[0]!.issuer.commonName}' of ${certificateLabel(given[0]!)} leads to a root`,
    );
  }
  if (chain.length !== 3) return refuse(`the chain has ${chain.length} certificates instead of 3`);
  if (exact && !given.every((certificate, i) => chain[i] === certificate)) {
    return refuse('the certificates of the evidence are not leaf, authority and root in that order');
  }
  const fault = await chainFault(chain, time);
  if (fault !== null) return refuse(fault);
  const fingerprint = keyFingerprint(chain[2]!);
  const root = trustedRoot(fingerprint, policy.nested.softwareRoots);
  if (root === null) {
    const pinned = policy.nested.softwareRoots;
    const named = pinned.length === 0 ? 'no software root' : `the software roots ${pinned.join(', ')}`;
    return refuse(
      `the root ${certificateLabel(chain[2]!)} has the key fingerprint ${fingerprint}, which is none of AMD's, and the policy names ${named} (nested.softwareRoots)`,
    );
  }
  const leaf = parseSnpLeaf(chain[0]!);
  const mismatch =
    (root.kind === 'amd' ? amdFault(report, leaf, chain, root.product) : null) ??
    bindingFault(report, leaf, root);
  if (mismatch !== null) return refuse(mismatch);
  return { leaf, root, chain };
}
