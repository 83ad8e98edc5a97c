/**
 * Intel's side of a collateral, read and verified once: chains, revocation lists and signed documents, each on
 * first use, with the reason remembered when it cannot be used. What depends on the time is not decided here.
 */
import { sameBytes, toHex } from '../bytes.js';
import type { Collateral } from '../collateral.js';
import { AttestError } from '../errors.js';
import { INTEL_ROOT } from '../x509/built-in-roots.js';
import { type Certificate, parseCertificate } from '../x509/certificate.js';
import { certificateLabel, chainStructureFault, keyFingerprint, orderChain } from '../x509/chain.js';
import { parseRevocationList, type RevocationList, revocationIssuerFault } from '../x509/crl.js';
import { digest } from '../x509/keys.js';
import { chainBlocks, derBlocks, fromBase64 } from '../x509/pem.js';
import { verifyAuthorityP256 } from '../x509/remembered.js';
import type { Certification } from './certification.js';
import { type DocumentHead, readIdentity, readTcbInfo, type SignedDocument } from './documents.js';
import { type PckPlatform, parsePckPlatform } from './pck.js';
import type { DcapQuote } from './quote.js';

/** A chain, leaf first, down to Intel's root. */
export type Chain = readonly [Certificate, ...Certificate[]];

/** A PCK whose chain holds. */
export interface Pck {
  readonly chain: Chain;
  readonly platform: PckPlatform;
}

const PCK_NAME = 'Intel SGX PCK Certificate';
const PCK_AUTHORITIES = ['Intel SGX PCK Processor CA', 'Intel SGX PCK Platform CA'];
const SIGNER_NAME = 'Intel SGX TCB Signing';
/** CRL number and authority key identifier, which Intel's lists must have. */
const LIST_EXTENSIONS = ['2.5.29.20', '2.5.29.35'];
const PCK_LIMIT = 128;

let builtInRoot: Certificate | undefined;

/** Intel's root as built in. */
function intelRoot(): Certificate {
  builtInRoot ??= parseCertificate(fromBase64(INTEL_ROOT)!);
  return builtInRoot;
}

function refuse(reason: string): never {
  throw new AttestError('EVIDENCE_MALFORMED', reason);
}

/** The outcome of `make` on first use, from then on the same, also when it is an AttestError. */
function once<T>(make: () => T): () => T {
  let outcome: { value: T } | { error: AttestError } | undefined;
  return () => {
    if (outcome === undefined) {
      try {
        outcome = { value: make() };
      } catch (error) {
        if (!(error instanceof AttestError)) throw error;
        outcome = { error };
      }
    }
    if ('error' in outcome) throw outcome.error;
    return outcome.value;
  };
}

/** The chain from the certificate named `name` to `anchor`. @throws AttestError with the reason */
function intelChain(given: readonly Certificate[], name: string, what: string, anchor: Certificate): Chain {
  const leaf = given.find((certificate) => certificate.subject.commonName === name);
  if (leaf === undefined) return refuse(`${what} has no '${name}'`);
  const chain = orderChain(leaf, [...given, anchor]);
  if (chain === null) {
    return refuse(
      `no certificate of '${leaf.issuer.commonName}', the issuer of ${certificateLabel(leaf)}, is given`,
    );
  }
  const unused = given.find((certificate) => !chain.includes(certificate));
  if (unused !== undefined) return refuse(`${certificateLabel(unused)} is given and is no part of the chain`);
  const root = chain[chain.length - 1]!;
  if (!sameBytes(root.publicKey.spki, anchor.publicKey.spki)) {
    return refuse(
      `the root ${certificateLabel(root)} has the key fingerprint ${keyFingerprint(root)}, Intel's is ${keyFingerprint(anchor)}`,
    );
  }
  const fault = chainStructureFault(chain, anchor);
  if (fault !== null) return refuse(fault);
  return chain as [Certificate, ...Certificate[]];
}

/** Why identifiers in the quote are not those of the PCK that was given, or null. */
function identifiersFault(ids: Certification & { kind: 'ppid' }, platform: PckPlatform): string | null {
  if (ids.encryption === 'none' && !sameBytes(ids.ppid, platform.ppid))
    return `the quote is of PPID ${toHex(ids.ppid)}, the PCK given of ${toHex(platform.ppid)}`;
  if (ids.pceId !== null && !sameBytes(ids.pceId, platform.pceId))
    return `the quote is of PCE ${toHex(ids.pceId)}, the PCK given of ${toHex(platform.pceId)}`;
  if (ids.pceSvn < platform.pceSvn)
    return `the quote has PCESVN ${ids.pceSvn}, the PCK given is for ${platform.pceSvn}`;
  return null;
}

const CARRIES = { ppid: 'identifiers of its PCK', 'platform-manifest': 'a platform manifest' } as const;

/** Intel's side of one collateral. */
export class IntelTrust {
  readonly #files: Collateral;
  readonly #root: Certificate;
  readonly #pcks = new Map<string, Pck>();
  readonly #pckLists = new Map<string, RevocationList>();

  /** @param root the only root that is trusted; another than Intel's is for tests */
  constructor(files: Collateral, root: Certificate = intelRoot()) {
    this.#files = files;
    this.#root = root;
  }

  /** The list of Intel's root. @throws AttestError */
  readonly rootList = once(() => {
    const [list] = this.#lists(['rootCrl'], 'root-crl.der');
    return this.#signedList(list!, this.#root);
  });

  /** TCB info. @throws AttestError, also when it is not signed under {@link signer} */
  readonly tcbInfo = once(() => this.#signedDocument(readTcbInfo(this.#need('tcbInfo', 'tcb-info.json'))));

  /** Identity of a quoting enclave. @throws AttestError, also when it is not signed under {@link signer} */
  readonly identity = once(() =>
    this.#signedDocument(readIdentity(this.#need('qeIdentity', 'qe-identity.json'))),
  );

  /** The chain of the key that signs Intel's documents. @throws AttestError */
  readonly signer = once((): Chain => {
    const file = 'tcb-signing.pem';
    const certificates = this.#certificates(this.#need('tcbSigning', file), file);
    const chain = intelChain(certificates, SIGNER_NAME, file, this.#root);
    return chain.length === 2 ? chain : refuse(`${certificateLabel(chain[0])} is not issued by Intel's root`);
  });

  readonly #givenPck = once(() =>
    this.#files.pck === undefined ? [] : this.#certificates(this.#files.pck, 'pck.pem'),
  );

  /** The list of a PCK's authority. @throws AttestError */
  pckList(authority: Certificate): RevocationList {
    const name = toHex(digest('SHA-256', authority.der));
    const known = this.#pckLists.get(name);
    if (known !== undefined) return known;
    const lists = this.#lists(['pckCrl', 'pckCrlProcessor', 'pckCrlPlatform'], 'pck-crl.der');
    const own = lists.find((list) => sameBytes(list.issuer.encoding, authority.subject.encoding));
    const list = this.#signedList(own ?? lists[0]!, authority);
    this.#pckLists.set(name, list);
    return list;
  }

  /** The PCK of a quote, from the quote or from the collateral. @throws AttestError with the reason */
  pck({ certification, certificationType, certificationData }: DcapQuote): Pck {
    const name = `${certificationType} ${toHex(digest('SHA-256', certificationData))}`;
    const known = this.#pcks.get(name);
    if (known !== undefined) return known;
    const pck = this.#findPck(certification, certificationType);
    if (this.#pcks.size >= PCK_LIMIT) this.#pcks.delete(this.#pcks.keys().next().value!);
    this.#pcks.set(name, pck);
    return pck;
  }

  #findPck(certification: Certification, type: number): Pck {
    if (certification.kind === 'pck-chain')
      return this.#pckOf(this.#certificates(certification.data, 'The PCK chain'), 'the chain');
    const given = this.#givenPck();
    if (certification.kind === 'pck-leaf') {
      const [leaf, ...others] = this.#certificates(certification.data, 'The PCK certificate');
      const authorities = given.filter((certificate) => !sameBytes(certificate.der, leaf!.der));
      return this.#pckOf([leaf!, ...others, ...authorities], 'the quote');
    }
    if (given.length === 0) {
      return refuse(
        `the quote has certification data of type ${type}, ${CARRIES[certification.kind]} and no certificate: put the platform's PCK certificate and its authority into the collateral as pck.pem`,
      );
    }
    const pck = this.#pckOf(given, 'pck.pem');
    const fault = certification.kind === 'ppid' ? identifiersFault(certification, pck.platform) : null;
    return fault === null ? pck : refuse(fault);
  }

  #pckOf(certificates: readonly Certificate[], what: string): Pck {
    const chain = intelChain(certificates, PCK_NAME, what, this.#root);
    const authority = chain[1];
    if (chain.length !== 3 || !PCK_AUTHORITIES.includes(authority?.subject.commonName ?? ''))
      return refuse(`the PCK is not issued by ${PCK_AUTHORITIES.join(' or ')}`);
    return { chain, platform: parsePckPlatform(chain[0]) };
  }

  /** The certificates of a file; the root, which most chains repeat, is not read again. */
  #certificates(file: Uint8Array, what: string): Certificate[] {
    return chainBlocks(file, what).map((der) =>
      sameBytes(der, this.#root.der) ? this.#root : parseCertificate(der),
    );
  }

  #need(role: keyof Collateral, file: string): Uint8Array {
    const bytes = this.#files[role];
    if (bytes === undefined)
      throw new AttestError('COLLATERAL_MALFORMED', `no ${file} was given in the collateral`);
    return bytes;
  }

  #lists(roles: readonly (keyof Collateral)[], file: string): RevocationList[] {
    const given = roles.filter((role) => this.#files[role] !== undefined);
    if (given.length === 0) this.#need(roles[0]!, file);
    return given.flatMap((role) =>
      derBlocks(this.#files[role]!, 'X509 CRL', file).map((der) => parseRevocationList(der)),
    );
  }

  #signedList(list: RevocationList, issuer: Certificate): RevocationList {
    const fault = revocationIssuerFault(list, issuer);
    if (fault !== null) return refuse(fault);
    const missing = LIST_EXTENSIONS.find((oid) => !list.extensions.has(oid));
    if (missing !== undefined)
      return refuse(`the revocation list of ${certificateLabel(issuer)} has no extension ${missing}`);
    return list;
  }

  #signedDocument<T extends DocumentHead>(document: SignedDocument<T>): T {
    const [leaf] = this.signer();
    const good = document.signed.some((signed) =>
      verifyAuthorityP256(leaf.publicKey, document.signature, signed()),
    );
    if (!good) return refuse(`its signature is not by the key of ${certificateLabel(leaf)}`);
    return document.value;
  }
}
