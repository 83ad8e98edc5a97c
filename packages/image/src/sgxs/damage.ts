/** Damage reports of the SGXS reader and the byte tests it makes them from. */
import { NsgxError } from '@nestedsgx/arch';

/** 0x-prefixed hexadecimal. */
export function hex(n: number): string {
  return `0x${n.toString(16)}`;
}

/** An error about a damaged image. */
export function damaged(code: string, message: string): NsgxError {
  return new NsgxError(code, message, {
    advice: 'Build the image again, or copy it again from where it was built.',
  });
}

/** Whether an 8-byte tag stands at `at`. */
export function hasTag(b: Uint8Array, at: number, tag: Uint8Array): boolean {
  for (let i = 0; i < 8; i++) if (b[at + i] !== tag[i]) return false;
  return true;
}

/** Whether bytes [from, to) are all zero. */
export function isZero(b: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (b[i] !== 0) return false;
  return true;
}
