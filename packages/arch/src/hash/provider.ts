/**
 * The one synchronous interface through which this package hashes, so that it stays pure: node:crypto in
 * Node (`@nestedsgx/arch/node`), noble in a browser (`@nestedsgx/arch/noble`).
 */

/** A running hash (FIPS 180-4). */
export interface IncrementalHash {
  /** Absorbs the bytes and returns itself. */
  update(b: Uint8Array): this;
  /** The digest; the object must not be used afterwards (take a `copy` first to go on). */
  digest(): Uint8Array;
  /** An independent hash in the same state. */
  copy(): IncrementalHash;
}

/** Makes hashes of the SHA-2 family. */
export interface HashProvider {
  sha256(): IncrementalHash;
  sha384(): IncrementalHash;
  sha512(): IncrementalHash;
}
