/** Certificate revocation lists (RFC 5280 §5), version 2, complete (no delta). */
import { copyBytes, sameBytes, toHex } from '../bytes.js';
import { AttestError } from '../errors.js';
import { type Certificate, type Name, parseExtensions, parseName } from './certificate.js';
import { certificateLabel, timeText } from './chain.js';
import { DerReader, derFailure, smallInteger, TAG, timeValue, unsignedInteger, wholeBits } from './der.js';
import { type SignatureAlgorithm, signatureAlgorithm } from './keys.js';
import { verifyAuthority } from './remembered.js';

/** Largest list that is read, in bytes. */
export const MAX_CRL_BYTES = 4 * 1024 * 1024;

/** A decoded list; not verified yet. */
export interface RevocationList {
  readonly tbs: Uint8Array;
  readonly signatureAlgorithm: SignatureAlgorithm;
  readonly signature: Uint8Array;
  readonly issuer: Name;
  readonly thisUpdate: number;
  readonly nextUpdate: number | null;
  /** Revoked serial numbers, hexadecimal. */
  readonly serials: ReadonlySet<string>;
  /** Object identifiers of the list's extensions. */
  readonly extensions: ReadonlySet<string>;
}

/** Extensions of a list or entry that may be critical here. */
const UNDERSTOOD_CRITICAL = new Set<string>(['2.5.29.20', '2.5.29.21']);

function knownExtensions(reader: DerReader): Set<string> {
  const extensions = parseExtensions(reader);
  for (const [oid, extension] of extensions) {
    if (extension.critical && !UNDERSTOOD_CRITICAL.has(oid)) {
      derFailure(`critical extension ${oid} of the revocation list is not known here`);
    }
  }
  return new Set(extensions.keys());
}

/** Decodes one DER list. @throws AttestError */
export function parseRevocationList(der: Uint8Array): RevocationList {
  if (der.length > MAX_CRL_BYTES) {
    throw new AttestError(
      'COLLATERAL_MALFORMED',
      `The revocation list has ${der.length} bytes; ${MAX_CRL_BYTES} is the limit.`,
    );
  }
  const top = new DerReader(copyBytes(der));
  const outer = top.enter(TAG.SEQUENCE, 'the revocation list');
  top.end('the revocation list');
  const tbs = outer.expect(TAG.SEQUENCE, 'the signed part');
  const outerAlgorithm = outer.expect(TAG.SEQUENCE, 'the signature algorithm').encoding;
  const signature = wholeBits(outer.expect(TAG.BIT_STRING, 'the signature').contents, 'the signature');
  outer.end('the revocation list');
  const body = new DerReader(tbs.contents);
  const version = body.expect(TAG.INTEGER, 'the version of the revocation list');
  if (smallInteger(version.contents, 'the version') !== 1)
    derFailure('the revocation list is not of version 2');
  const inner = body.expect(TAG.SEQUENCE, 'the inner signature algorithm').encoding;
  if (!sameBytes(inner, outerAlgorithm)) derFailure('the two signature algorithms differ');
  const issuer = parseName(body, 'the issuer');
  const thisUpdate = timeValue(body.any(), 'thisUpdate');
  const isTime = body.peek() === TAG.UTC_TIME || body.peek() === TAG.GENERALIZED_TIME;
  const nextUpdate = isTime ? timeValue(body.any(), 'nextUpdate') : null;
  const serials = new Set<string>();
  const list = body.optional(TAG.SEQUENCE);
  if (list !== null) {
    const entries = new DerReader(list.contents);
    while (!entries.done) {
      const entry = entries.enter(TAG.SEQUENCE, 'a revoked certificate');
      const serial = entry.expect(TAG.INTEGER, 'a revoked serial number').contents;
      serials.add(toHex(unsignedInteger(serial, 'a revoked serial number')));
      timeValue(entry.any(), 'a revocation date');
      if (!entry.done) knownExtensions(entry);
      entry.end('a revoked certificate');
    }
  }
  let extensions = new Set<string>();
  if (!body.done) {
    const explicit = body.enter(0xa0, 'the extensions of the revocation list');
    extensions = knownExtensions(explicit);
    explicit.end('the extensions of the revocation list');
  }
  body.end('the revocation list');
  return {
    tbs: tbs.encoding,
    signatureAlgorithm: signatureAlgorithm(outerAlgorithm),
    signature,
    issuer,
    thisUpdate,
    nextUpdate,
    serials,
    extensions,
  };
}

/** Why `list` is not one that `issuer` made, or null. */
export function revocationIssuerFault(list: RevocationList, issuer: Certificate): string | null {
  const label = certificateLabel(issuer);
  if (!sameBytes(list.issuer.encoding, issuer.subject.encoding)) {
    return `the revocation list is by '${list.issuer.commonName}', not by ${label}`;
  }
  if (issuer.keyUsage !== null && !issuer.keyUsage.crlSign) {
    return `the key usage of ${label} does not allow it to sign revocation lists`;
  }
  if (!verifyAuthority(issuer.publicKey, list.signatureAlgorithm, list.signature, list.tbs)) {
    return `the signature on the revocation list is not by the key of ${label}`;
  }
  return null;
}

/** Why `list` is not current at `time` (milliseconds since 1970), or null. */
export function revocationTimeFault(list: RevocationList, time: number): string | null {
  if (time < list.thisUpdate) {
    return `the revocation list of '${list.issuer.commonName}' is of ${timeText(list.thisUpdate)}, after the time of verification ${timeText(time)}`;
  }
  if (list.nextUpdate !== null && time > list.nextUpdate) {
    return `the revocation list of '${list.issuer.commonName}' was to be replaced at ${timeText(list.nextUpdate)}, before the time of verification ${timeText(time)}`;
  }
  return null;
}

/** Why `list` cannot be relied on at `time` as issued by `issuer`, or null. */
export function revocationListFault(list: RevocationList, issuer: Certificate, time: number): string | null {
  return revocationIssuerFault(list, issuer) ?? revocationTimeFault(list, time);
}
