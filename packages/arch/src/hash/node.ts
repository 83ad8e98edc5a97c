/** SHA-2 from node:crypto, for Node. */
import { createHash, type Hash } from 'node:crypto';
import type { HashProvider, IncrementalHash } from './provider.js';

class NodeHash implements IncrementalHash {
  readonly #hash: Hash;
  constructor(hash: Hash) {
    this.#hash = hash;
  }
  update(b: Uint8Array): this {
    this.#hash.update(b);
    return this;
  }
  digest(): Uint8Array {
    return new Uint8Array(this.#hash.digest());
  }
  copy(): IncrementalHash {
    return new NodeHash(this.#hash.copy());
  }
}

/** {@link HashProvider} over node:crypto (OpenSSL; uses the CPU's SHA extensions). */
export const nodeHash: HashProvider = Object.freeze({
  sha256: () => new NodeHash(createHash('sha256')),
  sha384: () => new NodeHash(createHash('sha384')),
  sha512: () => new NodeHash(createHash('sha512')),
});
