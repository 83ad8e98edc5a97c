/** The one secret of a key server: its own key and all keys that it gives come of it, so that it can run anywhere. */
import { createECDH, type ECDH, hkdfSync } from 'node:crypto';
import { NsgxError } from '@nestedsgx/arch';

const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const MASTER_BYTES = 32;
const SALT = 'NestedSGX key server v1';

/** A secret of 32 bytes, as they are or as hexadecimal digits. @throws KEY_MASTER_INVALID */
export function readMaster(bytes: Uint8Array): Uint8Array {
  const text = Buffer.from(bytes).toString('latin1').trim();
  const found = /^[0-9a-fA-F]{64}$/.test(text) ? new Uint8Array(Buffer.from(text, 'hex')) : bytes;
  if (found.length !== MASTER_BYTES)
    throw new NsgxError('KEY_MASTER_INVALID', `the master secret has ${found.length} bytes, not 32`, {
      advice: 'Make one with nsgx keyserver --master FILE --new, and keep a copy where it is safe.',
    });
  return found;
}

/** What comes of a master secret. */
export class Master {
  readonly #secret: Uint8Array;
  readonly #key: ECDH = createECDH('prime256v1');

  /** @throws KEY_MASTER_INVALID */
  constructor(secret: Uint8Array) {
    this.#secret = Uint8Array.from(readMaster(secret));
    // 64 bits more than the order has: no remainder is likelier than others.
    const wide = BigInt(`0x${this.#derive('key of the server', 40).toString('hex')}`);
    this.#key.setPrivateKey(((wide % (ORDER - 1n)) + 1n).toString(16).padStart(64, '0'), 'hex');
  }

  /** The server's public key as images name it: a compressed point in hexadecimal digits. */
  get publicKey(): string {
    return this.#key.getPublicKey('hex', 'compressed');
  }

  /** The same as X and Y. */
  get point(): Buffer {
    return this.#key.getPublicKey().subarray(1);
  }

  /** The exchange of the server's key with a point. Throws for what is none. */
  exchange(point: Uint8Array): Buffer {
    return this.#key.computeSecret(Buffer.concat([Buffer.of(4), point]));
  }

  /** The key of a name, 32 bytes. */
  key(name: string): Buffer {
    return this.#derive(`store key ${name}`, 32);
  }

  #derive(info: string, length: number): Buffer {
    return Buffer.from(hkdfSync('sha256', this.#secret, SALT, info, length));
  }
}
