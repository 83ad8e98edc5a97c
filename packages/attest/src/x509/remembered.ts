/**
 * Signatures of authorities that were found good. The same few certificates, lists and documents come with every
 * piece of evidence, so that verifying them again would be most of the work. Only good ones are kept, by SHA-256
 * of key, algorithm, signature and data, the oldest dropped first; what a single piece of evidence signs (a quote
 * or a report) is not kept.
 */
import { concatBytes, toHex } from '../bytes.js';
import { crypto } from '../crypto/provider.js';
import { type PublicKey, type SignatureAlgorithm, verifyEcdsa, verifySignature } from './keys.js';

const LIMIT = 1024;
const good = new Set<string>();
let provider = crypto();

/** Forgets every signature: the next ones are verified anew. */
export function forgetSignatures(): void {
  good.clear();
}

function remembered(parts: readonly Uint8Array[], kind: string, verify: () => boolean): boolean {
  // Another provider judges for itself.
  if (provider !== crypto()) {
    forgetSignatures();
    provider = crypto();
  }
  const name = `${kind} ${toHex(provider.digest('SHA-256', concatBytes(...parts)))}`;
  if (good.has(name)) return true;
  if (!verify()) return false;
  if (good.size >= LIMIT) good.delete(good.keys().next().value!);
  good.add(name);
  return true;
}

/** {@link verifySignature} for an authority's signature. Key and signature are DER, so their lengths are in them. */
export function verifyAuthority(
  key: PublicKey,
  algorithm: SignatureAlgorithm,
  signature: Uint8Array,
  data: Uint8Array,
): boolean {
  const verify = () => verifySignature(key, algorithm, signature, data);
  const length = new Uint8Array([signature.length >> 8, signature.length & 0xff]);
  return remembered([key.spki, length, signature, data], algorithm, verify);
}

/** {@link verifyEcdsa} with SHA-256 for an authority's signature r ‖ s of 64 bytes. */
export function verifyAuthorityP256(key: PublicKey, signature: Uint8Array, data: Uint8Array): boolean {
  if (signature.length !== 64) return false;
  const verify = () => verifyEcdsa(key, 'SHA-256', signature, data);
  return remembered([key.spki, signature, data], 'raw', verify);
}
