/** A loaded enclave, whatever its runtime: its threads, figures and end. */
import type { GuestConnection } from '@nestedsgx/guest';
import type { BuiltEnclave } from './build-enclave.js';
import { DescriptorGrants } from './descriptor-grants.js';
import { sdkError } from './errors.js';
import type { CallState, GateOwner, GateThread } from './gate-thread.js';
import { type GateSet, type NativeDriver, openGates } from './gates.js';
import { ThreadPool } from './thread-pool.js';

/** Options of loading that do not depend on the enclave's runtime. */
export interface CommonLoadOptions {
  /** Load with ATTRIBUTES.DEBUG, if the signature allows it. Default false. */
  debug?: boolean;
  /** Grant PROVISIONKEY. Default false. */
  provision?: boolean;
  /** Threads that the enclave may have in all: more than its image has TCSs leaves room for `addThread`. At most 255. */
  threads?: number;
  /** Asynchronous calls that may wait for a thread. Default 65,536. */
  maxWaitingCalls?: number;
  /**
   * Lets the enclave make read, write, poll, epoll_wait and their like itself on descriptors that {@link
   * LoadedEnclave.grantDescriptor} gives it. Default false.
   */
  hostDescriptors?: boolean;
  /**
   * Pages that EAUG adds at once, at least, where the enclave has none: for one that is known to grow. Those that it does
   * not accept take part of the EPC all the same. Default 1.
   */
  growPages?: number;
  /** BASEADDR, for an enclave that works there only. Default: where there is room. */
  address?: number;
  /** Longest spin for an answer in TSC cycles, where the enclave runs on another CPU. Default 48,000. */
  spinCycles?: number;
  /** Native code that enters for asynchronous calls and may answer exits. */
  driver?: NativeDriver;
  /**
   * Offers interrupts to the enclave, as exceptions are: for enclaves that can be asked to look after something while
   * they compute ({@link LoadedEnclave.interrupt}). Default false.
   */
  offerInterrupts?: boolean;
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

/** What enclaves of both runtimes have in common. */
export abstract class LoadedEnclave<Thread extends GateThread<CallState>> implements AsyncDisposable {
  /** MRENCLAVE (32 bytes), as signed and checked by EINIT. */
  readonly mrenclave: Uint8Array;
  readonly debug: boolean;
  /** BASEADDR and size of the ELRANGE. */
  readonly range: { readonly base: number; readonly size: number };
  protected readonly connection: GuestConnection;
  protected readonly built: BuiltEnclave;
  protected readonly gates: GateSet;
  protected readonly threads: Thread[] = [];
  protected readonly pool: ThreadPool<Thread>;
  protected readonly owner: GateOwner;
  readonly #onClose: () => void;
  readonly #grants: DescriptorGrants | null;
  /** Why no call may start, or null. */
  #unusable: Error | null = null;
  /** The thread inside a synchronous call: calls from its OCALL handlers go to the same thread, as on SGX. */
  #inside: Thread | null = null;
  /** OCALL handlers under way that are not of the thread inside. */
  #outside = 0;
  #running = 0;
  #timer: NodeJS.Timeout | undefined;
  #alive: NodeJS.Timeout | undefined;
  #closed: Promise<void> | null = null;

  constructor(
    connection: GuestConnection,
    built: BuiltEnclave,
    options: CommonLoadOptions,
    onClose: () => void,
  ) {
    this.connection = connection;
    this.built = built;
    this.#onClose = onClose;
    this.#grants = built.grants === undefined ? null : new DescriptorGrants(built.grants);
    this.mrenclave = built.mrenclave;
    this.debug = built.debug;
    this.range = Object.freeze({ base: built.file.base, size: built.file.size });
    this.owner = {
      memory: connection.memory,
      counters: { ecalls: 0, ocalls: 0, exceptions: 0, interrupts: 0, causes: {} },
      closing: false,
      offersInterrupts: options.offerInterrupts ?? false,
      interruptsTaken: 0,
      unusable: (error) => this.#fail(error),
    };
    this.gates = openGates(connection, built.gates, built.file, options.spinCycles, options.driver);
    this.pool = new ThreadPool<Thread>([], options.maxWaitingCalls ?? 65_536);
  }

  /** Called when closing begins, before calls under way are waited for. Must not throw. */
  protected ending(): void {}

  /** Tells the enclave's runtime that it ends; nothing by default. Must not throw. */
  protected uninitialise(): void {}

  /** Threads for gates, usable at once, the first before the others. */
  protected add(...threads: Thread[]): void {
    this.threads.push(...threads);
    for (const thread of threads.reverse()) this.pool.add(thread);
  }

  /** Figures of this enclave. */
  stats(): EnclaveStats {
    const { pages, faults } = this.built.file;
    const { causes, ...counters } = this.owner.counters;
    const aex = { ...causes };
    const { offered } = this.gates;
    counters.exceptions += offered;
    if (offered > 0) aex['#PF'] = (aex['#PF'] ?? 0) + offered;
    if (faults.faults > 0) aex['EPC fault'] = faults.faults;
    if (counters.interrupts > 0) aex.interrupt = counters.interrupts;
    return {
      ...counters,
      aex,
      threads: this.pool.size,
      freeThreads: this.pool.free,
      waitingCalls: this.pool.waiting,
      pages: pages.pages,
      residentPages: pages.resident,
      evictedPages: pages.evicted,
      pageFaults: faults.faults,
      augmentedPages: faults.augmented,
    };
  }

  /** Asynchronous calls that are inside the enclave now. */
  get running(): number {
    return this.#running;
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
    this.gates.interruptEvery(ms);
    if (ms === 0) return;
    this.#timer = setInterval(() => this.interrupt(), ms);
    this.#timer.unref();
  }

  /** Interrupts that the enclave took when they were offered (`offerInterrupts`). */
  get interruptsTaken(): number {
    return this.owner.interruptsTaken ?? 0;
  }

  /** Interrupts every thread that is inside now: an asynchronous exit, after which it goes on. */
  interrupt(): void {
    const { file } = this.built;
    for (const thread of this.threads)
      if (file.threads.inside(thread.index))
        try {
          file.kick(thread.index);
        } catch {
          // It has left since, or the enclave is lost.
        }
  }

  /**
   * Grants the enclave, loaded with `hostDescriptors`, a descriptor, which stays the caller's. The enclave learns `name`
   * (by default the number here) with it, and finds it when it asks next.
   * @throws HOST_DESCRIPTORS_OFF, HOST_DESCRIPTORS_FULL, ENCLAVE_CLOSED; OsError for a descriptor that there is not
   */
  grantDescriptor(fd: number, name = fd): void {
    if (this.#grants === null)
      throw sdkError(
        'HOST_DESCRIPTORS_OFF',
        'this enclave was loaded without hostDescriptors',
        'load it with { hostDescriptors: true }',
      );
    this.#grants.grant(fd, name);
  }

  /** The socket of {@link grantDescriptor}, for native code that grants by itself; null without `hostDescriptors`. */
  get grantSocket(): number | null {
    return this.#grants?.socket ?? null;
  }

  /** What the monitor says about this enclave. */
  status(): { state: 'uninitialised' | 'running' | 'lost'; reason: number } {
    return this.built.file.status();
  }

  /**
   * Ends the enclave: calls that wait are refused, calls under way are interrupted, pages are removed and memory is given
   * back. Harmless when repeated.
   */
  close(): Promise<void> {
    // A refusal is not the end: the enclave can be closed once the handler has returned.
    if (this.#closed === null && (this.#inside !== null || this.#outside > 0))
      return Promise.reject(
        sdkError(
          'ENCLAVE_CLOSED',
          'an enclave cannot be closed from its own OCALL handler',
          'close it afterwards',
        ),
      );
    this.#closed ??= this.#close();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /**
   * Runs `body` with a thread for a synchronous call: the one that is inside already, or a free one.
   * @throws TCS_EXHAUSTED
   */
  protected withThread<T>(body: (thread: Thread) => T): T {
    if (this.#inside !== null) return this.runOn(this.#inside, body);
    const thread = this.takeThread();
    try {
      return this.runOn(thread, body);
    } finally {
      this.giveThread(thread);
    }
  }

  /** Takes a thread back, once a call of it that goes on without its caller is over. */
  protected giveThread(thread: Thread): void {
    if (thread.rest === null) {
      this.pool.give(thread);
      return;
    }
    this.#began();
    void thread.rest.then(() => {
      this.#ended();
      this.pool.give(thread);
    });
  }

  /** A free thread, made now if need be; it goes back to the pool. @throws TCS_EXHAUSTED */
  protected takeThread(): Thread {
    if (this.pool.free === 0) this.moreThreads();
    const thread = this.pool.tryTake();
    if (thread === undefined)
      throw sdkError(
        'TCS_EXHAUSTED',
        `all ${this.pool.size} threads of the enclave are inside it`,
        'use e.async, which waits for one, or build the enclave with more threads',
      );
    return thread;
  }

  /** Runs `body`, a synchronous call, on a thread: calls from its OCALL handlers go there too. */
  protected runOn<T>(thread: Thread, body: (thread: Thread) => T): T {
    if (thread.rest !== null)
      throw sdkError(
        'TCS_EXHAUSTED',
        'the thread is still inside a call that goes on without its caller',
        'await something first, or call through async',
      );
    const outer = this.#inside;
    this.#inside = thread;
    try {
      return body(thread);
    } finally {
      this.#inside = outer;
    }
  }

  /** Runs `body`, which answers an OCALL of some other thread: synchronous calls from there need a thread of their own. */
  protected outside<T>(body: () => T): T {
    const outer = this.#inside;
    this.#inside = null;
    this.#outside++;
    try {
      return body();
    } finally {
      this.#outside--;
      this.#inside = outer;
    }
  }

  /** Called when no thread is free: a runtime that can make one adds it to the pool. */
  protected moreThreads(): void {}

  /** As `withThread`, waiting for a free thread in turn. */
  protected async withThreadAsync<T>(body: (thread: Thread) => Promise<T>): Promise<T> {
    this.usable();
    if (this.pool.free === 0) this.moreThreads();
    const taken = this.pool.take();
    const thread = taken instanceof Promise ? await taken : taken;
    try {
      return await this.runOnAsync(thread, body);
    } finally {
      this.pool.give(thread);
    }
  }

  /** Runs `body`, an asynchronous call, on a thread that is outside. @throws as `usable` */
  protected async runOnAsync<T>(thread: Thread, body: (thread: Thread) => Promise<T>): Promise<T> {
    this.#began();
    try {
      if (thread.rest !== null) await thread.rest;
      this.usable();
      return await body(thread);
    } finally {
      this.#ended();
    }
  }

  /** Calls under way keep the process: one may wait for an event that only another part of the program brings. */
  #began(): void {
    this.#alive ??= setInterval(() => undefined, 2 ** 30);
    if (this.#running++ === 0) this.#alive.ref();
  }

  #ended(): void {
    if (--this.#running === 0) this.#alive?.unref();
  }

  /** @throws ENCLAVE_CLOSED, ENCLAVE_LOST, ENCLAVE_CRASHED when no call may start any more */
  protected usable(): void {
    if (this.#unusable !== null) throw this.#refusal();
  }

  /** After a crash later calls say so, and that first error is their cause; a lost or closed enclave stays that. */
  #fail(error: Error): void {
    this.#unusable ??= error;
    this.pool.refuse(this.#refusal());
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
    clearInterval(this.#timer);
    this.ending();
    this.#grants?.close();
    if (this.#unusable === null && this.#running === 0) this.uninitialise();
    this.owner.closing = true;
    const closed = sdkError('ENCLAVE_CLOSED', 'the enclave has been closed', 'load it again');
    this.#unusable = closed;
    this.pool.refuse(closed);
    await this.#drain();
    this.built.file.close();
    // Whoever is still inside comes back as lost now; native code must not find its gate freed.
    if (this.#running > 0) await this.#drain();
    if (this.#running === 0) {
      for (const thread of this.threads) thread.close();
      this.gates.close();
      const { file, gates } = this.built;
      if (!this.connection.closed && file.gone) this.connection.memory.free(gates);
    }
    clearInterval(this.#alive);
    this.#onClose();
  }

  /** Waits for calls under way, interrupting those that take long. */
  async #drain(): Promise<void> {
    const start = performance.now();
    while (this.#running > 0) {
      const waited = performance.now() - start;
      this.owner.refusing = waited > CLOSE_PATIENCE_MS;
      if (this.owner.refusing && !this.connection.lost)
        for (const thread of this.threads)
          if (thread.depth > 0)
            try {
              this.built.file.kick(thread.index);
            } catch {
              // The monitor no longer knows the enclave; its thread comes back as lost.
            }
      if (waited > 40 * CLOSE_PATIENCE_MS) return;
      await new Promise<void>((resolve) => setTimeout(resolve, 2));
    }
  }
}
