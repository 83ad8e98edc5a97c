/**
 * The arithmetic under the checks, behind one synchronous interface: node:crypto where there is Node, plain
 * JavaScript elsewhere (a page on plain http has no WebCrypto). Which one is the default is the import map's
 * choice (`#platform-crypto` in package.json), so that a bundle for the web holds nothing of Node.
 */
import { platformCrypto } from '#platform-crypto';

/** SHA-2 digests in use. */
export type HashName = 'SHA-256' | 'SHA-384' | 'SHA-512';

/** A curve in use. */
export type Curve = 'P-256' | 'P-384';

/** An elliptic curve key; `point` is 0x04 ‖ X ‖ Y and may lie anywhere until a provider has looked. */
export interface EcKey {
  readonly curve: Curve;
  readonly point: Uint8Array;
}

/** An RSA key, most significant byte first. */
export interface RsaKey {
  readonly modulus: Uint8Array;
  readonly exponent: Uint8Array;
}

/** What a provider does. Nothing here throws for hostile keys or signatures: they are not good. */
export interface CryptoProvider {
  readonly name: string;
  digest(hash: HashName, data: Uint8Array): Uint8Array;
  /** ECDSA (FIPS 186-5) with `signature` = r ‖ s; false also for a point that is not on the curve. */
  verifyEcdsa(key: EcKey, hash: 'SHA-256' | 'SHA-384', signature: Uint8Array, data: Uint8Array): boolean;
  /** RSASSA-PSS (RFC 8017 §8.1.2) with SHA-384, MGF1 of SHA-384 and 48 bytes of salt. */
  verifyRsaPss(key: RsaKey, signature: Uint8Array, data: Uint8Array): boolean;
}

let current: CryptoProvider = platformCrypto;

/** The provider in use. */
export function crypto(): CryptoProvider {
  return current;
}

/** Uses `provider` from now on; null goes back to the platform's own. */
export function useCrypto(provider: CryptoProvider | null): void {
  current = provider ?? platformCrypto;
}
