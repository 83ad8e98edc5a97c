/**
 * AES-128-GCM of pages that leave the EPC, under CR_BASE_PK: a random key of this launch, so that nothing evicted outlives
 * the machine. Source: Intel SDM Vol. 3D, "EWB" and "ELDB/ELDU/ELDBC/ELDUC", Operation.
 */
import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  type KeyObject,
  randomFillSync,
} from 'node:crypto';
import { MonitorError } from '../errors.js';
import { wipe } from '../keys/cmac.js';

const ALGORITHM = 'aes-128-gcm';
/** Bytes of the MAC header, the additional data. */
export const MAC_HEADER_SIZE = 128;
/** Bytes of PCMD.MAC. */
export const MAC_SIZE = 16;
const TAG = Object.freeze({ authTagLength: MAC_SIZE });

/** Fills bytes with randomness; false when there is not enough. */
export type EntropySource = (bytes: Uint8Array) => boolean;

/** The operating system's randomness. */
export const systemEntropy: EntropySource = (bytes) => {
  try {
    randomFillSync(bytes);
    return true;
  } catch {
    return false;
  }
};

/** Encrypts and opens pages. A version is used for one page only; the caller counts. */
export class PageCipher {
  #key: KeyObject;
  readonly #entropy: EntropySource;
  readonly #iv = new Uint8Array(12);
  readonly #ivView = new DataView(this.#iv.buffer);

  /** Throws MONITOR_CONFIG without entropy. */
  constructor(entropy: EntropySource = systemEntropy) {
    this.#entropy = entropy;
    const key = freshKey(entropy);
    if (key === null) throw new MonitorError('MONITOR_CONFIG', 'there is no randomness for CR_BASE_PK');
    this.#key = key;
  }

  /** A new key: what was evicted before can never be loaded again. False (nothing changed) without entropy. */
  renew(): boolean {
    const key = freshKey(this.#entropy);
    if (key === null) return false;
    this.#key = key;
    return true;
  }

  /** Encrypts a page; the MAC goes to `mac` at `macAt`. */
  seal(version: number, header: Uint8Array, page: Uint8Array, mac: Uint8Array, macAt: number): Uint8Array {
    const cipher = createCipheriv(ALGORITHM, this.#key, this.#counter(version), TAG);
    cipher.setAAD(header);
    const out = cipher.update(page);
    cipher.final();
    mac.set(cipher.getAuthTag(), macAt);
    return out;
  }

  /** Decrypts a page; null when header, page, version and MAC do not belong together. */
  open(version: number, header: Uint8Array, page: Uint8Array, mac: Uint8Array): Uint8Array | null {
    const decipher = createDecipheriv(ALGORITHM, this.#key, this.#counter(version), TAG);
    decipher.setAAD(header);
    decipher.setAuthTag(mac);
    const out = decipher.update(page);
    try {
      decipher.final();
      return out;
    } catch {
      wipe(out);
      return null;
    }
  }

  /** The 96-bit counter VER << 32, little-endian. */
  #counter(version: number): Uint8Array {
    this.#ivView.setUint32(4, version >>> 0, true);
    this.#ivView.setUint32(8, Math.floor(version / 0x1_0000_0000), true);
    return this.#iv;
  }
}

function freshKey(entropy: EntropySource): KeyObject | null {
  const bytes = new Uint8Array(16);
  if (!entropy(bytes)) return null;
  const key = createSecretKey(bytes);
  wipe(bytes);
  return key;
}
