/**
 * A thread that does nothing but SHA-256: the monitor writes runs of bytes into a ring in shared memory and goes
 * on copying pages while they are hashed. Calls are synchronous on the monitor's side; waiting is on futexes.
 */
import { Worker } from 'node:worker_threads';
import { MonitorInvariantError } from '../errors.js';

/** Bytes of one slot of the ring. */
export const SLOT = 256 * 1024;
const SLOTS = 8;
/** Words of the control block. */
const HEAD = 0;
const TAIL = 1;
const ANSWERED = 2;
const THREAD_ID = 3;
const WORDS_PER_SLOT = 3;
const CONTROL_WORDS = 16 + SLOTS * WORDS_PER_SLOT;
/** A thread that has not moved after this many waits of a second is gone. */
const PATIENCE = 10;

/**
 * How often either side looks before it sleeps: for a few slots, since waking a thread on another CPU
 * may take as long as hashing one. Both are busy only while a large enclave loads.
 */
const LOOKS = 300_000;

const OP = Object.freeze({ UPDATE: 1, COPY: 2, DIGEST: 3, FREE: 4 });

/** The thread's program: plain JavaScript, so that it survives bundling as it is. */
const PROGRAM = `
const { createHash } = require('node:crypto');
const { workerData } = require('node:worker_threads');
const { shared, controlBytes, slots, slotBytes, looks } = workerData;
const control = new Int32Array(shared, 0, controlBytes / 4);
const answer = new Uint8Array(shared, controlBytes, 32);
const data = controlBytes + 64;
const hashes = new Map();
control[3] = Number(require('node:fs').readlinkSync('/proc/thread-self').split('/').pop()) || -1;
Atomics.notify(control, 3);
for (let tail = 0; ; ) {
  for (let looked = 0; Atomics.load(control, 0) === tail; )
    if (++looked > looks) Atomics.wait(control, 0, tail);
  const slot = (tail >>> 0) % slots;
  const at = 16 + slot * 3;
  const op = control[at], id = control[at + 1], length = control[at + 2];
  if (op === 1) {
    let hash = hashes.get(id);
    if (hash === undefined) hashes.set(id, (hash = createHash('sha256')));
    hash.update(new Uint8Array(shared, data + slot * slotBytes, length));
  } else if (op === 2) hashes.set(length, hashes.get(id).copy());
  else if (op === 4) hashes.delete(id);
  else {
    answer.set(hashes.get(id).digest());
    hashes.delete(id);
    Atomics.add(control, 2, 1);
    Atomics.notify(control, 2);
  }
  tail = (tail + 1) | 0;
  Atomics.store(control, 1, tail);
  Atomics.notify(control, 1);
}
`;

/** The ring and the thread behind it. Started at once; `close` ends it. */
export class HashThread {
  readonly #worker: Worker;
  readonly #control: Int32Array;
  readonly #answer: Uint8Array;
  readonly #data: Uint8Array;
  #head = 0;
  #answers = 0;
  #nextId = 1;

  constructor() {
    const controlBytes = Math.ceil((CONTROL_WORDS * 4) / 64) * 64;
    const shared = new SharedArrayBuffer(controlBytes + 64 + SLOTS * SLOT);
    this.#control = new Int32Array(shared, 0, controlBytes / 4);
    this.#answer = new Uint8Array(shared, controlBytes, 32);
    this.#data = new Uint8Array(shared, controlBytes + 64);
    this.#worker = new Worker(PROGRAM, {
      eval: true,
      execArgv: [],
      env: {},
      workerData: { shared, controlBytes, slots: SLOTS, slotBytes: SLOT, looks: LOOKS },
    });
    this.#worker.unref();
  }

  /** The kernel's number of the thread, as soon as it runs; null when it does not say. */
  threadId(): number | null {
    Atomics.wait(this.#control, THREAD_ID, 0, 1000);
    const id = this.#control[THREAD_ID];
    return id > 0 ? id : null;
  }

  /** A number for a new hash. */
  newId(): number {
    return this.#nextId++;
  }

  /** Hashes a copy of at most SLOT bytes into hash `id`. */
  update(id: number, bytes: Uint8Array): void {
    const slot = this.#claim();
    this.#data.set(bytes, slot * SLOT);
    this.#publish(slot, OP.UPDATE, id, bytes.length);
  }

  /** Makes hash `to` a copy of `from`. */
  copy(from: number, to: number): void {
    this.#publish(this.#claim(), OP.COPY, from, to);
  }

  /** Forgets a hash. */
  free(id: number): void {
    this.#publish(this.#claim(), OP.FREE, id, 0);
  }

  /** Waits for everything before, and gives the digest; the hash is gone then. */
  digest(id: number): Uint8Array {
    const before = this.#answers++;
    this.#publish(this.#claim(), OP.DIGEST, id, 0);
    this.#wait(ANSWERED, before);
    return this.#answer.slice();
  }

  /** Ends the thread. */
  close(): void {
    void this.#worker.terminate();
  }

  /** Waits for a free slot. */
  #claim(): number {
    const full = (this.#head - SLOTS) | 0;
    if (Atomics.load(this.#control, TAIL) === full) this.#wait(TAIL, full);
    return (this.#head >>> 0) % SLOTS;
  }

  #publish(slot: number, op: number, id: number, length: number): void {
    const at = 16 + slot * WORDS_PER_SLOT;
    this.#control[at] = op;
    this.#control[at + 1] = id;
    this.#control[at + 2] = length;
    this.#head = (this.#head + 1) | 0;
    Atomics.store(this.#control, HEAD, this.#head);
    Atomics.notify(this.#control, HEAD);
  }

  /** Counts waits, not time: a process that was stopped, or slept with its machine, has waited once. */
  #wait(word: number, value: number): void {
    for (let looked = 0, waited = 0; Atomics.load(this.#control, word) === value; ) {
      if (++looked <= LOOKS) continue;
      if (Atomics.wait(this.#control, word, value, 1000) !== 'timed-out') continue;
      if (++waited > PATIENCE) throw new MonitorInvariantError('the hash thread does not answer');
    }
  }
}
