/** SHA-2 in plain JavaScript, for browsers and other engines without node:crypto. */
import { sha256, sha384, sha512 } from '@noble/hashes/sha2.js';
import type { HashProvider, IncrementalHash } from './provider.js';

/** What this file uses of a noble hash object. */
interface NobleState {
  update(b: Uint8Array): unknown;
  digest(): Uint8Array;
  clone(): NobleState;
}

class NobleHash implements IncrementalHash {
  readonly #state: NobleState;
  constructor(state: NobleState) {
    this.#state = state;
  }
  update(b: Uint8Array): this {
    this.#state.update(b);
    return this;
  }
  digest(): Uint8Array {
    return this.#state.digest();
  }
  copy(): IncrementalHash {
    return new NobleHash(this.#state.clone());
  }
}

/** {@link HashProvider} over `@noble/hashes`. */
export const nobleHash: HashProvider = Object.freeze({
  sha256: () => new NobleHash(sha256.create()),
  sha384: () => new NobleHash(sha384.create()),
  sha512: () => new NobleHash(sha512.create()),
});
