/** Digests of ID and author keys, as reports name them (SEV-SNP ABI, "ID Authentication Information Structure"). */
import { toHex } from '../bytes.js';
import { COORDINATE_BYTES, readEcSpki } from '../crypto/spki.js';
import { AttestError } from '../errors.js';
import { digest } from '../x509/keys.js';

/** A public key as firmware has it: curve, then coordinates of 72 bytes, little endian, then zeros. */
const KEY_BYTES = 0x404;
const CURVE_P384 = 2;
const COORDINATE_OFFSETS = [4, 76] as const;

/**
 * ID_KEY_DIGEST or AUTHOR_KEY_DIGEST of a key, hexadecimal, for the policy's `idKeyDigest` and `authorKeyDigest`.
 * @param spki SubjectPublicKeyInfo of a P-384 key, DER
 * @throws AttestError CERTIFICATE_MALFORMED for any other key
 */
export function snpKeyDigest(spki: Uint8Array): string {
  const key = readEcSpki(spki);
  if (key?.curve !== 'P-384')
    throw new AttestError(
      'CERTIFICATE_MALFORMED',
      'An ID or author key is an uncompressed P-384 key; this is none.',
    );
  const size = COORDINATE_BYTES['P-384'];
  const bytes = new Uint8Array(KEY_BYTES);
  bytes[0] = CURVE_P384;
  COORDINATE_OFFSETS.forEach((offset, i) => {
    bytes.set(key.point.slice(1 + i * size, 1 + (i + 1) * size).reverse(), offset);
  });
  return toHex(digest('SHA-384', bytes));
}
