/** {@link CryptoProvider} in plain JavaScript, for browsers and other engines without node:crypto. */
import { p256, p384 } from '@noble/curves/nist.js';
import { sha256, sha384, sha512 } from '@noble/hashes/sha2.js';
import type { CryptoProvider, EcKey, HashName, RsaKey } from './provider.js';
import { verifyPss } from './rsa-pss.js';

const HASHES = { 'SHA-256': sha256, 'SHA-384': sha384, 'SHA-512': sha512 } as const;
const CURVES = { 'P-256': p256, 'P-384': p384 } as const;

/** noble's curves and hashes, RSASSA-PSS of our own. */
export const portableCrypto: CryptoProvider = Object.freeze({
  name: 'portable',
  digest: (hash: HashName, data: Uint8Array) => HASHES[hash](data),
  verifyEcdsa(key: EcKey, hash: 'SHA-256' | 'SHA-384', signature: Uint8Array, data: Uint8Array): boolean {
    try {
      // High s is as good as low s here: AMD and Intel sign with either.
      const options = { lowS: false, prehash: false, format: 'compact' } as const;
      return CURVES[key.curve].verify(signature, HASHES[hash](data), key.point, options);
    } catch {
      return false;
    }
  },
  verifyRsaPss: (key: RsaKey, signature: Uint8Array, data: Uint8Array) => verifyPss(key, signature, data),
});

export { portableCrypto as platformCrypto };
