/** Measuring with a second thread: small enclaves are hashed here, large ones by the hash thread. */
import { EnclaveMeasurement, type HashProvider, type IncrementalHash } from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import type { HashingPort, MeasurementPort } from '../ports.js';
import { HashThread, SLOT } from './hash-thread.js';

/** Bytes that are hashed in the monitor's own thread, because waking another one would cost more. */
const LOCAL_BYTES = 4 * SLOT;

/** A {@link HashingPort} whose measurements use one hash thread, started with the first large enclave. */
export class ThreadedHashing implements HashingPort {
  readonly hash: HashProvider = nodeHash;
  #thread: HashThread | null = null;
  readonly #provider: HashProvider = {
    ...nodeHash,
    sha256: () => new ThreadedSha256(() => this.#started()),
  };
  /** Frees hashes of enclaves that went before EINIT. */
  readonly #abandoned = new FinalizationRegistry<number>((id) => this.#thread?.free(id));

  measurement(): MeasurementPort {
    return new EnclaveMeasurement(this.#provider);
  }

  /** Ends the thread. Measurements in progress cannot go on. */
  close(): void {
    this.#thread?.close();
    this.#thread = null;
  }

  #started(): { thread: HashThread; abandoned: FinalizationRegistry<number> } {
    this.#thread ??= new HashThread();
    return { thread: this.#thread, abandoned: this.#abandoned };
  }
}

type Started = () => { thread: HashThread; abandoned: FinalizationRegistry<number> };

/** SHA-256 that begins here and moves to the thread when it turns out to be long: the first bytes are kept until then. */
class ThreadedSha256 implements IncrementalHash {
  readonly #start: Started;
  #thread: HashThread | null = null;
  #id = 0;
  #kept = new Uint8Array(64 * 1024);
  #length = 0;

  constructor(start: Started) {
    this.#start = start;
  }

  update(b: Uint8Array): this {
    const capacity = this.#thread === null ? LOCAL_BYTES : SLOT;
    if (this.#length + b.length > capacity) this.#send();
    if (this.#thread !== null && b.length >= SLOT / 2) {
      for (let at = 0; at < b.length; at += SLOT) this.#thread.update(this.#id, b.subarray(at, at + SLOT));
      return this;
    }
    this.#keep(b);
    return this;
  }

  digest(): Uint8Array {
    if (this.#thread === null) return nodeHash.sha256().update(this.#kept.subarray(0, this.#length)).digest();
    this.#send();
    this.#start().abandoned.unregister(this);
    return this.#thread.digest(this.#id);
  }

  copy(): IncrementalHash {
    const other = new ThreadedSha256(this.#start);
    if (this.#thread !== null) {
      this.#send();
      other.#move();
      this.#thread.copy(this.#id, other.#id);
    } else other.#keep(this.#kept.subarray(0, this.#length));
    return other;
  }

  #keep(b: Uint8Array): void {
    const needed = this.#length + b.length;
    if (needed > this.#kept.length) {
      const grown = new Uint8Array(Math.max(needed, this.#kept.length * 2));
      grown.set(this.#kept.subarray(0, this.#length));
      this.#kept = grown;
    }
    this.#kept.set(b, this.#length);
    this.#length = needed;
  }

  /** Gives what is kept to the thread. */
  #send(): void {
    if (this.#thread === null) this.#move();
    for (let at = 0; at < this.#length; at += SLOT)
      this.#thread!.update(this.#id, this.#kept.subarray(at, Math.min(at + SLOT, this.#length)));
    this.#length = 0;
  }

  #move(): void {
    const { thread, abandoned } = this.#start();
    this.#thread = thread;
    this.#id = thread.newId();
    abandoned.register(this, this.#id, this);
  }
}
