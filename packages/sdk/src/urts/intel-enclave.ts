/** An enclave of Intel's SDK as its host sees it: the untrusted half of Intel's trusted runtime. */
import { availableParallelism } from 'node:os';
import {
  type CallResult,
  type EdlDescription,
  type EdlInterface,
  ecallMarshaller,
  type UntrustedMemory,
} from '@nestedsgx/edl';
import type { GuestBlock, GuestConnection } from '@nestedsgx/guest';
import type { IntelImage } from '@nestedsgx/image';
import { cpuid } from '@nestedsgx/os';
import { quote, quotingTarget } from '../attestation.js';
import type { BuiltEnclave } from '../build-enclave.js';
import { sdkError } from '../errors.js';
import type { EnclaveGate } from '../gates.js';
import { type CommonLoadOptions, LoadedEnclave } from '../loaded-enclave.js';
import { cpuFlags } from '../platform.js';
import { BoundThread, type RunOn, type RunOnAsync } from './edmm/bound-thread.js';
import { DynamicThreads } from './edmm/dynamic-threads.js';
import { pageChanges } from './edmm/page-changes.js';
import { ECMD, IntelThread, type IntelThreadOwner } from './intel-thread.js';
import { type EdlHandlers, edlDispatch, type OtherOcalls } from './ocall-dispatch.js';
import { builtinOcalls } from './ocalls/builtin-ocalls.js';
import { SGX_STATUS, SgxStatusError } from './sgx-status.js';
import { startSwitchless } from './switchless/start-switchless.js';
import { SwitchlessCalls } from './switchless/switchless-calls.js';
import {
  type SwitchlessOptions,
  switchlessConfig,
  type WorkerCounts,
} from './switchless/switchless-options.js';
import { systemFeatures } from './system-features.js';

// biome-ignore lint/suspicious/noExplicitAny: an interface that is known only at run time
export type AnyCalls = Record<string, (...args: any[]) => any>;

/** ECALLs as promises. */
export type AsyncCalls<Calls> = {
  readonly [K in keyof Calls]: Calls[K] extends (...args: infer A) => infer R
    ? (...args: A) => Promise<R>
    : never;
};

/** Handlers of OCALLs; they may return a promise when only asynchronous ECALLs lead to them. */
export type IntelOcallHandlers<Calls> = {
  readonly [K in keyof Calls]?: Calls[K] extends (...args: infer A) => infer R
    ? (...args: A) => R | Promise<R>
    : never;
};

/** Options of `cvm.load` for a `.signed.so`. Sizes in bytes. */
export interface IntelLoadOptions<Ocalls = AnyCalls> extends CommonLoadOptions {
  /** Path of the EDL file, or its description, when no interface is given. */
  edl?: string | EdlDescription;
  /** Folders with imported EDL files, such as the SDK's `include`. */
  edlSearchPath?: readonly string[];
  /** Macros of the EDL file that C knew when the enclave was built: sizes, and what `#if` asks for. */
  edlConstants?: Readonly<Record<string, number>>;
  /** Handlers of the OCALLs by name; they come before what the SDK's untrusted half answers itself. */
  ocalls?: IntelOcallHandlers<Ocalls>;
  /** Answers the OCALLs that have neither a handler nor an answer of the SDK's untrusted half, which fail without it. */
  otherOcalls?: OtherOcalls;
  /**
   * Told when an OCALL failed (its handler is missing, threw, or answered what does not fit) and the enclave coped, so that
   * its ECALL succeeded. By default a warning of the process; otherwise the ECALL's error says it.
   */
  onOcallError?: (error: Error) => void;
  /**
   * Untrusted stack of each thread, which OCALLs put their structures and buffers on. Default 8 MiB, and less with more
   * than 8 threads, down to 1 MiB.
   */
  stackBytes?: number;
  /** The most that arguments of ECALLs may take together. Default 64 MiB. */
  maxMessageBytes?: number;
  /** Makes functions with `transition_using_threads` switchless; without it they are ordinary ones. */
  switchless?: SwitchlessOptions;
  /**
   * For an image that was encrypted with `sgx_encrypt`: the key as the enclave that provisions it sealed it on this machine
   * (what `sgx_create_encrypted_enclave` takes).
   */
  sealedKey?: Uint8Array;
  /** Folder for files of the SDK's protected file system. Without it the enclave gets no file. */
  files?: string;
}

/** All stacks together, where the caller does not say how large one is. */
const STACKS = 64 * 2 ** 20;
const STACK_MOST = 8 * 2 ** 20;
const STACK_LEAST = 2 ** 20;
/** Longest that closing waits for trusted workers before it interrupts them, in milliseconds. */
const STOP_PATIENCE_MS = 50;

/** An enclave of Intel's SDK. Made by `Cvm.load`. */
export class IntelEnclave<Ecalls = AnyCalls, Ocalls = AnyCalls> extends LoadedEnclave<IntelThread> {
  /** ECALLs by name, synchronous. Calls with `out` parameters give `{ value, out }`. */
  readonly ecalls: Readonly<Ecalls>;
  /** ECALLs by name, as promises: the event loop stays free, and many may be under way at once. */
  readonly async: AsyncCalls<Ecalls>;
  /** The interface that calls by name follow, if the enclave was loaded with one. */
  readonly description: EdlDescription | undefined;
  readonly #host: IntelThreadOwner;
  readonly #edmm: boolean;
  /** Makes and ends threads, where the enclave has some that are made at run time. */
  #utility: IntelThread | undefined;
  readonly #dynamic: DynamicThreads;
  /** Threads that are made before anybody calls. */
  readonly #minFree: number;
  readonly #ended = new AbortController();
  readonly #sealedKey: Uint8Array | undefined;
  readonly #gateOf = new Map<IntelThread, EnclaveGate>();
  readonly #switchlessOptions: SwitchlessOptions | undefined;
  #switchless: SwitchlessCalls | null = null;

  /** Not for direct use. */
  constructor(
    connection: GuestConnection,
    built: BuiltEnclave,
    image: IntelImage,
    description: EdlDescription | undefined,
    options: IntelLoadOptions<Ocalls>,
    onClose: () => void,
  ) {
    super(connection, built, options, () => {
      this.#switchless?.close();
      onClose();
    });
    this.description = description;
    this.#sealedKey = options.sealedKey;
    this.#switchlessOptions = options.switchless;
    const usable = Math.min(image.threads.length, built.gateCount ?? built.threads);
    const { memory } = connection;
    const untrusted = {
      alloc: () => {
        throw sdkError('MESSAGE_MALFORMED', 'an OCALL allocates nothing');
      },
      view: (address: bigint, length: number) => memory.viewAt(Number(address), length),
    };
    const dispatch = edlDispatch(
      description,
      untrusted,
      (options.ocalls ?? {}) as EdlHandlers,
      builtinOcalls({
        startThread: () => this.#startThread(),
        memory,
        files: options.files,
        ended: this.#ended.signal,
      }),
      options.otherOcalls,
    );
    this.#host = Object.assign(this.owner, {
      dispatch:
        options.switchless === undefined
          ? dispatch
          : (index: number, address: number) => {
              this.#switchless?.noteOrdinaryOcall();
              return dispatch(index, address);
            },
      runtimeOcall: image.edmm ? pageChanges(built.file, memory) : refusePageChanges,
      ocallFailed: options.onOcallError ?? ((error: Error) => process.emitWarning(error)),
      stackBytes:
        options.stackBytes ??
        Math.max(STACK_LEAST, Math.min(STACK_MOST, Math.floor(STACKS / usable / 4096) * 4096)),
      maxMessageBytes: options.maxMessageBytes ?? 64 * 2 ** 20,
      aexNotify: built.aexNotify ?? false,
    });
    this.#edmm = image.edmm;
    const offsets = new Set(image.threads.map(({ offset }) => offset));
    const gates = (built.tcs ?? []).flatMap((offset, gate) => (offsets.has(offset) ? [gate] : []));
    const later = image.edmm ? image.threads.filter(({ dynamic }) => dynamic) : [];
    const threads = gates.map((gate) => this.#thread(gate));
    // Where threads are made at run time, the first makes them and does nothing else.
    if (later.length > 0) this.#utility = threads.shift();
    this.add(...threads);
    if (this.#utility !== undefined) this.threads.push(this.#utility);
    this.#dynamic = new DynamicThreads(
      built.file,
      later.slice(0, usable - gates.length).map(({ offset }) => offset),
      (tcs) => this.#makeThread(tcs),
    );
    this.#minFree = Math.max(1, image.tcsMinPool);
    const { sync, async } = this.#functions(
      (body) => this.withThread(body),
      (body) => this.withThreadAsync(body),
      true,
    );
    this.ecalls = sync as Readonly<Ecalls>;
    this.async = async as AsyncCalls<Ecalls>;
  }

  /**
   * One thread (TCS) for several calls, so that they find the same thread-local variables: with `<TCSPolicy>0</TCSPolicy>`
   * the enclave keeps them from one call to the next. Give it back with `release`, or `using`.
   * @throws TCS_EXHAUSTED, ENCLAVE_CLOSED, ENCLAVE_LOST, ENCLAVE_CRASHED
   */
  bindThread(): BoundThread<Ecalls> {
    this.usable();
    const thread = this.takeThread();
    return new BoundThread<Ecalls>({
      usable: () => this.usable(),
      run: (body) => this.runOn(thread, () => body(thread)),
      runAsync: (body) => this.runOnAsync(thread, body),
      functions: (run, runAsync) => this.#functions(run, runAsync, false),
      give: () => this.giveThread(thread),
    });
  }

  /** Lets the trusted runtime initialise itself. @throws ENCLAVE_INIT_FAILED and what entering may throw */
  initialise(): void {
    const key = this.#sealedKey === undefined ? null : this.alloc(this.#sealedKey.length);
    if (key !== null) key.bytes.set(this.#sealedKey as Uint8Array);
    const features = systemFeatures({
      flags: cpuFlags(),
      cpuid: (leaf) => cpuid(leaf, 0),
      edmm: this.#edmm,
      aexNotify: this.#host.aexNotify,
      processors: availableParallelism(),
      sealedKey: key?.address,
    });
    try {
      this.#command(ECMD.INIT, features, 'initialisation');
      while (this.pool.free < this.#minFree && this.#dynamic.left > 0) this.#addThread();
    } catch (error) {
      if (!(error instanceof SgxStatusError)) throw error;
      throw sdkError(
        'ENCLAVE_INIT_FAILED',
        `the enclave's trusted runtime did not initialise: ${error.statusName}`,
        'check that the enclave was built for hardware mode (SGX_MODE=HW) and that its metadata fits this processor',
        error,
      );
    } finally {
      if (key !== null) this.free(key);
    }
    if (this.#switchlessOptions !== undefined) this.#startSwitchless(this.#switchlessOptions);
  }

  /** Switchless calls so far, and those that became ordinary ones; undefined without the option `switchless`. */
  switchlessStats(): { ecalls: WorkerCounts; ocalls: WorkerCounts } | undefined {
    return this.#switchless?.stats();
  }

  /**
   * Calls ECALL number `index` with the bytes of its marshalling structure, and gives the bytes that are there afterwards:
   * for enclaves without an EDL file. Addresses in it are those of `alloc`.
   * @throws SgxStatusError, EnclaveFault, ENCLAVE_LOST, ENCLAVE_CLOSED, ENCLAVE_CRASHED, TCS_EXHAUSTED, OCALL_FAILED
   */
  ecall(index: number, structure: Uint8Array = new Uint8Array(0)): Uint8Array {
    this.usable();
    return this.withThread((thread) =>
      thread.call(raw(thread, ecallNumber(index), structure), `ECALL ${index}`),
    );
  }

  /** As `ecall`, without blocking the event loop; waits for a free thread in turn. */
  ecallAsync(index: number, structure: Uint8Array = new Uint8Array(0)): Promise<Uint8Array> {
    return this.withThreadAsync((thread) =>
      thread.callAsync(raw(thread, ecallNumber(index), structure), `ECALL ${index}`),
    );
  }

  /**
   * Untrusted memory for parameters with `user_check`: `address` is what the enclave gets, `bytes` the memory itself.
   * Give it back with `free`. @throws GUEST_MEMORY_EXHAUSTED
   */
  alloc(length: number): GuestBlock {
    return this.connection.memory.alloc(length, { zero: true });
  }

  /** Gives memory of `alloc` back. @throws GUEST_MEMORY_BAD_FREE */
  free(block: GuestBlock): void {
    this.connection.memory.free(block);
  }

  /** TARGETINFO (512 bytes) of the machine's quoting service, for the enclave's EREPORT. @throws SVSM_REFUSED, CVM_LOST */
  quotingTarget(): Uint8Array {
    return quotingTarget(this.connection);
  }

  /** A quote over a REPORT (432 bytes) that the enclave made for `quotingTarget`. @throws SVSM_REFUSED, CVM_LOST */
  quote(report: Uint8Array): Uint8Array {
    return quote(this.connection, report);
  }

  protected override async runOnAsync<T>(
    thread: IntelThread,
    body: (thread: IntelThread) => Promise<T>,
  ): Promise<T> {
    this.#switchless?.hold();
    try {
      return await super.runOnAsync(thread, body);
    } finally {
      this.#switchless?.release();
    }
  }

  /** Waits of the enclave's threads end now, and its files are written back while guest RAM is still there. */
  protected override ending(): void {
    this.#ended.abort();
  }

  /** Lets the runtime end: its destructors run. What it says no longer matters. */
  protected override uninitialise(): void {
    this.#switchless?.stop(STOP_PATIENCE_MS, (thread) => this.built.file.kick(thread));
    if (!this.#edmm || this.threads.some(({ depth }) => depth > 0)) return;
    try {
      this.#command(ECMD.UNINIT, new Uint8Array(0), 'its end');
    } catch {
      // The enclave is removed anyway.
    }
  }

  protected override moreThreads(): void {
    if (this.#dynamic.left > 0) this.#addThread();
  }

  #addThread(): void {
    this.add(this.#thread(this.#dynamic.next()));
  }

  #makeThread(tcs: number): void {
    const operand = new Uint8Array(8);
    new DataView(operand.buffer).setBigUint64(0, BigInt(tcs), true);
    this.#command(ECMD.MKTCS, operand, 'making a thread');
  }

  /** A command of the runtime's own, on the thread that is kept for them if there is one. */
  #command(index: number, operand: Uint8Array, what: string): void {
    const run = (thread: IntelThread) => {
      thread.call(raw(thread, index, operand), what);
    };
    if (this.#utility === undefined) this.withThread(run);
    else run(this.#utility);
  }

  #thread(gate: number): IntelThread {
    const native = this.gates.gate(gate);
    const thread = new IntelThread(this.#host, gate, this.gates.page(gate), native);
    this.#gateOf.set(thread, native);
    return thread;
  }

  #startSwitchless(options: SwitchlessOptions): void {
    const calls = new SwitchlessCalls(
      {
        ...this.#host,
        outside: (body) => this.outside(body),
        origin: (pointer) => {
          for (const thread of this.threads) {
            const origin = thread.origin(pointer);
            if (origin !== undefined) return origin;
          }
          return undefined;
        },
        poll: () => this.gates.poll(),
        event: options.onWorkerEvent,
      },
      switchlessConfig(options),
    );
    this.#switchless = calls;
    startSwitchless(
      {
        description: this.description,
        gates: this.gates,
        free: this.pool.free,
        ecall: (index, structure) => this.ecall(index, structure),
        takeThread: () => {
          const thread = this.takeThread();
          return { thread, gate: this.#gateOf.get(thread) as EnclaveGate };
        },
      },
      calls,
    );
  }

  /** A thread that the enclave made by pthread_create. @throws TCS_EXHAUSTED */
  #startThread(): Promise<bigint> {
    if (this.pool.free === 0) this.moreThreads();
    if (this.pool.free === 0)
      throw sdkError(
        'TCS_EXHAUSTED',
        `all ${this.pool.size} threads of the enclave are inside it`,
        'build it with a larger TCSNum',
      );
    return this.withThreadAsync((thread) =>
      thread.callAsync(
        () => {
          const address = thread.arena.alloc(8, 8);
          const bytes = thread.arena.view(address, 8);
          const view = new DataView(bytes.buffer, bytes.byteOffset, 8);
          view.setBigUint64(0, 0n, true);
          return { index: ECMD.ECALL_PTHREAD, address, finish: () => view.getBigUint64(0, true) };
        },
        'a thread of the enclave',
        SGX_STATUS.SGX_PTHREAD_EXIT,
      ),
    );
  }

  /** @param shared the calls may go to any thread of the enclave, a trusted worker among them */
  #functions(run: RunOn, runAsync: RunOnAsync, shared: boolean) {
    const sync: Record<string, unknown> = Object.create(null);
    const async: Record<string, unknown> = Object.create(null);
    const { description } = this;
    description?.ecalls.forEach(({ name, switchless }, index) => {
      const what = `ECALL ${name}`;
      let marshaller: ReturnType<typeof ecallMarshaller> | undefined;
      const lay = (args: readonly unknown[], arena: UntrustedMemory) => {
        marshaller ??= ecallMarshaller(description, index);
        return marshaller(args, arena);
      };
      const marshal = (thread: IntelThread, args: readonly unknown[]) => () => lay(args, thread.arena);
      const direct = (...args: unknown[]): CallResult => {
        this.usable();
        return run((thread) => thread.call(marshal(thread, args), what));
      };
      sync[name] =
        shared && switchless && this.#switchlessOptions !== undefined
          ? (...args: unknown[]): CallResult => {
              this.usable();
              const taken = this.#switchless?.ecall((arena) => lay(args, arena), what);
              return taken === undefined ? direct(...args) : taken.value;
            }
          : direct;
      async[name] = (...args: unknown[]): Promise<CallResult> =>
        runAsync((thread) => thread.callAsync(marshal(thread, args), what));
    });
    return { sync: Object.freeze(sync), async: Object.freeze(async) };
  }
}

/** Where the metadata are of before dynamic memory, the runtime asks for none. */
function refusePageChanges(index: number): never {
  throw sdkError('OCALL_UNKNOWN', `the enclave asked for OCALL ${index} of dynamic memory, which it has not`);
}

/** @throws ECALL_UNKNOWN */
function ecallNumber(index: number): number {
  if ((index | 0) === index && index >= 0) return index;
  throw sdkError('ECALL_UNKNOWN', `${index} is not the number of an ECALL`, 'numbers begin with 0');
}

function raw(thread: IntelThread, index: number, structure: Uint8Array) {
  return () => {
    const { length } = structure;
    if (length === 0) return { index, address: 0n, finish: () => new Uint8Array(0) };
    const address = thread.arena.alloc(length, 64);
    thread.arena.view(address, length).set(structure);
    return { index, address, finish: () => thread.arena.view(address, length).slice() };
  };
}

/** Whether a value is what `nsgx edl --ts` generates. */
export function isEdlInterface(value: unknown): value is EdlInterface<AnyCalls, AnyCalls> {
  const description = (value as { description?: { ecalls?: unknown; ocalls?: unknown } } | null)?.description;
  return Array.isArray(description?.ecalls) && Array.isArray(description?.ocalls);
}
