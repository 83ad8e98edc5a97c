/** SubjectPublicKeyInfo of elliptic curve keys: one exact encoding per curve. */
import { concatBytes, fromHex, sameBytes } from '../bytes.js';
import type { Curve } from './provider.js';

/** Length of a coordinate, in bytes. */
export const COORDINATE_BYTES: Readonly<Record<Curve, number>> = Object.freeze({ 'P-256': 32, 'P-384': 48 });

/** Everything before the uncompressed point. */
const PREFIX: Readonly<Record<Curve, Uint8Array<ArrayBuffer>>> = Object.freeze({
  'P-256': fromHex('3059301306072a8648ce3d020106082a8648ce3d030107034200')!,
  'P-384': fromHex('3076301006072a8648ce3d020106052b81040022036200')!,
});

/** The encoding around `point` (0x04 ‖ X ‖ Y). */
export function ecSpki(curve: Curve, point: Uint8Array): Uint8Array<ArrayBuffer> {
  return concatBytes(PREFIX[curve], point);
}

/** Curve and point of an encoding, or null when it is not exactly that of an uncompressed P-256 or P-384 key. */
export function readEcSpki(spki: Uint8Array): { curve: Curve; point: Uint8Array } | null {
  for (const curve of ['P-256', 'P-384'] as const) {
    const prefix = PREFIX[curve];
    if (spki.length !== prefix.length + 1 + 2 * COORDINATE_BYTES[curve]) continue;
    if (!sameBytes(spki.subarray(0, prefix.length), prefix) || spki[prefix.length] !== 4) return null;
    return { curve, point: spki.subarray(prefix.length) };
  }
  return null;
}
