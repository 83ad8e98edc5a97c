/** RSASSA-PSS verification (RFC 8017 §8.1.2 and §9.1.2) with SHA-384 throughout and 48 bytes of salt. */
import { sha384 } from '@noble/hashes/sha2.js';
import { concatBytes, sameBytes, toHex } from '../bytes.js';
import type { RsaKey } from './provider.js';

const HASH_BYTES = 48;
const SALT_BYTES = 48;
const EXPONENT_BITS = 64;

const toInteger = (bytes: Uint8Array): bigint => (bytes.length === 0 ? 0n : BigInt(`0x${toHex(bytes)}`));

function toBytes(value: bigint, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  const text = value.toString(16).padStart(2 * length, '0');
  for (let i = 0; i < length; i++) bytes[i] = Number.parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

function power(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n;
  let square = base % modulus;
  for (let rest = exponent; rest > 0n; rest >>= 1n) {
    if (rest & 1n) result = (result * square) % modulus;
    square = (square * square) % modulus;
  }
  return result;
}

/** MGF1 (RFC 8017 §B.2.1). */
function mask(seed: Uint8Array, length: number): Uint8Array {
  const out = new Uint8Array(length);
  for (let counter = 0, at = 0; at < length; counter++, at += HASH_BYTES) {
    const block = sha384(concatBytes(seed, toBytes(BigInt(counter), 4)));
    out.set(block.subarray(0, Math.min(HASH_BYTES, length - at)), at);
  }
  return out;
}

/** True when `signature` is one of `data` under `key`. */
export function verifyPss(key: RsaKey, signature: Uint8Array, data: Uint8Array): boolean {
  const modulus = toInteger(key.modulus);
  const exponent = toInteger(key.exponent);
  const bits = modulus.toString(2).length;
  const value = toInteger(signature);
  if (signature.length !== Math.ceil(bits / 8) || value >= modulus) return false;
  // A long exponent would only cost time: no authority in use has one.
  if ((modulus & 1n) === 0n || exponent < 3n || exponent.toString(2).length > EXPONENT_BITS) return false;
  const length = Math.ceil((bits - 1) / 8);
  const encoded = power(value, exponent, modulus);
  if (encoded >> BigInt(8 * length) !== 0n || length < HASH_BYTES + SALT_BYTES + 2) return false;
  const message = toBytes(encoded, length);
  if (message[length - 1] !== 0xbc) return false;
  const split = length - HASH_BYTES - 1;
  const hash = message.subarray(split, length - 1);
  const block = message.slice(0, split);
  const unused = 8 * length - (bits - 1);
  if (block[0]! >> (8 - unused) !== 0) return false;
  const generated = mask(hash, split);
  for (let i = 0; i < split; i++) block[i]! ^= generated[i]!;
  block[0]! &= 0xff >> unused;
  const padding = split - SALT_BYTES - 1;
  for (let i = 0; i < padding; i++) if (block[i] !== 0) return false;
  if (block[padding] !== 1) return false;
  const salt = block.subarray(padding + 1);
  return sameBytes(sha384(concatBytes(new Uint8Array(8), sha384(data), salt)), hash);
}
