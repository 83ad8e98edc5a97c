/** A loaded enclave as its host sees it. */
import {
  type FunctionDescription,
  type InterfaceDescription,
  MessageWriter,
  readResult,
  writeArguments,
} from '@nestedsgx/edl';
import type { GuestConnection } from '@nestedsgx/guest';
import { quote, quotingTarget } from './attestation.js';
import type { BuiltEnclave } from './build-enclave.js';
import { EMPTY, type FrameSizes } from './call-frame.js';
import { addThread, trimHeap } from './dynamic-memory.js';
import { sdkError } from './errors.js';
import { type GateSet, openGates } from './gates.js';
import type { AsyncFunctions, OcallHandlers, SyncFunctions } from './interface.js';
import { type OcallHandler, ocallDispatch, type RawOcall } from './ocalls.js';
import { missingFeatures } from './platform.js';
import { EnclaveStatusError } from './status.js';
import { COMMAND, EnclaveThread, type ThreadOwner } from './thread.js';
import { ThreadPool } from './thread-pool.js';

/** Options of `cvm.load`. Sizes in bytes. */
export interface LoadOptions<I extends InterfaceDescription = InterfaceDescription> {
  /** Load with ATTRIBUTES.DEBUG, if the signature allows it. Default false. */
  debug?: boolean;
  /** Grant PROVISIONKEY. Default false. */
  provision?: boolean;
  /** Threads that the enclave may have in all: more than its image has TCSs leaves room for `addThread`. At most 255. */
  threads?: number;
  /** Handlers of the interface's OCALLs by name. */
  ocalls?: OcallHandlers<I['ocalls']>;
  /** Answers OCALLs that have no handler by name, with bytes. */
  onOcall?: RawOcall;
  /** Memory per thread that OCALL requests must fit into. Default 256 KiB. */
  ocallBufferBytes?: number;
  /** Largest request or response. Default 64 MiB. */
  maxMessageBytes?: number;
  /** Asynchronous calls that may wait for a thread. Default 65,536. */
  maxWaitingCalls?: number;
  /** Longest spin for an answer in TSC cycles, where the enclave runs on another CPU. Default 4000. */
  spinCycles?: number;
}

/** Figures of `e.stats()`: calls since loading, and threads now. */
export interface EnclaveStats {
  ecalls: number;
  ocalls: number;
  exceptions: number;
  interrupts: number;
  /**
   * Asynchronous exits by cause: exceptions by name (`#UD`; `#PF` where it was the enclave's own), `EPC fault` for page
   * faults that the driver answered, `interrupt`. Causes that did not occur are missing.
   */
  aex: Record<string, number>;
  threads: number;
  freeThreads: number;
  waitingCalls: number;
  /** Pages in all; of these in the EPC, and written back to guest RAM. */
  pages: number;
  residentPages: number;
  evictedPages: number;
  /** Page faults that the driver answered, and pages that EAUG added. */
  pageFaults: number;
  augmentedPages: number;
}

/** Longest that `close` waits for calls under way before it interrupts them, in milliseconds. */
const CLOSE_PATIENCE_MS = 50;

/** An enclave. Made by `Cvm.load`. */
export class Enclave<I extends InterfaceDescription = InterfaceDescription> implements AsyncDisposable {
  /** ECALLs by name, synchronous. */
  readonly ecalls: SyncFunctions<I['ecalls']>;
  /** ECALLs by name, as promises: the event loop stays free, and many may be under way at once. */
  readonly async: AsyncFunctions<I['ecalls']>;
  /** The interface that calls by name follow, if the enclave has one. */
  readonly interface: I | undefined;
  /** MRENCLAVE (32 bytes), as signed and checked by EINIT. */
  readonly mrenclave: Uint8Array;
  readonly debug: boolean;
  /** BASEADDR and size of the ELRANGE. */
  readonly range: { readonly base: number; readonly size: number };
  readonly #connection: GuestConnection;
  readonly #built: BuiltEnclave;
  readonly #gates: GateSet;
  readonly #threads: EnclaveThread[] = [];
  readonly #pool: ThreadPool;
  readonly #owner: ThreadOwner;
  readonly #onClose: (enclave: Enclave<never>) => void;
  /** Why no call may start, or null. */
  #unusable: Error | null = null;
  /** The thread inside a synchronous call: calls from its OCALL handlers go to the same thread, as on SGX. */
  #inside: EnclaveThread | null = null;
  #running = 0;
  #timer: NodeJS.Timeout | undefined;
  #closed: Promise<void> | null = null;

  /** Not for direct use. @throws ENCLAVE_INIT_FAILED and what entering may throw */
  constructor(
    connection: GuestConnection,
    built: BuiltEnclave,
    description: I | undefined,
    options: LoadOptions<I>,
    onClose: (enclave: Enclave<never>) => void,
  ) {
    this.#connection = connection;
    this.#built = built;
    this.#onClose = onClose;
    this.interface = description;
    this.mrenclave = built.mrenclave;
    this.debug = built.debug;
    this.range = Object.freeze({ base: built.file.base, size: built.file.size });
    const sizes: FrameSizes = {
      ocallBufferBytes: options.ocallBufferBytes ?? 256 * 1024,
      maxMessageBytes: options.maxMessageBytes ?? 64 * 2 ** 20,
    };
    this.#owner = {
      memory: connection.memory,
      sizes,
      dispatch: ocallDispatch(
        description?.ocalls ?? [],
        (options.ocalls ?? {}) as Readonly<Record<string, OcallHandler | undefined>>,
        options.onOcall,
        sizes.maxMessageBytes,
      ),
      counters: { ecalls: 0, ocalls: 0, exceptions: 0, interrupts: 0, causes: {} },
      closing: false,
      unusable: (error) => this.#fail(error),
    };
    this.#gates = openGates(connection, built.gates, built.file, options.spinCycles);
    for (let i = 0; i < built.threads; i++)
      this.#threads.push(new EnclaveThread(this.#owner, i, this.#gates.page(i), this.#gates.gate(i)));
    this.#pool = new ThreadPool(this.#threads, options.maxWaitingCalls ?? 65_536);
    const { sync, async } = this.#functions(description?.ecalls ?? [], sizes.maxMessageBytes);
    this.ecalls = sync as SyncFunctions<I['ecalls']>;
    this.async = async as AsyncFunctions<I['ecalls']>;
  }

  /** Lets the runtime initialise itself. @throws ENCLAVE_INIT_FAILED and what entering may throw */
  initialise(): void {
    const block = this.#connection.memory.alloc(16, { zero: true });
    try {
      const view = new DataView(block.bytes.buffer, block.bytes.byteOffset, 16);
      view.setBigUint64(0, 1n, true);
      view.setBigUint64(8, BigInt(missingFeatures()), true);
      const status = this.#threads[0].command(COMMAND.INIT, block.address);
      if (status !== 0)
        throw sdkError(
          'ENCLAVE_INIT_FAILED',
          `the enclave's runtime did not initialise (status ${status})`,
          'build the enclave with the same version of nestedsgx',
          new EnclaveStatusError(status, 'initialisation'),
        );
    } finally {
      this.#connection.memory.free(block);
    }
  }

  /**
   * Calls ECALL number `index` with a request in the message format and returns the response, synchronously. Inside an
   * OCALL handler of a synchronous call, the call goes to the same thread of the enclave.
   * @throws EnclaveFault, EnclaveStatusError, ENCLAVE_LOST, ENCLAVE_CLOSED, ENCLAVE_CRASHED, TCS_EXHAUSTED, OCALL_FAILED,
   *   OCALL_PROMISE_IN_SYNC_ECALL, MESSAGE_TOO_LARGE, ECALL_DEPTH
   */
  ecall(index: number, request: Uint8Array = EMPTY): Uint8Array {
    if (this.#unusable !== null) throw this.#refusal();
    if (index < 0 || index > 0x7fff_ffff || (index | 0) !== index) throw unknownEcall(index);
    return this.#callSync(index, request, 'the ECALL');
  }

  /** As `ecall`, without blocking the event loop; waits for a free thread in turn. */
  async ecallAsync(index: number, request: Uint8Array = EMPTY): Promise<Uint8Array> {
    if ((index | 0) !== index || index < 0) throw unknownEcall(index);
    return this.#callAsync(index, request, `ECALL ${index}`);
  }

  /** Figures of this enclave. */
  stats(): EnclaveStats {
    const { pages, faults } = this.#built.file;
    const { causes, ...counters } = this.#owner.counters;
    const aex = { ...causes };
    if (faults.faults > 0) aex['EPC fault'] = faults.faults;
    if (counters.interrupts > 0) aex.interrupt = counters.interrupts;
    return {
      ...counters,
      aex,
      threads: this.#pool.size,
      freeThreads: this.#pool.free,
      waitingCalls: this.#pool.waiting,
      pages: pages.pages,
      residentPages: pages.resident,
      evictedPages: pages.evicted,
      pageFaults: faults.faults,
      augmentedPages: faults.augmented,
    };
  }

  /**
   * Evidence for a remote verifier: a quote whose report body names this enclave and holds `reportData` (up to 64 bytes,
   * padded with zeros).
   * @throws MESSAGE_INVALID, EnclaveStatusError (FORBIDDEN by the enclave's policy), SVSM_REFUSED
   */
  attest(options: { reportData?: Uint8Array } = {}): Uint8Array {
    if (this.#unusable !== null) throw this.#refusal();
    const data = options.reportData ?? EMPTY;
    if (!(data instanceof Uint8Array) || data.length > 64)
      throw sdkError(
        'REPORT_DATA_TOO_LONG',
        'reportData must be at most 64 bytes',
        'pass a hash of longer data',
      );
    const request = new Uint8Array(512 + 64);
    request.set(quotingTarget(this.#connection));
    request.set(data, 512);
    return quote(this.#connection, this.#callSync(COMMAND.REPORT, request, 'making a REPORT'));
  }

  /** Asynchronous calls that are inside the enclave now. */
  get running(): number {
    return this.#running;
  }

  /**
   * Adds a thread to the enclave: its runtime accepts new pages for stack, SSA and TCS, the driver turns the TCS page into
   * one, and calls may use the thread at once. Needs `"maxThreads"` above `"threads"` in enclave.json, and `threads` of
   * `load` to leave a gate free. Returns the number of threads.
   * @throws TCS_EXHAUSTED when no gate or no place is left; EnclaveStatusError, SgxIoctlError, EPC_EXHAUSTED
   */
  addThread(): number {
    if (this.#unusable !== null) throw this.#refusal();
    const gates = this.#built.gateCount ?? this.#built.threads;
    if (this.#threads.length >= gates)
      throw sdkError(
        'TCS_EXHAUSTED',
        `all ${gates} gates of the enclave have a thread`,
        'load it with a larger threads option',
      );
    const { file } = this.#built;
    const call = (command: number) => this.#callSync(command, EMPTY, 'adding a thread');
    const gate = addThread(file, call);
    const thread = new EnclaveThread(this.#owner, gate, this.#gates.page(gate), this.#gates.gate(gate));
    this.#threads.push(thread);
    this.#pool.add(thread);
    return this.#threads.length;
  }

  /**
   * Gives heap that the enclave grew by and no longer uses back to the EPC. Returns the bytes.
   * @throws EnclaveStatusError, SgxIoctlError
   */
  trimHeap(): number {
    if (this.#unusable !== null) throw this.#refusal();
    return trimHeap(this.#built.file, (command) => this.#callSync(command, EMPTY, 'trimming the heap'));
  }

  /**
   * Interrupts the enclave's threads every `ms` milliseconds, as a scheduler's tick does: an asynchronous exit, after
   * which the thread goes on. 0 ends it.
   */
  interruptEvery(ms: number): void {
    if (!(ms >= 0 && ms <= 60_000))
      throw sdkError('LAUNCH_OPTION_INVALID', `${ms} is not a number of milliseconds up to 60000`);
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#gates.interruptEvery(ms);
    if (ms === 0) return;
    this.#timer = setInterval(() => this.#tick(), ms);
    this.#timer.unref();
  }

  #tick(): void {
    const { file } = this.#built;
    for (const thread of this.#threads)
      if (file.threads.inside(thread.index))
        try {
          file.kick(thread.index);
        } catch {
          // It has left since, or the enclave is lost.
        }
  }

  /** What the monitor says about this enclave. */
  status(): { state: 'uninitialised' | 'running' | 'lost'; reason: number } {
    return this.#built.file.status();
  }

  /**
   * Ends the enclave: calls that wait are refused, calls under way are interrupted, pages are removed and memory is given
   * back. Harmless when repeated.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #callSync(command: number, request: Uint8Array, what: string): Uint8Array {
    const outer = this.#inside;
    const thread = outer ?? this.#pool.tryTake();
    if (thread === undefined)
      throw sdkError(
        'TCS_EXHAUSTED',
        `all ${this.#pool.size} threads of the enclave are inside it`,
        'use e.async, which waits for one, or build the enclave with more threads',
      );
    this.#inside = thread;
    try {
      return thread.call(command, request, what);
    } finally {
      this.#inside = outer;
      if (outer === null) this.#pool.give(thread);
    }
  }

  async #callAsync(command: number, request: Uint8Array, what: string): Promise<Uint8Array> {
    if (this.#unusable !== null) throw this.#refusal();
    const taken = this.#pool.take();
    const thread = taken instanceof EnclaveThread ? taken : await taken;
    this.#running++;
    try {
      if (this.#unusable !== null) throw this.#refusal();
      return await thread.callAsync(command, request, what);
    } finally {
      this.#running--;
      this.#pool.give(thread);
    }
  }

  #functions(list: readonly FunctionDescription[], limit: number) {
    const sync: Record<string, unknown> = Object.create(null);
    const async: Record<string, unknown> = Object.create(null);
    const writer = new MessageWriter(limit);
    list.forEach((fn, index) => {
      const what = `ECALL ${fn.name}`;
      sync[fn.name] = (...args: unknown[]): unknown => {
        if (this.#unusable !== null) throw this.#refusal();
        return readResult(fn, this.#callSync(index, writeArguments(writer, fn, args), what));
      };
      async[fn.name] = async (...args: unknown[]): Promise<unknown> => {
        const request = writeArguments(writer, fn, args).slice();
        return readResult(fn, await this.#callAsync(index, request, what));
      };
    });
    return { sync: Object.freeze(sync), async: Object.freeze(async) };
  }

  /** After a crash later calls say so, and that first error is their cause; a lost or closed enclave stays that. */
  #fail(error: Error): void {
    this.#unusable ??= error;
    this.#pool?.refuse(this.#refusal());
  }

  #refusal(): Error {
    const first = this.#unusable as Error;
    const code = (first as { code?: unknown }).code;
    if (code === 'ENCLAVE_CLOSED' || code === 'ENCLAVE_LOST')
      return sdkError(code, first.message, (first as { advice?: string }).advice, first);
    return sdkError(
      'ENCLAVE_CRASHED',
      `the enclave takes no more calls: ${first.message}`,
      'load it again',
      first,
    );
  }

  async #close(): Promise<void> {
    if (this.#inside !== null)
      throw sdkError(
        'ENCLAVE_CLOSED',
        'an enclave cannot be closed from its own OCALL handler',
        'close it afterwards',
      );
    clearInterval(this.#timer);
    this.#owner.closing = true;
    const closed = sdkError('ENCLAVE_CLOSED', 'the enclave has been closed', 'load it again');
    this.#unusable = closed;
    this.#pool.refuse(closed);
    await this.#drain();
    this.#built.file.close();
    // Whoever is still inside comes back as lost now; native code must not find its gate freed.
    if (this.#running > 0) await this.#drain();
    if (this.#running === 0) {
      for (const thread of this.#threads) thread.close();
      this.#gates.close();
      const { file, gates } = this.#built;
      if (!this.#connection.closed && file.gone) this.#connection.memory.free(gates);
    }
    this.#onClose(this as unknown as Enclave<never>);
  }

  /** Waits for calls under way, interrupting those that take long. */
  async #drain(): Promise<void> {
    const start = performance.now();
    while (this.#running > 0) {
      const waited = performance.now() - start;
      if (waited > CLOSE_PATIENCE_MS && !this.#connection.lost)
        for (const thread of this.#threads)
          if (thread.depth > 0)
            try {
              this.#built.file.kick(thread.index);
            } catch {
              // The monitor no longer knows the enclave; its thread comes back as lost.
            }
      if (waited > 40 * CLOSE_PATIENCE_MS) return;
      await new Promise<void>((resolve) => setTimeout(resolve, 2));
    }
  }
}

function unknownEcall(index: number): Error {
  return sdkError(
    'ECALL_UNKNOWN',
    `${index} is not the number of an ECALL`,
    'numbers are the positions in the interface',
  );
}
