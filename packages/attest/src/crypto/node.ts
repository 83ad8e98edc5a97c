/** {@link CryptoProvider} over node:crypto (OpenSSL). */
import { constants, createPublicKey, hash, type KeyObject, verify } from 'node:crypto';
import type { CryptoProvider, EcKey, HashName, RsaKey } from './provider.js';
import { ecSpki } from './spki.js';

const NAMES: Record<HashName, string> = { 'SHA-256': 'sha256', 'SHA-384': 'sha384', 'SHA-512': 'sha512' };

/**
 * Keys that OpenSSL has accepted, by value, the oldest dropped first. Importing one costs as much as
 * verifying with it, and the same few come again and again.
 */
const imported = new Map<string, KeyObject>();
const IMPORTED_LIMIT = 128;

function remembered(name: string, make: () => KeyObject): KeyObject {
  const known = imported.get(name);
  if (known !== undefined) return known;
  const key = make();
  if (imported.size >= IMPORTED_LIMIT) imported.delete(imported.keys().next().value!);
  imported.set(name, key);
  return key;
}

const view = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** OpenSSL takes P-256 faster as JWK and P-384 faster as SubjectPublicKeyInfo. @throws for a point off the curve */
function ecKey({ curve, point }: EcKey): KeyObject {
  const bytes = view(point);
  return remembered(bytes.toString('latin1'), () => {
    if (curve === 'P-384')
      return createPublicKey({ key: view(ecSpki(curve, point)), format: 'der', type: 'spki' });
    const half = (point.length - 1) / 2;
    const x = bytes.toString('base64url', 1, 1 + half);
    const y = bytes.toString('base64url', 1 + half);
    return createPublicKey({ key: { kty: 'EC', crv: curve, x, y }, format: 'jwk' });
  });
}

function rsaKey({ modulus, exponent }: RsaKey): KeyObject {
  const [n, e] = [view(modulus).toString('base64url'), view(exponent).toString('base64url')];
  return remembered(`${n}.${e}`, () => createPublicKey({ key: { kty: 'RSA', n, e }, format: 'jwk' }));
}

/** OpenSSL, as Node carries it. */
export const nodeCrypto: CryptoProvider = Object.freeze({
  name: 'node',
  digest: (name: HashName, data: Uint8Array) => hash(NAMES[name], data, 'buffer'),
  verifyEcdsa(key: EcKey, name: 'SHA-256' | 'SHA-384', signature: Uint8Array, data: Uint8Array): boolean {
    try {
      return verify(NAMES[name], data, { key: ecKey(key), dsaEncoding: 'ieee-p1363' }, signature);
    } catch {
      return false;
    }
  },
  verifyRsaPss(key: RsaKey, signature: Uint8Array, data: Uint8Array): boolean {
    try {
      const options = { key: rsaKey(key), padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 48 };
      return verify('sha384', data, options, signature);
    } catch {
      return false;
    }
  },
});

export { nodeCrypto as platformCrypto };
