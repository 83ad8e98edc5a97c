/**
 * The untrusted half of switchless calls. ECALLs are tasks that trusted workers find by themselves; OCALLs are taken by
 * the thread of JavaScript wherever it waits for the enclave, or by the event loop while asynchronous ECALLs are under way.
 */
import {
  EXIT_KIND,
  type GateLibrary,
  loadGateLibrary,
  SWITCHLESS_STATE,
  SWITCHLESS_WAIT,
} from '@nestedsgx/cpu/host';
import type { GuestMemory } from '@nestedsgx/guest';
import { CallPool, viewOf } from '@nestedsgx/os';
import { EnclaveFault, enclaveLost, sdkError } from '../../errors.js';
import type { LineWatch } from '../../gates.js';
import { CallArena } from '../call-arena.js';
import type { EdlDispatch } from '../ocall-dispatch.js';
import { SGX_ERROR_UNEXPECTED, SGX_SUCCESS } from '../ocall-dispatch.js';
import { SgxStatusError } from '../sgx-status.js';
import { SharedLines } from './shared-lines.js';
import type { SwitchlessConfig, WorkerCounts, WorkerEvent, WorkerType } from './switchless-options.js';
import type { TrustedWorker } from './trusted-worker.js';

/** What is needed of a trusted worker. */
export type Worker = Pick<TrustedWorker, 'inside' | 'start' | 'step'> & {
  readonly thread: Pick<TrustedWorker['thread'], 'index' | 'takeFailure'>;
};

/** sgx_error.h */
const SGX_ERROR_INVALID_FUNCTION = 0x1001;
/** How long native code waits before JavaScript looks after everything else, in microseconds. */
const SLICE_US = 1000;
/** Pauses for which the event loop waits for the next OCALL after one, and the most it takes at a time. */
const NEXT_TRIES = 2000;
const MOST_AT_ONCE = 1000;

/** What is known of the call on whose stack an OCALL's structure lies. */
export interface OcallOrigin {
  /** Whether JavaScript waits for that call without running the event loop. */
  readonly blocking: boolean;
  failed(error: Error): void;
}

/** What switchless calls need of their enclave. */
export interface SwitchlessOwner {
  readonly memory: GuestMemory;
  readonly maxMessageBytes: number;
  readonly counters: { ecalls: number; ocalls: number };
  readonly dispatch: EdlDispatch;
  /** Runs OCALL handlers: calls from there need a thread of their own. */
  outside<T>(body: () => T): T;
  /** The call under way that an OCALL's structure belongs to, if any. */
  origin(pointer: number): OcallOrigin | undefined;
  /** Looks after asynchronous entries while the event loop is blocked. */
  poll(): void;
  unusable(error: Error): void;
  ocallFailed(error: Error): void;
  event?: (type: WorkerType, event: WorkerEvent, counts: WorkerCounts) => void;
}

/** Switchless calls of one enclave. */
export class SwitchlessCalls implements LineWatch {
  readonly handle: number;
  readonly config: SwitchlessConfig;
  readonly shared: SharedLines;
  readonly #arena: CallArena;
  readonly #owner: SwitchlessOwner;
  readonly #native: GateLibrary['switchless'];
  readonly #words: Uint32Array;
  readonly #counts: BigUint64Array;
  readonly #workers: Worker[] = [];
  /** Waits of blocking calls inside each other. */
  #blocked = 0;
  /** Asynchronous ECALLs under way. */
  #holders = 0;
  #pool: CallPool | null = null;
  #watching: Promise<void> | null = null;
  #stopped = false;

  /** @throws GUEST_MEMORY_EXHAUSTED, ENCLAVE_BAD_ENTRY without memory */
  constructor(owner: SwitchlessOwner, config: SwitchlessConfig) {
    this.#owner = owner;
    this.config = config;
    this.#native = loadGateLibrary().switchless;
    this.shared = new SharedLines(owner.memory, config);
    this.handle = this.#native.open(this.shared.setup(config));
    if (this.handle === 0) {
      this.shared.free();
      throw sdkError('ENCLAVE_BAD_ENTRY', 'no memory for switchless calls', 'free memory');
    }
    this.#arena = new CallArena(owner.memory, owner.maxMessageBytes);
    const state = viewOf(this.handle, SWITCHLESS_STATE.size);
    this.#words = new Uint32Array(state.buffer, state.byteOffset, 2);
    this.#counts = new BigUint64Array(state.buffer, state.byteOffset, SWITCHLESS_STATE.size / 8);
  }

  /** Sends trusted workers in. */
  start(workers: readonly Worker[]): void {
    for (let i = 0; i < this.config.untrustedWorkers; i++) this.#event('untrusted', 'start');
    for (const worker of workers) {
      this.#workers.push(worker);
      this.#event('trusted', 'start');
      worker.start();
    }
  }

  /** Calls that workers took and calls that became ordinary ones; those of OCALLs are the enclave's claims. */
  stats(): { ecalls: WorkerCounts; ocalls: WorkerCounts } {
    const { ecalls, missed } = SWITCHLESS_STATE;
    return {
      ecalls: { processed: Number(this.#counts[ecalls]), missed: Number(this.#counts[missed]) },
      ocalls: this.shared.ocallCounts(),
    };
  }

  /**
   * Makes an ECALL without a transition; gives its status, or undefined where it must become an ordinary one: nobody
   * took it in time. @throws EnclaveFault, ENCLAVE_LOST and what OCALLs of trusted workers throw
   */
  call(index: number, address: number): number | undefined {
    if (this.#workers.length === 0 || this.#stopped) return undefined;
    const native = this.#native;
    for (const worker of this.#workers) {
      worker.thread.takeFailure();
      if (!worker.inside) worker.start();
    }
    this.#blocked++;
    try {
      let kind = native.call(this.handle, index, address, SLICE_US);
      const line = this.#words[SWITCHLESS_STATE.line];
      for (;;) {
        switch (kind & 0xff) {
          case SWITCHLESS_WAIT.DONE:
            this.#owner.counters.ecalls++;
            return this.#words[SWITCHLESS_STATE.result];
          case SWITCHLESS_WAIT.FALLBACK:
            this.#event('trusted', 'miss');
            return undefined;
          case SWITCHLESS_WAIT.OCALL: {
            const result = this.serve(kind >>> 8);
            if (result >= 0) native.finish(this.handle, kind >>> 8, result);
            break;
          }
          case SWITCHLESS_WAIT.WORKER:
            this.#step(this.#workers[kind >>> 8], false);
            break;
          case EXIT_KIND.NONE:
            this.#owner.poll();
            for (const worker of this.#workers) this.#step(worker, true);
            break;
          default: {
            const lost = enclaveLost('its switchless calls are in disorder');
            this.#owner.unusable(lost);
            throw lost;
          }
        }
        kind = native.await(this.handle, line, SLICE_US);
      }
    } finally {
      this.#blocked--;
    }
  }

  /**
   * Makes an ECALL without a transition, as `IntelThread.call` makes one with it; undefined where nobody took it.
   * @throws SgxStatusError, EnclaveFault, OCALL_FAILED, ENCLAVE_LOST
   */
  ecall<T>(
    marshal: (arena: CallArena) => { index: number; address: bigint; finish(): T },
    what: string,
  ): { value: T } | undefined {
    const mark = this.#arena.mark();
    try {
      const { index, address, finish } = marshal(this.#arena);
      const status = this.call(index, Number(address));
      if (status === undefined) return undefined;
      const failure = this.#failure();
      if (status !== SGX_SUCCESS) this.#refuse(status, what, failure);
      if (failure !== undefined && !(failure instanceof EnclaveFault)) this.#owner.ocallFailed(failure);
      return { value: finish() };
    } finally {
      this.#arena.release(mark);
    }
  }

  #refuse(status: number, what: string, failure: Error | undefined): never {
    if (failure !== undefined && !(failure instanceof EnclaveFault)) throw failure;
    const error = new SgxStatusError(status, what, { cause: failure });
    if (error.statusName === 'SGX_ERROR_ENCLAVE_CRASHED' || error.statusName === 'SGX_ERROR_STACK_OVERRUN')
      this.#owner.unusable(error);
    throw error;
  }

  /** What a trusted worker's OCALLs or exceptions met during an ECALL. */
  #failure(): Error | undefined {
    for (const { thread } of this.#workers) {
      const failure = thread.takeFailure();
      if (failure !== undefined) return failure;
    }
    return undefined;
  }

  /** Answers an OCALL that was accepted; gives its status, or −1 when that follows later. */
  serve(line: number): number {
    const task = this.shared.ocall(line);
    this.#owner.counters.ocalls++;
    if (task === undefined) return SGX_ERROR_INVALID_FUNCTION;
    const { index, pointer } = task;
    try {
      const promise = this.#owner.outside(() => this.#owner.dispatch(index, pointer));
      if (promise === undefined) return SGX_SUCCESS;
      const blocking = this.#owner.origin(pointer)?.blocking ?? this.#blocked > 0;
      const finished = promise.then(
        () => SGX_SUCCESS,
        (error) => (blocking ? SGX_ERROR_UNEXPECTED : this.#failed(pointer, error as Error)),
      );
      if (blocking)
        throw sdkError(
          'OCALL_PROMISE_IN_SYNC_ECALL',
          `the handler of OCALL ${index} returned a promise during a synchronous ECALL`,
          'call the ECALL through e.async, or make the handler synchronous',
        );
      void finished.then((status) => {
        if (!this.#stopped) this.#native.finish(this.handle, line, status);
      });
      return -1;
    } catch (error) {
      return this.#failed(pointer, error as Error);
    }
  }

  /** A blocking wait begins or ends: handlers cannot take their time in it. */
  blocking(by: 1 | -1): void {
    this.#blocked += by;
  }

  /** To be asked with each ordinary OCALL: whether it was meant to be a switchless one. */
  noteOrdinaryOcall(): void {
    if (this.shared.missedOcall()) this.#event('untrusted', 'miss');
  }

  /** An asynchronous ECALL begins: from now on the event loop takes OCALLs. */
  hold(): void {
    if (this.#holders++ === 0) this.#watch();
  }

  /** It has ended. */
  release(): void {
    if (--this.#holders === 0 && this.#watching !== null) this.#native.stop(this.handle, 0);
  }

  /** Asks trusted workers to leave, and waits a while for those that are inside. */
  stop(patienceMs: number, kick: (thread: number) => void): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.shared.stop();
    const start = performance.now();
    let kicked = false;
    const workers = this.#workers.splice(0);
    while (workers.some(({ inside }) => inside)) {
      const waited = performance.now() - start;
      if (waited > 2 * patienceMs) break;
      for (const worker of workers) {
        if (waited > patienceMs && !kicked && worker.inside) kick(worker.thread.index);
        try {
          worker.step(true);
        } catch {
          // Its enclave ends anyway.
        }
      }
      kicked = waited > patienceMs;
    }
    for (const _ of workers) this.#event('trusted', 'exit');
    for (let i = 0; i < this.config.untrustedWorkers; i++) this.#event('untrusted', 'exit');
  }

  /** Gives all memory back. The enclave must be gone. */
  close(): void {
    this.#stopped = true;
    this.#native.stop(this.handle, 1);
    this.#arena.close();
    this.shared.free();
    const release = () => {
      this.#native.close(this.handle);
      void this.#pool?.close();
    };
    if (this.#watching === null) release();
    else void this.#watching.finally(release);
  }

  #step(worker: Worker, thoroughly: boolean): void {
    let status: number | undefined;
    try {
      status = this.#owner.outside(() => worker.step(thoroughly));
    } catch (error) {
      // Its task would never end.
      this.#owner.unusable(error as Error);
      throw error;
    }
    if (worker.inside) return;
    if (status !== SGX_SUCCESS) {
      const error = sdkError(
        'SWITCHLESS_UNAVAILABLE',
        `a trusted worker ended with status 0x${(status ?? 0).toString(16)}`,
        'give the enclave a larger heap, or load it without switchless',
      );
      this.#owner.unusable(error);
      throw error;
    }
    this.#event('trusted', 'idle');
    if (!this.#stopped) worker.start();
  }

  #watch(): void {
    if (this.#watching !== null || this.#stopped || this.config.untrustedWorkers === 0) return;
    this.#native.watchAgain(this.handle);
    this.#pool ??= new CallPool(1, { followCaller: false });
    this.#watching = this.#pool.submit(this.#native.watch, this.handle).then(
      () => this.#watched(),
      () => {
        this.#watching = null;
      },
    );
  }

  #watched(): void {
    this.#watching = null;
    if (this.#stopped) return;
    for (let i = 0; i < MOST_AT_ONCE && this.#holders > 0 && !this.#stopped; i++) {
      const kind = this.#native.next(this.handle, NEXT_TRIES);
      if (kind === EXIT_KIND.NONE) break;
      const result = this.serve(kind >>> 8);
      if (result >= 0 && !this.#stopped) this.#native.finish(this.handle, kind >>> 8, result);
    }
    if (this.#holders > 0) this.#watch();
  }

  #failed(pointer: number, error: Error): number {
    const origin = this.#owner.origin(pointer);
    if (origin === undefined) this.#owner.ocallFailed(error);
    else origin.failed(error);
    return SGX_ERROR_UNEXPECTED;
  }

  #event(type: WorkerType, event: WorkerEvent): void {
    const { event: told } = this.#owner;
    if (told === undefined) return;
    const { ecalls, ocalls } = this.stats();
    told(type, event, type === 'trusted' ? ecalls : ocalls);
  }
}
