/** Whose key signed a report: the leaf, its chain, and whether the root is AMD's or a named software machine's. */
import { toHex } from '../bytes.js';
import { AttestError } from '../errors.js';
import type { Policy } from '../policy/index.js';
import { AMD_ROOTS } from '../x509/built-in-roots.js';
import { type Certificate, parseCertificate } from '../x509/certificate.js';
import {
  certificateLabel,
  chainStructureFault,
  chainValidityFault,
  keyFingerprint,
  orderChain,
} from '../x509/chain.js';
import { DerReader, TAG } from '../x509/der.js';
import { digest } from '../x509/keys.js';
import { fromBase64 } from '../x509/pem.js';
import { parseSnpLeaf, type SnpLeaf } from './leaf.js';
import { SNP_PRODUCTS, type SnpProduct } from './tcb.js';

/** A root that is accepted: AMD's, built in, or a software machine's that the policy names. */
export type TrustedRoot =
  | { readonly kind: 'amd'; readonly product: SnpProduct; readonly fingerprint: string }
  | { readonly kind: 'software'; readonly fingerprint: string };

/** A verified chain. */
export interface Endorsement {
  readonly root: TrustedRoot;
  /** Leaf, authority, root. */
  readonly chain: readonly [Certificate, Certificate, Certificate];
}

/** Certificates in order, none verified. */
interface OrderedChain {
  readonly chain: Endorsement['chain'];
  readonly fingerprint: string;
  /** The product whose root this is, by the fingerprint; null for roots other than AMD's. */
  readonly product: SnpProduct | null;
  /** Why the names in the chain are not AMD's though its root is; null otherwise. */
  readonly nameFault: string | null;
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

function refuse(reason: string): never {
  throw new AttestError('EVIDENCE_MALFORMED', reason);
}

/** Results for inputs seen lately, the oldest dropped first. */
class Memory<T> {
  readonly #results = new Map<string, T>();
  constructor(readonly limit: number) {}

  /** The result for exactly these bytes; a throwing `make` is not remembered. */
  get(inputs: readonly Uint8Array[], make: () => T): T {
    const key = inputs.map((input) => toHex(digest('SHA-256', input))).join();
    const known = this.#results.get(key);
    if (known !== undefined) return known;
    const made = make();
    if (this.#results.size >= this.limit) this.#results.delete(this.#results.keys().next().value!);
    this.#results.set(key, made);
    return made;
  }
}

/** A chip's or a fleet's certificates come with report after report: they are read once, verified each time. */
const leaves = new Memory<{ certificate: Certificate; leaf: SnpLeaf }>(256);
const chains = new Memory<OrderedChain>(256);

/** Parses a leaf and its AMD extensions. @throws AttestError CERTIFICATE_MALFORMED */
export function readLeaf(der: Uint8Array): { certificate: Certificate; leaf: SnpLeaf } {
  return leaves.get([der], () => {
    const certificate = parseCertificate(der);
    return { certificate, leaf: parseSnpLeaf(certificate) };
  });
}

/** Leaf, authority and root by their names, AMD's authorities added. @throws AttestError when they do not lead to a root */
export function orderedChain(certificates: readonly Uint8Array[], exact: boolean): OrderedChain {
  const given = certificates.map((der) => parseCertificate(der));
  const first = given[0]!;
  const chain = orderChain(first, [...given.slice(1), ...amdCertificates()]);
  if (chain === null)
    return refuse(
      `no certificate of the issuer '${first.issuer.commonName}' of ${certificateLabel(first)} leads to a root`,
    );
  const [leaf, authority, root] = chain;
  if (leaf === undefined || authority === undefined || root === undefined || chain.length !== 3)
    return refuse(`the chain has ${chain.length} certificates instead of 3`);
  if (exact && !given.every((certificate, i) => chain[i] === certificate))
    return refuse('the certificates of the evidence are not leaf, authority and root in that order');
  const fingerprint = keyFingerprint(root);
  const product = SNP_PRODUCTS.find((name) => AMD_ROOTS[name].keyFingerprint === fingerprint) ?? null;
  const ordered = [leaf, authority, root] as const;
  const nameFault = product === null ? null : amdFault(ordered, parseSnpLeaf(leaf).kind, product);
  return { chain: ordered, fingerprint, product, nameFault };
}

function trustedRoot(
  { fingerprint, product }: OrderedChain,
  softwareRoots: readonly string[],
): TrustedRoot | null {
  if (product !== null) return { kind: 'amd', product, fingerprint };
  return softwareRoots.includes(fingerprint) ? { kind: 'software', fingerprint } : null;
}

const AMD_ATTRIBUTES = ['O=Advanced Micro Devices', 'OU=Engineering', 'C=US', 'ST=CA', 'L=Santa Clara'];

const DISTRIBUTION_POINTS = '2.5.29.31';
/** Context tags of DistributionPoint, DistributionPointName and GeneralName (RFC 5280 §4.2.1.13). */
const [POINT_NAME, FULL_NAME, URI] = [0xa0, 0xa0, 0x86];

/** The one place where a certificate says its issuer's revocation list is. @throws AttestError for more or other kinds */
function revocationListUrl(certificate: Certificate): string | null {
  const extension = certificate.extensions.get(DISTRIBUTION_POINTS);
  if (extension === undefined) return null;
  const what = 'the place of the revocation list';
  const whole = new DerReader(extension.value);
  const points = whole.enter(TAG.SEQUENCE, what);
  const point = points.enter(TAG.SEQUENCE, what);
  const name = point.enter(POINT_NAME, what);
  const full = name.enter(FULL_NAME, what);
  const url = String.fromCharCode(...full.expect(URI, what).contents.subarray(0, 256));
  for (const reader of [full, name, point, points, whole]) reader.end(what);
  return url;
}

/** Why the names and keys in a chain under AMD's root are not those of AMD's key service (AMD 57230), or null. */
function amdFault(chain: Endorsement['chain'], kind: SnpLeaf['kind'], product: SnpProduct): string | null {
  const [leaf, authority, root] = chain;
  const issuer = kind === 'VCEK' ? `SEV-${product}` : `SEV-VLEK-${product}`;
  if (authority.subject.commonName !== issuer)
    return `a ${kind} of ${product} is issued by '${issuer}', this one by ${certificateLabel(authority)}`;
  if (leaf.subject.commonName !== `SEV-${kind}`)
    return `a ${kind} is named 'SEV-${kind}', this one ${certificateLabel(leaf)}`;
  const services = [
    [authority, kind === 'VCEK' ? 'vcek' : 'vlek'],
    [root, 'vcek'],
  ] as const;
  for (const [certificate, service] of services) {
    const expected = `https://kdsintf.amd.com/${service}/v1/${product}/crl`;
    const url = revocationListUrl(certificate);
    if (url !== expected)
      return `${certificateLabel(certificate)} names ${url === null ? 'no revocation list' : `the revocation list ${url}`}, AMD's is ${expected}`;
  }
  const attributes = leaf.subject.text.split(/,\s*/);
  const missing = AMD_ATTRIBUTES.find((attribute) => !attributes.includes(attribute));
  if (missing !== undefined) return `the name of the ${kind} lacks '${missing}'`;
  if (leaf.publicKey.kind !== 'ec' || leaf.publicKey.curve !== 'P-384')
    return `the key of the ${kind} is not P-384`;
  return null;
}

/**
 * Verifies the chain over a leaf at `time` (milliseconds since 1970).
 * @param certificates DER, the leaf first; AMD's authorities may be left out
 * @param exact true when the certificates come with the evidence: each must be needed and in its place
 * @throws AttestError with the reason when the chain does not hold
 */
export function verifyEndorsement(
  certificates: readonly Uint8Array[],
  exact: boolean,
  policy: Policy,
  time: number,
): Endorsement {
  if (certificates.length === 0) return refuse('there is no leaf certificate (VCEK or VLEK)');
  const ordered = chains.get([...certificates, Uint8Array.of(exact ? 1 : 0)], () =>
    orderedChain(certificates, exact),
  );
  const { chain, fingerprint } = ordered;
  const fault = chainStructureFault(chain) ?? chainValidityFault(chain, time) ?? ordered.nameFault;
  if (fault !== null) return refuse(fault);
  const root = trustedRoot(ordered, policy.nested.softwareRoots);
  if (root === null) {
    const pinned = policy.nested.softwareRoots;
    const named = pinned.length === 0 ? 'no software root' : `the software roots ${pinned.join(', ')}`;
    return refuse(
      `the root ${certificateLabel(chain[2])} has the key fingerprint ${fingerprint}, which is none of AMD's, and the policy names ${named} (nested.softwareRoots)`,
    );
  }
  return { root, chain };
}
