/** An enclave with a secret that never lay in guest RAM as a whole. */
import { randomBytes } from 'node:crypto';
import type { SgxDevice } from '@nestedsgx/guest';
import { loadVictim, type Victim, type VictimImage } from './victim.js';

/** Bytes of the secret. */
export const SECRET_BYTES = 64;

/** A victim whose added page begins with a secret. */
export interface Vault extends Victim {
  readonly secret: Uint8Array;
  /** Whether the enclave still holds the secret, unchanged: it is asked for it word by word. */
  intact(): boolean;
}

/**
 * Loads the sample that can be told to write its own memory, and lets it write a random secret there, eight bytes a
 * call: no message of the host ever holds more.
 */
export function loadVault(device: SgxDevice, image: VictimImage): Vault {
  return fill(loadVictim(device, image));
}

/** Puts a fresh secret into a victim made from the sample `evil`. */
export function fill(victim: Victim): Vault {
  const secret = new Uint8Array(randomBytes(SECRET_BYTES));
  const words = new BigUint64Array(secret.buffer, secret.byteOffset, SECRET_BYTES / 8);
  words.forEach((word, i) => {
    victim.calls.write_word!(BigInt(victim.address + i * 8), word);
  });
  return {
    ...victim,
    secret,
    intact: () =>
      words.every((word, i) => BigInt(victim.calls.read_word!(BigInt(victim.address + i * 8))) === word),
  };
}

/** Whether `bytes` hold any 16 bytes of the secret in a row (all of a shorter answer counts). */
export function leaks(secret: Uint8Array, bytes: Uint8Array): boolean {
  const hay = Buffer.from(bytes);
  for (let at = 0; at + 16 <= secret.length; at += 8)
    if (hay.indexOf(secret.subarray(at, at + 16)) >= 0) return true;
  return false;
}
