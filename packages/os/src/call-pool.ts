import { check, checkInteger, OsError } from './errors.js';
import { native, type PollHandle, pollReadable, viewOf } from './native.js';

/* Layout of struct completions in native/pool.c. */
const CAPACITY = 65536;
const HEAD_WORD = 0;
const ENTRIES = 128;
const ENTRY = 16;

/** Options of {@link CallPool}. */
export interface CallPoolOptions {
  /**
   * Keep the threads on the CPU of the thread that submits. Right for calls that mostly wait for others: handing
   * over on one CPU takes a fraction of waking another. Default true.
   */
  followCaller?: boolean;
  /** Calls that may be outstanding at once, at most 65,536 (default). */
  maxOutstanding?: number;
}

interface Pending {
  resolve: (value: number) => void;
  reject: (error: Error) => void;
}

function closedError(): OsError {
  return new OsError('CALL_POOL_CLOSED', 'The call pool was closed before this call started.', {
    advice: 'Submit calls before closing what they belong to.',
  });
}

/**
 * Native threads (64 KiB stacks, no signals) that call `int64_t function(void *argument)`, apart from libuv's
 * pool, so that calls which wait for asynchronous JavaScript work cannot starve it. Threads start on demand.
 * Results come in batches through one descriptor, which keeps the event loop alive only while calls are
 * outstanding.
 */
export class CallPool {
  readonly #pool: number;
  readonly #words: Int32Array;
  readonly #values: Float64Array;
  readonly #poll: PollHandle;
  readonly #limit: number;
  readonly #free: number[] = [];
  readonly #waiting: (Pending | undefined)[] = [];
  #outstanding = 0;
  #tail = 0;
  #closed: Promise<void> | undefined;
  #drained: (() => void) | undefined;

  /** @param maxThreads 1 … 256 @throws OsError EINVAL, EMFILE, ENOMEM */
  constructor(maxThreads: number, options: CallPoolOptions = {}) {
    const n = native();
    checkInteger(maxThreads, 'maxThreads', 1, 256);
    this.#limit = checkInteger(options.maxOutstanding ?? CAPACITY, 'maxOutstanding', 1, CAPACITY);
    this.#pool = check(n.poolCreate(maxThreads, options.followCaller === false ? 0 : 1), 'mmap');
    const ring = viewOf(n.poolCompletions(this.#pool), ENTRIES + CAPACITY * ENTRY).buffer;
    this.#words = new Int32Array(ring);
    this.#values = new Float64Array(ring);
    this.#poll = pollReadable(n.poolEvent(this.#pool), () => this.#collect());
    this.#poll.unref();
  }

  /** Calls submitted and not yet settled. */
  get outstanding(): number {
    return this.#outstanding;
  }

  /**
   * Calls the function at `functionAddress` with `argumentAddress` on a thread of the pool. What the argument
   * points to must stay in place until the promise settles. Resolves with the function's result (a number, exact
   * below 2⁵³).
   *
   * @throws (rejects) OsError CALL_QUEUE_FULL, CALL_POOL_CLOSED, EAGAIN (no thread could be started)
   */
  submit(functionAddress: number, argumentAddress: number): Promise<number> {
    return new Promise((resolve, reject) => {
      if (this.#closed) {
        reject(closedError());
        return;
      }
      if (this.#outstanding >= this.#limit) {
        reject(
          new OsError('CALL_QUEUE_FULL', `${this.#limit} native calls are outstanding already.`, {
            advice: 'Wait for some of them before submitting more.',
          }),
        );
        return;
      }
      const id = this.#free.pop() ?? this.#waiting.length;
      this.#waiting[id] = { resolve, reject };
      const r: number = native().poolSubmit(this.#pool, functionAddress, argumentAddress, id);
      if (r < 0) {
        this.#take(id);
        try {
          check(r, 'pthread_create');
        } catch (error) {
          reject(error as Error);
        }
        return;
      }
      if (this.#outstanding++ === 0) this.#poll.ref();
    });
  }

  /**
   * Rejects calls that have not started, waits for those that have, and ends the threads.
   */
  close(): Promise<void> {
    this.#closed ??= this.#shutDown();
    return this.#closed;
  }

  #take(id: number): Pending | undefined {
    const pending = this.#waiting[id];
    this.#waiting[id] = undefined;
    this.#free.push(id);
    return pending;
  }

  #collect(): void {
    native().poolCollect(this.#pool);
    const head = Atomics.load(this.#words, HEAD_WORD);
    while (this.#tail !== head) {
      const at = ENTRIES + ((this.#tail >>> 0) % CAPACITY) * ENTRY;
      const pending = this.#take(this.#words[(at >> 2) + 2]! >>> 0);
      const value = this.#values[at >> 3]!;
      this.#tail = (this.#tail + 1) | 0;
      this.#outstanding--;
      pending?.resolve(value);
    }
    if (this.#outstanding === 0) {
      this.#poll.unref();
      this.#drained?.();
    }
  }

  async #shutDown(): Promise<void> {
    const ids = new Uint32Array(CAPACITY);
    const dropped = check(native().poolStop(this.#pool, ids), 'pool');
    for (let i = 0; i < dropped; i++) {
      this.#outstanding--;
      this.#take(ids[i]!)?.reject(closedError());
    }
    if (this.#outstanding > 0) {
      await new Promise<void>((resolve) => {
        this.#drained = resolve;
      });
    }
    this.#poll.stop();
    this.#poll.close();
    native().poolDestroy(this.#pool);
  }
}
