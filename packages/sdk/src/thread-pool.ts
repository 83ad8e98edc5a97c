/** The free threads of an enclave, and those who wait for one, first come first served. */
import { sdkError } from './errors.js';

interface Waiter<Thread> {
  resolve(thread: Thread): void;
  reject(error: Error): void;
}

/** Deals out threads. Waiters are bounded; nobody overtakes. */
export class ThreadPool<Thread> {
  readonly #free: Thread[];
  readonly #maxWaiting: number;
  #waiting: Waiter<Thread>[] = [];
  #head = 0;
  #size: number;

  constructor(threads: readonly Thread[], maxWaiting: number) {
    this.#size = threads.length;
    this.#free = [...threads].reverse();
    this.#maxWaiting = maxWaiting;
  }

  /** Threads in all. */
  get size(): number {
    return this.#size;
  }

  /** One thread more: for the one who waits longest, if somebody waits. */
  add(thread: Thread): void {
    this.#size++;
    this.give(thread);
  }

  /** Threads that are outside. */
  get free(): number {
    return this.#free.length;
  }

  /** Calls that wait for a thread. */
  get waiting(): number {
    return this.#waiting.length - this.#head;
  }

  /** A free thread at once, or undefined. */
  tryTake(): Thread | undefined {
    return this.#free.pop();
  }

  /** A free thread, or a promise of one. @throws (rejects) TCS_EXHAUSTED when too many wait already */
  take(): Thread | Promise<Thread> {
    const thread = this.#free.pop();
    if (thread !== undefined) return thread;
    if (this.waiting >= this.#maxWaiting)
      return Promise.reject(
        sdkError(
          'TCS_EXHAUSTED',
          `${this.waiting} calls wait for a thread already`,
          'await earlier calls first',
        ),
      );
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  /** Gives a thread back: to the one who waits longest, if somebody waits. */
  give(thread: Thread): void {
    if (this.#head === this.#waiting.length) {
      this.#free.push(thread);
      return;
    }
    const waiter = this.#waiting[this.#head++];
    if (this.#head === this.#waiting.length) {
      this.#waiting = [];
      this.#head = 0;
    } else if (this.#head >= 1024) {
      this.#waiting = this.#waiting.slice(this.#head);
      this.#head = 0;
    }
    waiter.resolve(thread);
  }

  /** Refuses everyone who waits. */
  refuse(error: Error): void {
    const waiting = this.#waiting.slice(this.#head);
    this.#waiting = [];
    this.#head = 0;
    for (const { reject } of waiting) reject(error);
  }
}
