/**
 * AES-128-CMAC (NIST SP 800-38B, RFC 4493) over node:crypto's AES-CBC: one cipher object per key. A CBC object
 * goes on chaining, so the first block of a message is XORed with the last ciphertext block it gave; that makes
 * one object good for any number of messages, and the key schedule is set up once.
 */
import { type Cipher, createCipheriv, timingSafeEqual } from 'node:crypto';

const BLOCK = 16;
const ZERO = new Uint8Array(BLOCK);

/** A CMAC key. `key` is 16 bytes and may be wiped by the caller after construction. */
export class CmacKey {
  readonly #cipher: Cipher;
  /** The last ciphertext block: what CBC will XOR into the next block. */
  readonly #chain = new Uint8Array(BLOCK);
  readonly #k1 = new Uint8Array(BLOCK);
  readonly #k2 = new Uint8Array(BLOCK);
  #buffer = new Uint8Array(512);

  constructor(key: Uint8Array) {
    this.#cipher = createCipheriv('aes-128-cbc', key, ZERO);
    this.#cipher.setAutoPadding(false);
    this.#chain.set(this.#cipher.update(ZERO));
    double(this.#chain, this.#k1);
    double(this.#k1, this.#k2);
  }

  /** The 16-byte tag of `message`. */
  tag(message: Uint8Array): Uint8Array {
    const length = message.length;
    const padded = Math.max(BLOCK, Math.ceil(length / BLOCK) * BLOCK);
    if (this.#buffer.length < padded) this.#buffer = new Uint8Array(padded);
    const work = this.#buffer.subarray(0, padded);
    work.set(message);
    if (length < padded) {
      work.fill(0, length);
      work[length] = 0x80;
    }
    const last = padded - BLOCK;
    const subkey = length === padded ? this.#k1 : this.#k2;
    for (let i = 0; i < BLOCK; i++) {
      work[last + i] ^= subkey[i];
      work[i] ^= this.#chain[i];
    }
    const out = this.#cipher.update(work);
    this.#chain.set(out.subarray(last, padded));
    wipe(work);
    wipe(out);
    return this.#chain.slice();
  }

  /** Wipes what this object holds; the cipher's own schedule is freed with it. */
  destroy(): void {
    wipe(this.#chain);
    wipe(this.#k1);
    wipe(this.#k2);
    wipe(this.#buffer);
  }
}

/** One tag under a key used once. */
export function cmac(key: Uint8Array, message: Uint8Array): Uint8Array {
  const once = new CmacKey(key);
  const tag = once.tag(message);
  once.destroy();
  return tag;
}

/** True when two tags are equal; takes the same time wherever they differ. Tags of different length never are. */
export function tagsEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

/** Overwrites secret bytes. */
export function wipe(bytes: Uint8Array): void {
  bytes.fill(0);
}

/** Multiplication by x in GF(2^128), big endian (SP 800-38B, subkey generation), without a secret branch. */
function double(from: Uint8Array, to: Uint8Array): void {
  const carry = from[0] >>> 7;
  for (let i = 0; i < BLOCK - 1; i++) to[i] = (from[i] << 1) | (from[i + 1] >>> 7);
  to[BLOCK - 1] = (from[BLOCK - 1] << 1) ^ (0x87 & -carry);
}
