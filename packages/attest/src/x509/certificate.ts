/** X.509 v3 certificates (RFC 5280), read strictly; only the algorithms that AMD, Intel and this system use. */
import { copyBytes, sameBytes, toHex } from '../bytes.js';
import { AttestError } from '../errors.js';
import {
  booleanValue,
  DerReader,
  derFailure,
  oidText,
  smallInteger,
  TAG,
  timeValue,
  unsignedInteger,
  wholeBits,
} from './der.js';
import { type PublicKey, parsePublicKey, type SignatureAlgorithm, signatureAlgorithm } from './keys.js';

/** Largest certificate that is read, in bytes. */
export const MAX_CERTIFICATE_BYTES = 16384;

/** One extension: criticality and the contents of its OCTET STRING. */
export interface Extension {
  readonly critical: boolean;
  readonly value: Uint8Array;
}

/** A distinguished name: its exact encoding, its text, and its common name. */
export interface Name {
  readonly encoding: Uint8Array;
  readonly text: string;
  readonly commonName: string;
}

/** A decoded certificate. Nothing in it is verified yet. */
export interface Certificate {
  /** The whole DER encoding. */
  readonly der: Uint8Array;
  /** The signed part. */
  readonly tbs: Uint8Array;
  readonly signatureAlgorithm: SignatureAlgorithm;
  readonly signature: Uint8Array;
  /** Serial number, hexadecimal. */
  readonly serial: string;
  readonly issuer: Name;
  readonly subject: Name;
  /** Milliseconds since 1970. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly publicKey: PublicKey;
  /** By dotted object identifier. */
  readonly extensions: ReadonlyMap<string, Extension>;
  /** From basicConstraints: null for an end entity, else the allowed path length (Infinity if not given). */
  readonly pathLength: number | null;
  /** From keyUsage: null when the extension is absent. */
  readonly keyUsage: { readonly certSign: boolean; readonly crlSign: boolean } | null;
}

/** Attributes of names by their object identifier. */
const ATTRIBUTE_NAMES: Record<string, string> = {
  '2.5.4.3': 'CN',
  '2.5.4.6': 'C',
  '2.5.4.7': 'L',
  '2.5.4.8': 'ST',
  '2.5.4.10': 'O',
  '2.5.4.11': 'OU',
};

/** Critical extensions that this verifier evaluates. Any other critical extension refuses a certificate. */
const UNDERSTOOD = new Set(['2.5.29.15', '2.5.29.19']);

function stringValue(tag: number, contents: Uint8Array): string {
  if (tag !== TAG.UTF8_STRING && tag !== TAG.PRINTABLE_STRING && tag !== TAG.IA5_STRING)
    return `#${toHex(contents)}`;
  let text = '';
  for (const byte of contents) {
    if (byte >= 0x80) return utf8(contents);
    text += String.fromCharCode(byte);
  }
  return text;
}

function utf8(contents: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(contents);
  } catch (cause) {
    throw new AttestError('CERTIFICATE_MALFORMED', 'A name in the certificate is not valid UTF-8.', {
      cause,
    });
  }
}

/** Reads a Name. @throws AttestError */
export function parseName(reader: DerReader, what: string): Name {
  const { contents, encoding } = reader.expect(TAG.SEQUENCE, what);
  const sets = new DerReader(contents);
  let text = '';
  let commonName = '';
  while (!sets.done) {
    const set = sets.enter(TAG.SET, what);
    while (!set.done) {
      const pair = set.enter(TAG.SEQUENCE, what);
      const oid = oidText(pair.expect(TAG.OID, what).contents);
      const value = pair.any();
      pair.end(what);
      const string = stringValue(value.tag, value.contents);
      if (oid === '2.5.4.3') commonName = string;
      text += `${text === '' ? '' : ', '}${ATTRIBUTE_NAMES[oid] ?? oid}=${string}`;
    }
  }
  return { encoding, text, commonName };
}

/** Reads Extensions (the SEQUENCE OF inside the explicit tag). @throws AttestError, also for an extension given twice */
export function parseExtensions(reader: DerReader): Map<string, Extension> {
  const list = reader.enter(TAG.SEQUENCE, 'the extension list');
  const extensions = new Map<string, Extension>();
  while (!list.done) {
    const item = list.enter(TAG.SEQUENCE, 'an extension');
    const oid = oidText(item.expect(TAG.OID, 'an extension').contents);
    const flag = item.optional(TAG.BOOLEAN);
    const critical = flag !== null && booleanValue(flag.contents, 'a criticality');
    if (flag !== null && !critical) derFailure('a default criticality is encoded');
    const value = item.expect(TAG.OCTET_STRING, `extension ${oid}`).contents;
    item.end(`extension ${oid}`);
    if (extensions.has(oid)) derFailure(`extension ${oid} appears twice`);
    extensions.set(oid, { critical, value });
  }
  return extensions;
}

function basicConstraints(extension: Extension | undefined): number | null {
  if (extension === undefined) return null;
  const outer = new DerReader(extension.value);
  const body = outer.enter(TAG.SEQUENCE, 'basicConstraints');
  outer.end('basicConstraints');
  const flag = body.optional(TAG.BOOLEAN);
  const isCa = flag !== null && booleanValue(flag.contents, 'basicConstraints');
  const length = body.optional(TAG.INTEGER);
  body.end('basicConstraints');
  if (!isCa) {
    if (length !== null) derFailure('basicConstraints limits the path of an end entity');
    return null;
  }
  return length === null ? Number.POSITIVE_INFINITY : smallInteger(length.contents, 'pathLenConstraint');
}

function keyUsage(extension: Extension | undefined): Certificate['keyUsage'] {
  if (extension === undefined) return null;
  const reader = new DerReader(extension.value);
  const bits = reader.expect(TAG.BIT_STRING, 'keyUsage').contents;
  reader.end('keyUsage');
  if (bits.length < 1 || bits.length > 3 || bits[0]! > 7) derFailure('keyUsage is no bit string');
  const first = bits[1] ?? 0;
  return { certSign: (first & 0x04) !== 0, crlSign: (first & 0x02) !== 0 };
}

/**
 * Decodes one DER certificate, which must fill `der` exactly.
 * @throws AttestError CERTIFICATE_MALFORMED
 */
export function parseCertificate(der: Uint8Array): Certificate {
  if (der.length > MAX_CERTIFICATE_BYTES) {
    derFailure(`a certificate of ${der.length} bytes exceeds the limit of ${MAX_CERTIFICATE_BYTES}`);
  }
  const copy = copyBytes(der);
  const top = new DerReader(copy);
  const outer = top.enter(TAG.SEQUENCE, 'the certificate');
  top.end('the certificate');
  const tbs = outer.expect(TAG.SEQUENCE, 'the signed part');
  const outerAlgorithm = outer.expect(TAG.SEQUENCE, 'the signature algorithm').encoding;
  const signature = wholeBits(outer.expect(TAG.BIT_STRING, 'the signature').contents, 'the signature');
  outer.end('the certificate');

  const body = new DerReader(tbs.contents);
  const version = body.enter(0xa0, 'the version');
  if (smallInteger(version.expect(TAG.INTEGER, 'the version').contents, 'the version') !== 2) {
    derFailure('the certificate is not of version 3');
  }
  version.end('the version');
  const serial = unsignedInteger(body.expect(TAG.INTEGER, 'the serial number').contents, 'the serial number');
  if (serial.length > 20) derFailure('the serial number exceeds 20 bytes');
  const innerAlgorithm = body.expect(TAG.SEQUENCE, 'the inner signature algorithm').encoding;
  if (!sameBytes(innerAlgorithm, outerAlgorithm)) derFailure('the two signature algorithms differ');
  const issuer = parseName(body, 'the issuer');
  const validity = body.enter(TAG.SEQUENCE, 'the validity');
  const notBefore = timeValue(validity.any(), 'notBefore');
  const notAfter = timeValue(validity.any(), 'notAfter');
  validity.end('the validity');
  const subject = parseName(body, 'the subject');
  const publicKey = parsePublicKey(body.expect(TAG.SEQUENCE, 'the public key').encoding);
  const explicit = body.enter(0xa3, 'the extensions');
  body.end('the signed part');
  const extensions = parseExtensions(explicit);
  explicit.end('the extensions');
  for (const [oid, extension] of extensions) {
    if (extension.critical && !UNDERSTOOD.has(oid)) derFailure(`critical extension ${oid} is not known here`);
  }
  return {
    der: copy,
    tbs: tbs.encoding,
    signatureAlgorithm: signatureAlgorithm(outerAlgorithm),
    signature,
    serial: toHex(serial),
    issuer,
    subject,
    notBefore,
    notAfter,
    publicKey,
    extensions,
    pathLength: basicConstraints(extensions.get('2.5.29.19')),
    keyUsage: keyUsage(extensions.get('2.5.29.15')),
  };
}
