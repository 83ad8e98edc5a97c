/**
 * AES-128-GCM of pages that leave the EPC, under CR_BASE_PK: a random key of this launch, so that nothing evicted outlives
 * the machine. Source: Intel SDM Vol. 3D, "EWB" and "ELDB/ELDU/ELDBC/ELDUC", Operation.
 */
import { createCipheriv, createDecipheriv, createSecretKey, randomFillSync } from 'node:crypto';
import { MonitorError } from '../errors.js';
import { wipe } from '../keys/cmac.js';
import type { PageGcm, PageGcmFactory } from '../ports.js';

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

/** AES-128-GCM by cipher objects of node:crypto, one for each page and way. */
export const nodeGcm: PageGcmFactory = (bytes) => {
  const key = createSecretKey(bytes);
  return {
    seal(iv, additional, page, out, mac) {
      const cipher = createCipheriv(ALGORITHM, key, iv, TAG);
      cipher.setAAD(additional);
      out.set(cipher.update(page));
      cipher.final();
      mac.set(cipher.getAuthTag());
    },
    open(iv, additional, page, out, mac) {
      const decipher = createDecipheriv(ALGORITHM, key, iv, TAG);
      decipher.setAAD(additional);
      decipher.setAuthTag(mac);
      const contents = decipher.update(page);
      try {
        decipher.final();
        out.set(contents);
        return true;
      } catch {
        wipe(out);
        return false;
      } finally {
        wipe(contents);
      }
    },
    close() {},
  };
};

/** Encrypts and opens pages. A version is used for one page only; the caller counts. */
export class PageCipher {
  #gcm: PageGcm;
  readonly #make: PageGcmFactory;
  readonly #entropy: EntropySource;
  readonly #iv = new Uint8Array(12);
  readonly #ivView = new DataView(this.#iv.buffer);

  /** Throws MONITOR_CONFIG without entropy. */
  constructor(entropy: EntropySource = systemEntropy, make: PageGcmFactory = nodeGcm) {
    this.#entropy = entropy;
    this.#make = make;
    const gcm = this.#fresh();
    if (gcm === null) throw new MonitorError('MONITOR_CONFIG', 'there is no randomness for CR_BASE_PK');
    this.#gcm = gcm;
  }

  /** A new key: what was evicted before can never be loaded again. False (nothing changed) without entropy. */
  renew(): boolean {
    const gcm = this.#fresh();
    if (gcm === null) return false;
    this.#gcm.close();
    this.#gcm = gcm;
    return true;
  }

  /** Encrypts a page into `out`; the MAC goes to `mac`. */
  seal(version: number, header: Uint8Array, page: Uint8Array, out: Uint8Array, mac: Uint8Array): void {
    this.#gcm.seal(this.#counter(version), header, page, out, mac);
  }

  /** Decrypts a page into `out`; false (zeros) when header, page, version and MAC do not belong together. */
  open(version: number, header: Uint8Array, page: Uint8Array, out: Uint8Array, mac: Uint8Array): boolean {
    return this.#gcm.open(this.#counter(version), header, page, out, mac);
  }

  /** The 96-bit counter VER << 32, little-endian. */
  #counter(version: number): Uint8Array {
    this.#ivView.setUint32(4, version >>> 0, true);
    this.#ivView.setUint32(8, Math.floor(version / 0x1_0000_0000), true);
    return this.#iv;
  }

  #fresh(): PageGcm | null {
    const bytes = new Uint8Array(16);
    if (!this.#entropy(bytes)) return null;
    const gcm = this.#make(bytes);
    wipe(bytes);
    return gcm;
  }
}
