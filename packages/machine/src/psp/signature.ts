/** ECDSA P-384 values as SNP structures hold them: little endian, zero extended to 72 bytes. */

/** The low `length` bytes of a little-endian number, big endian. */
export function littleEndianToFixed(b: Uint8Array, length: number): Uint8Array {
  return Uint8Array.from(b.subarray(0, length)).reverse();
}

/** A big-endian number as 72 little-endian bytes. */
export function fixedToLittleEndian(b: Uint8Array): Uint8Array {
  const out = new Uint8Array(72);
  out.set(Uint8Array.from(b).reverse());
  return out;
}
