/** One thread of an enclave kept by its host for several calls. */
import { sdkError } from '../../errors.js';
import type { AsyncCalls } from '../intel-enclave.js';
import type { IntelThread } from '../intel-thread.js';

/** Runs a synchronous call on a thread. */
export type RunOn = <T>(body: (thread: IntelThread) => T) => T;
/** Runs an asynchronous call on a thread. */
export type RunOnAsync = <T>(body: (thread: IntelThread) => Promise<T>) => Promise<T>;

/** What the enclave does for it. */
export interface BoundThreadOwner {
  /** Throws when no call may start. */
  usable(): void;
  readonly run: RunOn;
  readonly runAsync: RunOnAsync;
  /** ECALLs by name over these. */
  functions(run: RunOn, runAsync: RunOnAsync): { sync: object; async: object };
  /** Takes the thread back. */
  give(): void;
}

/** A thread that only its holder's calls enter. Made by `IntelEnclave.bindThread`. */
export class BoundThread<Ecalls> implements Disposable {
  /** ECALLs by name, synchronous; not while an asynchronous call of this thread is under way. */
  readonly ecalls: Readonly<Ecalls>;
  /** ECALLs by name, as promises; they follow one another. */
  readonly async: AsyncCalls<Ecalls>;
  readonly #owner: BoundThreadOwner;
  /** Settles when the asynchronous calls so far are over. */
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #inside = 0;
  #released = false;
  #given = false;

  /** Not for direct use. */
  constructor(owner: BoundThreadOwner) {
    this.#owner = owner;
    const { sync, async } = owner.functions(
      (body) => this.#run(body),
      (body) => this.#runAsync(body),
    );
    this.ecalls = sync as Readonly<Ecalls>;
    this.async = async as AsyncCalls<Ecalls>;
  }

  /** Gives the thread back, once its calls are over. Harmless when repeated. */
  release(): void {
    this.#released = true;
    if (this.#given || this.#waiting > 0 || this.#inside > 0) return;
    this.#given = true;
    this.#owner.give();
  }

  [Symbol.dispose](): void {
    this.release();
  }

  #run<T>(body: (thread: IntelThread) => T): T {
    this.#check();
    if (this.#waiting > 0)
      throw sdkError(
        'TCS_EXHAUSTED',
        'the thread is inside an asynchronous call',
        'await it first, or call through async, which waits for it',
      );
    this.#inside++;
    try {
      return this.#owner.run(body);
    } finally {
      this.#inside--;
      if (this.#released) this.release();
    }
  }

  async #runAsync<T>(body: (thread: IntelThread) => Promise<T>): Promise<T> {
    this.#check();
    if (this.#inside > 0)
      throw sdkError(
        'TCS_EXHAUSTED',
        'the thread is inside a synchronous call',
        'call synchronously in its OCALL handlers, or through the enclave',
      );
    this.#waiting++;
    const before = this.#last;
    const call = before.then(() => this.#owner.runAsync(body));
    this.#last = call.then(
      () => this.#over(),
      () => this.#over(),
    );
    return await call;
  }

  #over(): void {
    this.#waiting--;
    if (this.#released) this.release();
  }

  #check(): void {
    this.#owner.usable();
    if (this.#released)
      throw sdkError('TCS_EXHAUSTED', 'the thread has been released', 'bind one again: e.bindThread()');
  }
}
