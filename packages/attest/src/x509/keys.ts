/** Public keys and signatures: the few algorithms in use, each recognised by its one exact DER encoding. */
import { copyBytes, toHex } from '../bytes.js';
import { type Curve, crypto, type EcKey, type HashName, type RsaKey } from '../crypto/provider.js';
import { COORDINATE_BYTES, ecSpki, readEcSpki } from '../crypto/spki.js';
import { AttestError } from '../errors.js';
import { DerReader, derFailure, TAG, unsignedInteger } from './der.js';

const RSA_ALGORITHM = '300d06092a864886f70d0101010500';

/** A public key as found in a certificate; `spki` is its exact SubjectPublicKeyInfo. */
export type PublicKey =
  | ({ readonly kind: 'ec'; readonly spki: Uint8Array<ArrayBuffer> } & EcKey)
  | ({ readonly kind: 'rsa'; readonly bits: number; readonly spki: Uint8Array<ArrayBuffer> } & RsaKey);

/** Signature algorithms that a certificate or CRL may use. */
export type SignatureAlgorithm = 'ecdsa-sha256' | 'ecdsa-sha384' | 'rsa-pss-sha384';

const ALGORITHMS: readonly (readonly [string, SignatureAlgorithm])[] = [
  ['300a06082a8648ce3d040302', 'ecdsa-sha256'],
  ['300a06082a8648ce3d040303', 'ecdsa-sha384'],
  [
    '304606092a864886f70d01010a3039a00f300d06096086480165030402020500a11c301a06092a864886f70d010108300d0609' +
      '6086480165030402020500a203020130a303020101',
    'rsa-pss-sha384',
  ],
  [
    '304106092a864886f70d01010a3034a00f300d06096086480165030402020500a11c301a06092a864886f70d010108300d0609' +
      '6086480165030402020500a203020130',
    'rsa-pss-sha384',
  ],
];

/** Names a DER AlgorithmIdentifier. @throws AttestError for any algorithm or encoding not in the table */
export function signatureAlgorithm(encoding: Uint8Array): SignatureAlgorithm {
  const hex = toHex(encoding);
  for (const [known, name] of ALGORITHMS) if (known === hex) return name;
  return derFailure(`signature algorithm ${hex.slice(0, 80)} is not one that AMD, Intel or this system use`);
}

/** Reads a SubjectPublicKeyInfo. @throws AttestError for other algorithms, curves or encodings */
export function parsePublicKey(encoding: Uint8Array): PublicKey {
  const spki = copyBytes(encoding);
  const ec = readEcSpki(spki);
  if (ec !== null) return { kind: 'ec', spki, ...ec };
  const reader = new DerReader(spki).enter(TAG.SEQUENCE, 'the public key');
  const algorithm = reader.expect(TAG.SEQUENCE, 'the key algorithm').encoding;
  if (toHex(algorithm) !== RSA_ALGORITHM) {
    derFailure('the public key is neither P-256, P-384 (uncompressed) nor RSA');
  }
  const bits = reader.expect(TAG.BIT_STRING, 'the key').contents;
  reader.end('the public key');
  if (bits[0] !== 0) derFailure('the RSA key has unused bits');
  const whole = new DerReader(bits.subarray(1));
  const key = whole.enter(TAG.SEQUENCE, 'the RSA key');
  whole.end('the RSA key');
  const modulus = unsignedInteger(key.expect(TAG.INTEGER, 'the modulus').contents, 'the modulus');
  const exponent = unsignedInteger(key.expect(TAG.INTEGER, 'the exponent').contents, 'the exponent');
  key.end('the RSA key');
  const size = modulus.length * 8;
  if (size < 2048 || size > 8192) derFailure(`an RSA key of ${size} bits is outside 2048 to 8192`);
  return { kind: 'rsa', bits: size, spki, modulus, exponent };
}

/** SubjectPublicKeyInfo of a P-256 key given as X ‖ Y. @throws AttestError EVIDENCE_MALFORMED */
export function p256Spki(coordinates: Uint8Array): Uint8Array<ArrayBuffer> {
  return p256Key(coordinates).spki;
}

/** A P-256 key given as X ‖ Y (64 bytes, big endian), as quotes carry it. @throws AttestError EVIDENCE_MALFORMED */
export function p256Key(coordinates: Uint8Array): PublicKey {
  if (coordinates.length !== 64)
    throw new AttestError('EVIDENCE_MALFORMED', 'A P-256 point is not 64 bytes long.');
  const point = new Uint8Array(65);
  point[0] = 4;
  point.set(coordinates, 1);
  return { kind: 'ec', curve: 'P-256', point, spki: ecSpki('P-256', point) };
}

/** SHA-2 digest. */
export function digest(algorithm: HashName, data: Uint8Array): Uint8Array<ArrayBuffer> {
  return copyBytes(crypto().digest(algorithm, data));
}

/**
 * Verifies an ECDSA signature given as r ‖ s, big endian, each as long as a coordinate.
 * False also when the point is not on the curve.
 */
export function verifyEcdsa(
  key: PublicKey,
  hash: 'SHA-256' | 'SHA-384',
  signature: Uint8Array,
  data: Uint8Array,
): boolean {
  if (key.kind !== 'ec' || signature.length !== 2 * COORDINATE_BYTES[key.curve]) return false;
  return crypto().verifyEcdsa(key, hash, signature, data);
}

/** ECDSA-Sig-Value (RFC 3279) to r ‖ s, or null when it is not strict DER or does not fit the curve. */
function rawSignature(der: Uint8Array, curve: Curve): Uint8Array<ArrayBuffer> | null {
  const size = COORDINATE_BYTES[curve];
  try {
    const top = new DerReader(der);
    const pair = top.enter(TAG.SEQUENCE, 'the signature');
    top.end('the signature');
    const r = unsignedInteger(pair.expect(TAG.INTEGER, 'r').contents, 'r');
    const s = unsignedInteger(pair.expect(TAG.INTEGER, 's').contents, 's');
    pair.end('the signature');
    if (r.length > size || s.length > size) return null;
    const raw = new Uint8Array(2 * size);
    raw.set(r, size - r.length);
    raw.set(s, 2 * size - s.length);
    return raw;
  } catch (error) {
    if (error instanceof AttestError) return null;
    throw error;
  }
}

/** Verifies a signature of a certificate or CRL made with `key`. */
export function verifySignature(
  key: PublicKey,
  algorithm: SignatureAlgorithm,
  signature: Uint8Array,
  data: Uint8Array,
): boolean {
  if (algorithm === 'rsa-pss-sha384') {
    return key.kind === 'rsa' && crypto().verifyRsaPss(key, signature, data);
  }
  if (key.kind !== 'ec') return false;
  const raw = rawSignature(signature, key.curve);
  if (raw === null) return false;
  return verifyEcdsa(key, algorithm === 'ecdsa-sha256' ? 'SHA-256' : 'SHA-384', raw, data);
}
