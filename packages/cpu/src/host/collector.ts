import type { CallPool } from '@nestedsgx/os';
import { CpuError } from '../errors.js';
import { type GateLibrary, loadGateLibrary } from './library.js';

const BATCH = 256;
/** How often this thread gives its CPU up for entries that are probably short. */
const YIELDS = 3;

interface Pending {
  gate: number;
  registers: BigUint64Array;
  again: Again | undefined;
  resolve: (kind: number) => void;
  reject: (error: Error) => void;
}

/**
 * Looks at an exit before anybody else: the number of a leaf (EENTER, ERESUME) enters again with the same registers, 0
 * lets the exit through. What it throws rejects the entry.
 */
export type Again = (kind: number) => number;

/** Gives native memory back once nothing can use it: a waiting pool thread keeps its collector reachable. */
const finished = new FinalizationRegistry<number>((handle) => loadGateLibrary().collectorClose(handle));

/**
 * Asynchronous entries of all gates that share a call pool: the event loop's thread publishes each request itself,
 * one thread of the pool waits for all of them, and what is finished comes back in batches.
 */
export class EntryCollector {
  readonly #pool: CallPool;
  readonly #library: GateLibrary;
  readonly #handle: number;
  readonly #pending: (Pending | undefined)[] = [];
  readonly #free: number[] = [];
  readonly #finished = new Uint32Array(BATCH * 2);
  #outstanding = 0;
  #waiting = false;
  #immediate = false;

  constructor(pool: CallPool) {
    this.#pool = pool;
    this.#library = loadGateLibrary();
    this.#handle = this.#library.collectorOpen();
    finished.register(this, this.#handle);
  }

  /** Entries under way. */
  get outstanding(): number {
    return this.#outstanding;
  }

  /**
   * Publishes an entry; resolves with its EXIT_KIND. `registers`: RDI RSI RDX R8 R9 RSP RBP, unchanged until then when
   * `again` may enter with them once more.
   */
  enter(gate: number, fn: number, registers: BigUint64Array, again?: Again): Promise<number> {
    return new Promise((resolve, reject) => {
      const token = this.#free.pop() ?? this.#pending.length;
      this.#pending[token] = { gate, registers, again, resolve, reject };
      const added = this.#library.collectorAdd(this.#handle, gate, token, fn, registers);
      if (added < 0) {
        this.#take(token);
        reject(new CpuError('GATE_BUSY', 'More asynchronous entries are under way than can be waited for.'));
        return;
      }
      this.#outstanding++;
      if (added > 0) this.#soon();
      else this.#wait();
    });
  }

  /** Serves the exits there are, for a caller that blocks the event loop: promises settle later, `again` is asked now. */
  poll(): void {
    if (this.#outstanding > 0) this.#collect(0);
  }

  /** Short entries on this CPU are often over once this thread has given it up: no other thread is woken for them. */
  #soon(): void {
    if (this.#waiting || this.#immediate) return;
    this.#immediate = true;
    setImmediate(() => {
      this.#immediate = false;
      if (this.#collect(YIELDS) > 0 && this.#outstanding > 0) this.#soon();
      else this.#wait();
    });
  }

  #wait(): void {
    if (this.#waiting || this.#immediate || this.#outstanding === 0) return;
    this.#waiting = true;
    this.#pool.submit(this.#library.collectorWait, this.#handle).then(
      () => {
        this.#waiting = false;
        this.#collect(0);
        this.#wait();
      },
      (error: Error) => {
        this.#waiting = false;
        for (let token = 0; token < this.#pending.length; token++) this.#take(token)?.reject(error);
        this.#outstanding = 0;
      },
    );
  }

  #collect(yieldFirst: number): number {
    for (let taken = 0; ; yieldFirst = 0) {
      const count = this.#library.collectorTake(this.#handle, this.#finished, BATCH, yieldFirst);
      taken += count;
      for (let i = 0; i < count; i++) {
        this.#finish(this.#finished[i * 2]!, this.#finished[i * 2 + 1]!);
      }
      if (count < BATCH) return taken;
    }
  }

  #finish(token: number, kind: number): void {
    const pending = this.#pending[token];
    try {
      const fn = pending?.again?.(kind) ?? 0;
      if (
        pending !== undefined &&
        fn !== 0 &&
        this.#library.collectorAdd(this.#handle, pending.gate, token, fn, pending.registers) >= 0
      )
        return;
      this.#outstanding--;
      this.#take(token)?.resolve(kind);
    } catch (error) {
      this.#outstanding--;
      this.#take(token)?.reject(error as Error);
    }
  }

  #take(token: number): Pending | undefined {
    const pending = this.#pending[token];
    if (!pending) return undefined;
    this.#pending[token] = undefined;
    this.#free.push(token);
    return pending;
  }
}

const collectors = new WeakMap<CallPool, EntryCollector>();

/** The collector that belongs to a pool. */
export function collectorOf(pool: CallPool): EntryCollector {
  let collector = collectors.get(pool);
  if (!collector) {
    collector = new EntryCollector(pool);
    collectors.set(pool, collector);
  }
  return collector;
}
