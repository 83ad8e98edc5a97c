/** Measuring with a second thread: small enclaves are hashed here, large ones by the hash thread. */
import { EnclaveMeasurement, type HashProvider, type IncrementalHash } from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import type { HashingPort, MeasurementPort } from '../ports.js';
import { HashThread, SLOT } from './hash-thread.js';

/** Bytes that are hashed in the monitor's own thread, because waking another one would cost more. */
const LOCAL_BYTES = 4 * SLOT;
/** Bytes that all measurements together keep here; beyond that the thread gets everything at once. */
const KEPT_BYTES = 64 << 20;
const FIRST_BYTES = 4096;

/**
 * Keeps the two threads on different CPUs: left alone, a scheduler that sees them wake one another runs both on one.
 * `apart` comes before bytes go to the thread, `together` after every digest, so before an enclave starts.
 */
export interface ThreadPlacement {
  started(threadId: number): void;
  apart(): void;
  together(): void;
}

/** A {@link HashingPort} whose measurements use one hash thread, started with the first large enclave. */
export class ThreadedHashing implements HashingPort {
  readonly hash: HashProvider = nodeHash;
  readonly #placement: ThreadPlacement | undefined;
  #thread: HashThread | null = null;
  #held = 0;
  #kept = 0;

  constructor(placement?: ThreadPlacement) {
    this.#placement = placement;
  }

  /** Hashes that the thread holds now. */
  get held(): number {
    return this.#held;
  }

  /** Bytes kept outside the thread now. */
  get kept(): number {
    return this.#kept;
  }

  /** A measurement that must be released: the monitor's thread never idles, so nothing would collect its hash. */
  measurement(): MeasurementPort {
    const hashes: ThreadedSha256[] = [];
    const provider: HashProvider = {
      ...nodeHash,
      sha256: () => {
        const hash = new ThreadedSha256(this.#store);
        hashes.push(hash);
        return hash;
      },
    };
    const measurement: MeasurementPort = new EnclaveMeasurement(provider);
    measurement.release = () => {
      for (const hash of hashes.splice(0)) hash.release();
    };
    return measurement;
  }

  /** Ends the thread. Measurements in progress cannot go on. */
  close(): void {
    this.#thread?.close();
    this.#thread = null;
  }

  #start(): HashThread {
    const thread = new HashThread();
    const id = this.#placement === undefined ? null : thread.threadId();
    if (id !== null) this.#placement?.started(id);
    return thread;
  }

  readonly #store: Store = {
    keep: (bytes) => {
      if (bytes > 0 && this.#kept + bytes > KEPT_BYTES) return false;
      this.#kept += bytes;
      return true;
    },
    take: () => {
      this.#thread ??= this.#start();
      this.#held++;
      return { thread: this.#thread, id: this.#thread.newId() };
    },
    working: () => this.#placement?.apart(),
    digested: (onThread) => {
      if (onThread) this.#held--;
      this.#placement?.together();
    },
    free: (id) => {
      this.#held--;
      this.#thread?.free(id);
      this.#placement?.together();
    },
  };
}

const EMPTY = new Uint8Array(0);

/** What all measurements share. */
interface Store {
  /** Accounts for bytes kept here (negative: given back); false when there are too many. */
  keep(bytes: number): boolean;
  take(): { thread: HashThread; id: number };
  working(): void;
  digested(onThread: boolean): void;
  free(id: number): void;
}

/** SHA-256 that begins here and moves to the thread when it turns out to be long: the first bytes are kept until then. */
class ThreadedSha256 implements IncrementalHash {
  readonly #store: Store;
  #thread: HashThread | null = null;
  #id = 0;
  #kept = EMPTY;
  #length = 0;

  constructor(store: Store) {
    this.#store = store;
  }

  update(b: Uint8Array): this {
    const capacity = this.#thread === null ? LOCAL_BYTES : SLOT;
    if (this.#length + b.length > capacity) this.#send();
    if (this.#thread !== null && b.length >= SLOT / 2) {
      // What was kept comes first, also where it would fit one slot with these.
      if (this.#length > 0) this.#send();
      this.#pass(b);
    } else this.#keep(b);
    return this;
  }

  digest(): Uint8Array {
    if (this.#thread === null) {
      const digest = nodeHash.sha256().update(this.#kept.subarray(0, this.#length)).digest();
      this.#forget();
      this.#store.digested(false);
      return digest;
    }
    this.#send();
    this.#forget();
    const digest = this.#thread.digest(this.#id);
    this.#thread = null;
    this.#store.digested(true);
    return digest;
  }

  copy(): IncrementalHash {
    const other = new ThreadedSha256(this.#store);
    if (this.#thread !== null) {
      this.#send();
      other.#move();
      this.#thread.copy(this.#id, other.#id);
    } else other.#keep(this.#kept.subarray(0, this.#length));
    return other;
  }

  /** Forgets everything, here and in the thread. */
  release(): void {
    if (this.#thread !== null) this.#store.free(this.#id);
    this.#thread = null;
    this.#forget();
  }

  #forget(): void {
    this.#store.keep(-this.#kept.length);
    this.#kept = EMPTY;
    this.#length = 0;
  }

  #keep(b: Uint8Array): void {
    const needed = this.#length + b.length;
    if (needed > this.#kept.length) {
      const size = Math.max(needed, this.#kept.length * 2, FIRST_BYTES);
      if (!this.#store.keep(size - this.#kept.length)) {
        this.#send();
        this.#forget();
        this.#pass(b);
        return;
      }
      const grown = new Uint8Array(size);
      grown.set(this.#kept.subarray(0, this.#length));
      this.#kept = grown;
    }
    this.#kept.set(b, this.#length);
    this.#length = needed;
  }

  /** Gives what is kept to the thread. */
  #send(): void {
    if (this.#thread === null) this.#move();
    this.#pass(this.#kept.subarray(0, this.#length));
    this.#length = 0;
  }

  /** Bytes straight to the thread. */
  #pass(b: Uint8Array): void {
    this.#store.working();
    for (let at = 0; at < b.length; at += SLOT) this.#thread!.update(this.#id, b.subarray(at, at + SLOT));
  }

  #move(): void {
    const { thread, id } = this.#store.take();
    this.#thread = thread;
    this.#id = id;
  }
}
