/** Public keys and signatures: the few algorithms in use, each recognised by its one exact DER encoding. */
import { sha256, sha384, sha512 } from '@noble/hashes/sha2.js';
import { concatBytes, copyBytes, fromHex, sameBytes, toHex } from '../bytes.js';
import { AttestError } from '../errors.js';
import { DerReader, derFailure, TAG, unsignedInteger } from './der.js';

/** A curve with its coordinate length in bytes. */
export type Curve = 'P-256' | 'P-384';

type Crypto = typeof globalThis.crypto;

const COORDINATE_BYTES: Record<Curve, number> = { 'P-256': 32, 'P-384': 48 };

/** SubjectPublicKeyInfo up to and including the 0x04 of an uncompressed point. */
const EC_PREFIX: Record<Curve, Uint8Array<ArrayBuffer>> = {
  'P-256': fromHex('3059301306072a8648ce3d020106082a8648ce3d03010703420004')!,
  'P-384': fromHex('3076301006072a8648ce3d020106052b8104002203620004')!,
};

const RSA_ALGORITHM = fromHex('300d06092a864886f70d0101010500')!;

/** A public key as found in a certificate; `spki` is its exact SubjectPublicKeyInfo. */
export type PublicKey =
  | { readonly kind: 'ec'; readonly curve: Curve; readonly spki: Uint8Array<ArrayBuffer> }
  | { readonly kind: 'rsa'; readonly bits: number; readonly spki: Uint8Array<ArrayBuffer> };

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
  for (const curve of ['P-256', 'P-384'] as const) {
    const prefix = EC_PREFIX[curve];
    if (
      spki.length === prefix.length + 2 * COORDINATE_BYTES[curve] &&
      sameBytes(spki.subarray(0, prefix.length), prefix)
    ) {
      return { kind: 'ec', curve, spki };
    }
  }
  const reader = new DerReader(spki).enter(TAG.SEQUENCE, 'the public key');
  const algorithm = reader.expect(TAG.SEQUENCE, 'the key algorithm').encoding;
  if (!sameBytes(algorithm, RSA_ALGORITHM)) {
    derFailure('the public key is neither P-256, P-384 (uncompressed) nor RSA');
  }
  const bits = reader.expect(TAG.BIT_STRING, 'the key').contents;
  reader.end('the public key');
  if (bits[0] !== 0) derFailure('the RSA key has unused bits');
  const whole = new DerReader(bits.subarray(1));
  const key = whole.enter(TAG.SEQUENCE, 'the RSA key');
  whole.end('the RSA key');
  const modulus = unsignedInteger(key.expect(TAG.INTEGER, 'the modulus').contents, 'the modulus');
  unsignedInteger(key.expect(TAG.INTEGER, 'the exponent').contents, 'the exponent');
  key.end('the RSA key');
  const size = modulus.length * 8;
  if (size < 2048 || size > 8192) derFailure(`an RSA key of ${size} bits is outside 2048 to 8192`);
  return { kind: 'rsa', bits: size, spki };
}

/** SubjectPublicKeyInfo of a P-256 key given as X ‖ Y (64 bytes, big endian), as quotes carry it. */
export function p256Spki(point: Uint8Array): Uint8Array<ArrayBuffer> {
  if (point.length !== 64) throw new AttestError('EVIDENCE_MALFORMED', 'A P-256 point is not 64 bytes long.');
  return concatBytes(EC_PREFIX['P-256'], point);
}

function subtle(): typeof globalThis.crypto.subtle {
  const found = (globalThis as { crypto?: Crypto }).crypto?.subtle;
  if (found !== undefined) return found;
  throw new AttestError('CRYPTO_UNAVAILABLE', 'WebCrypto (crypto.subtle) is not available here.', {
    advice: 'Use Node 20 or newer, or serve the page over https or from localhost.',
  });
}

const HASHES = { 'SHA-256': sha256, 'SHA-384': sha384, 'SHA-512': sha512 } as const;

/** SHA-2 digest, computed here: for inputs of a few KiB a hop to WebCrypto's threads costs more. */
export function digest(algorithm: keyof typeof HASHES, data: Uint8Array): Uint8Array<ArrayBuffer> {
  return copyBytes(HASHES[algorithm](data));
}

type ImportedKey = Awaited<ReturnType<typeof globalThis.crypto.subtle.importKey>>;

/** Keys that WebCrypto has accepted, by SubjectPublicKeyInfo: checking that a point lies on its curve is slow. */
const importedKeys = new Map<string, ImportedKey>();
const IMPORTED_KEYS_LIMIT = 64;

/** @throws what WebCrypto throws for a key that it refuses */
async function importedKey(api: typeof globalThis.crypto.subtle, key: PublicKey): Promise<ImportedKey> {
  const name = toHex(key.spki);
  const known = importedKeys.get(name);
  if (known !== undefined) return known;
  const imported =
    key.kind === 'rsa'
      ? await api.importKey('spki', key.spki, { name: 'RSA-PSS', hash: 'SHA-384' }, false, ['verify'])
      : await api.importKey(
          'raw',
          key.spki.slice(EC_PREFIX[key.curve].length - 1),
          { name: 'ECDSA', namedCurve: key.curve },
          false,
          ['verify'],
        );
  if (importedKeys.size >= IMPORTED_KEYS_LIMIT) importedKeys.clear();
  importedKeys.set(name, imported);
  return imported;
}

/**
 * Verifies an ECDSA signature given as r ‖ s, big endian, each as long as a coordinate.
 * False also when the point is not on the curve.
 */
export async function verifyEcdsa(
  key: PublicKey,
  hash: 'SHA-256' | 'SHA-384',
  signature: Uint8Array,
  data: Uint8Array,
): Promise<boolean> {
  if (key.kind !== 'ec' || signature.length !== 2 * COORDINATE_BYTES[key.curve]) return false;
  const api = subtle();
  try {
    const imported = await importedKey(api, key);
    return await api.verify({ name: 'ECDSA', hash }, imported, copyBytes(signature), copyBytes(data));
  } catch {
    return false;
  }
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
export async function verifySignature(
  key: PublicKey,
  algorithm: SignatureAlgorithm,
  signature: Uint8Array,
  data: Uint8Array,
): Promise<boolean> {
  if (algorithm === 'rsa-pss-sha384') {
    if (key.kind !== 'rsa') return false;
    const api = subtle();
    try {
      const imported = await importedKey(api, key);
      const parameters = { name: 'RSA-PSS', saltLength: 48 };
      return await api.verify(parameters, imported, copyBytes(signature), copyBytes(data));
    } catch {
      return false;
    }
  }
  if (key.kind !== 'ec') return false;
  const raw = rawSignature(signature, key.curve);
  if (raw === null) return false;
  return verifyEcdsa(key, algorithm === 'ecdsa-sha256' ? 'SHA-256' : 'SHA-384', raw, data);
}
