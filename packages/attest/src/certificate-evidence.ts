/**
 * Certificates that carry evidence for their key (RA-TLS): an extension with the tagged evidence of TCG DICE (2.23.133.5.4.9),
 * CBOR tag 60000 of [quote, claims], where the quote's report data begin with the SHA-256 of the claims, which have the hash
 * of the certificate's SubjectPublicKeyInfo. Whoever proves in TLS to have the key is then the enclave that the quote names.
 */
import { type Check, clause, type Verdict } from './appraisal.js';
import { sameBytes, toHex } from './bytes.js';
import { AttestError } from './errors.js';
import type { VerifyOptions } from './request.js';
import { verify } from './verify.js';
import { type Certificate, parseCertificate } from './x509/certificate.js';
import { digest, verifySignature } from './x509/keys.js';
import { derBlocks } from './x509/pem.js';

/** tcg-dice-TaggedEvidence. */
export const EVIDENCE_EXTENSION = '2.23.133.5.4.9';
/** CBOR tag of [quote, claims]. */
const QUOTE_TAG = 60000;
/** Of the registry of named information: SHA-256, -384 and -512. */
const HASHES = new Map([
  [1, 'SHA-256'],
  [7, 'SHA-384'],
  [8, 'SHA-512'],
] as const);
const MOST_CLAIMS = 16;

/** What such a certificate says; nothing of it is verified. */
export interface CertificateEvidence {
  readonly certificate: Certificate;
  /** For {@link verify}. */
  readonly quote: Uint8Array<ArrayBuffer>;
  /** What the report data hash. */
  readonly claims: Uint8Array<ArrayBuffer>;
  /** The claim `pubkey-hash`. */
  readonly keyHash: { readonly algorithm: 'SHA-256' | 'SHA-384' | 'SHA-512'; readonly value: Uint8Array };
}

/** Names of the checks of {@link verifyCertificate} that come before those of the evidence. */
export const CERTIFICATE_CHECKS: readonly string[] = Object.freeze([
  'certificate.format',
  'certificate.signature',
  'certificate.validity',
  'certificate.key-claim',
]);

function malformed(reason: string): never {
  throw new AttestError('CERTIFICATE_MALFORMED', `The certificate's evidence is invalid: ${reason}.`);
}

/** The few types of CBOR (RFC 8949) in evidence: unsigned integers, strings, arrays, maps, tags; definite, shortest lengths. */
class CborReader {
  #at = 0;
  readonly #bytes: Uint8Array;
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** The argument of the next head, which must be of a major type. */
  head(major: number, what: string): number {
    const first = this.#take(1, what)[0]!;
    if (first >> 5 !== major) malformed(`${what} is of CBOR type ${first >> 5} instead of ${major}`);
    const short = first & 31;
    if (short < 24) return short;
    if (short > 26) malformed(`${what} has no definite length of up to 32 bits`);
    const size = 1 << (short - 24);
    let value = 0;
    for (const byte of this.#take(size, what)) value = value * 256 + byte;
    if (value < (size === 1 ? 24 : 2 ** (4 * size)))
      malformed(`${what} has a length that is not the shortest`);
    return value;
  }

  bytes(what: string): Uint8Array<ArrayBuffer> {
    return this.#take(this.head(2, what), what);
  }

  text(what: string): string {
    return String.fromCharCode(...this.#take(this.head(3, what), what));
  }

  end(what: string): void {
    if (this.#at !== this.#bytes.length)
      malformed(`${what} has ${this.#bytes.length - this.#at} bytes too many`);
  }

  #take(length: number, what: string): Uint8Array<ArrayBuffer> {
    if (length > this.#bytes.length - this.#at) malformed(`${what} is cut short`);
    this.#at += length;
    return this.#bytes.slice(this.#at - length, this.#at);
  }
}

function keyHashOf(claims: Uint8Array): CertificateEvidence['keyHash'] {
  const reader = new CborReader(claims);
  const count = reader.head(5, 'the claims');
  if (count > MOST_CLAIMS) malformed(`${count} claims`);
  let found: Uint8Array | undefined;
  for (let i = 0; i < count; i++) {
    const name = reader.text('the name of a claim');
    const value = reader.bytes(`the claim ${JSON.stringify(name)}`);
    if (name !== 'pubkey-hash') continue;
    if (found !== undefined) malformed('the claim pubkey-hash appears twice');
    found = value;
  }
  reader.end('the list of claims');
  if (found === undefined) malformed('there is no claim pubkey-hash');
  const pair = new CborReader(found);
  if (pair.head(4, 'pubkey-hash') !== 2) malformed('pubkey-hash is no pair');
  const id = pair.head(0, 'the algorithm of pubkey-hash');
  const algorithm = HASHES.get(id as 1) ?? malformed(`pubkey-hash has algorithm ${id}`);
  const value = pair.bytes('the digest of pubkey-hash');
  pair.end('pubkey-hash');
  return { algorithm, value };
}

/**
 * Reads a certificate (DER, or PEM whose first block it is) with evidence.
 * @throws AttestError CERTIFICATE_MALFORMED, COLLATERAL_MALFORMED for bytes that are neither, also for one without evidence
 */
export function certificateEvidence(input: Uint8Array): CertificateEvidence {
  const certificate = parseCertificate(derBlocks(input, 'CERTIFICATE', 'The certificate')[0]!);
  const extension = certificate.extensions.get(EVIDENCE_EXTENSION);
  if (extension === undefined) malformed(`there is no extension ${EVIDENCE_EXTENSION}`);
  const reader = new CborReader(extension.value);
  const tag = reader.head(6, 'the evidence');
  if (tag !== QUOTE_TAG) malformed(`it has CBOR tag ${tag}; ${QUOTE_TAG}, a quote, is known`);
  if (reader.head(4, 'the evidence') !== 2) malformed('it is no pair of quote and claims');
  const quote = reader.bytes('the quote');
  const claims = reader.bytes('the claims');
  reader.end('the evidence');
  return { certificate, quote, claims, keyHash: keyHashOf(claims) };
}

/** True when `input` is a certificate (DER or PEM), with or without evidence. */
export function looksLikeCertificate(input: Uint8Array): boolean {
  const start = new TextDecoder('latin1').decode(input.subarray(0, 27));
  return start === '-----BEGIN CERTIFICATE-----' || (input[0] === 0x30 && input[1] === 0x82);
}

/**
 * Appraises a certificate and the evidence in it: is its key one that the enclave of the policy made? The peer of a TLS
 * connection must have proved to have that key, as every TLS handshake with the certificate does; names are not looked at.
 * `options.reportData` is not for this: the report data are those of the key.
 *
 * @example
 * const socket = tls.connect({ port, rejectUnauthorized: false });
 * const verdict = await verifyCertificate(socket.getPeerX509Certificate().raw, { policy });
 * @throws AttestError POLICY_INVALID or OPTIONS_INVALID for what the caller gave
 */
export async function verifyCertificate(
  input: Uint8Array,
  options: Omit<VerifyOptions, 'reportData'> = {},
): Promise<Verdict> {
  const checks: Check[] = [];
  const note = (id: string, good: boolean, detail: string) =>
    checks.push({ id, status: good ? 'ok' : 'failed', detail });
  let found: CertificateEvidence;
  try {
    found = certificateEvidence(input);
  } catch (error) {
    if (!(error instanceof AttestError)) throw error;
    note('certificate.format', false, clause(error.message));
    for (const id of CERTIFICATE_CHECKS.slice(1))
      checks.push({ id, status: 'skipped', detail: 'certificate.format is not ok' });
    const { checks: rest } = await verify(new Uint8Array(0), options);
    return { verdict: 'rejected', checks: [...checks, ...rest], claims: {} };
  }
  const { certificate, quote, claims, keyHash } = found;
  note('certificate.format', true, `X.509 with evidence of ${quote.length} bytes`);
  note(
    'certificate.signature',
    verifySignature(
      certificate.publicKey,
      certificate.signatureAlgorithm,
      certificate.signature,
      certificate.tbs,
    ),
    'a certificate with evidence is signed with its own key',
  );
  const time = options.time === undefined ? Date.now() : new Date(options.time).getTime();
  note(
    'certificate.validity',
    certificate.notBefore <= time && time <= certificate.notAfter,
    `it is valid from ${new Date(certificate.notBefore).toISOString()} to ${new Date(certificate.notAfter).toISOString()}`,
  );
  const own = digest(keyHash.algorithm, certificate.publicKey.spki);
  note(
    'certificate.key-claim',
    sameBytes(own, keyHash.value),
    `the key's ${keyHash.algorithm} is ${toHex(own)}, the evidence is for ${toHex(keyHash.value)}`,
  );
  const inner = await verify(quote, { ...options, reportData: digest('SHA-256', claims) });
  const good = checks.every(({ status }) => status === 'ok');
  return { ...inner, verdict: good ? inner.verdict : 'rejected', checks: [...checks, ...inner.checks] };
}
