/** The gates of one enclave, the native threads on which asynchronous calls wait, and who answers their faults. */
import {
  type Again,
  collectorOf,
  type EntryCollector,
  type GateLibrary,
  loadGateLibrary,
  SWITCHLESS_WAIT,
} from '@nestedsgx/cpu/host';
import {
  ERESUME,
  EXIT_KIND,
  type FaultServer,
  type GuestBlock,
  type GuestConnection,
} from '@nestedsgx/guest';
import { addressOf, CallPool } from '@nestedsgx/os';
import { sdkError } from './errors.js';
import type { Onward, PolledGate } from './gate-thread.js';

const PAGE = 4096;
// 32-bit word indices in the gate page: URSP and URBP of the request line, RDI and RSI of the response.
const REQUEST_RSP = 48 / 4;
const REQUEST_RBP = 56 / 4;
const RESPONSE_RDI = 72 / 4;
const RESPONSE_RSI = 80 / 4;
// Places in the registers of an asynchronous entry.
const RDI = 0;
const RSI = 1;
const RSP = 5;
const RBP = 6;
const TWO_32 = 2 ** 32;
/** The same in what a native driver is called with, before what it is told and tells of exceptions. */
const DRIVE = { FUNCTION: 4, RDI: 5, RSI: 6, UNTOUCHED: 7, OFFERING: 8, OFFERED: 9, WORDS: 10 } as const;
const PAGE_FAULT_VECTOR = 14;
const INTERRUPT_VECTOR = 32;
/** How often a blocking call looks after the enclave's asynchronous ones, in microseconds. */
const SLICE_US = 1000;

/** Switchless OCALLs of an enclave, as those see them who wait for it. */
export interface LineWatch {
  /** Of the native half. */
  readonly handle: number;
  /** Answers the OCALL of a line; gives its status, or −1 when that follows later. Does not throw. */
  serve(line: number): number;
  /** A blocking wait begins (1) or ends (−1). */
  blocking(by: 1 | -1): void;
}

/**
 * Native code that enters for asynchronous calls, each on a thread of its own, and may answer exits there: a function
 * `int64_t (uint64_t[10])` of context, the address of `uint32_t enter(gate, function, rdi, rsi)`, gate, address of
 * the gate page, function, RDI and RSI; the address of the driver's `acceptsFirst` or 0; whether an exception is being offered;
 * how many were. It gives the EXIT_KIND of the exit that it leaves to the thread, and in function, RDI and RSI the entry.
 */
export interface NativeDriver {
  readonly functionAddress: number;
  readonly context: number;
}

/** The gate of an enclave's thread. */
export interface EnclaveGate extends PolledGate {
  /** Lets waits for switchless ECALLs look after this gate too. @returns whether there was room */
  lookedAfterBy(lines: LineWatch): boolean;
}

/** Gates by number. */
export interface GateSet {
  /** The view of a gate page. */
  page(index: number): Uint8Array;
  gate(index: number): EnclaveGate;
  /** Makes blocking calls look after switchless OCALLs; null ends it. */
  watch(lines: LineWatch | null): void;
  /** Looks after asynchronous entries, for callers that block the event loop. */
  poll(): void;
  /** Interrupts blocking calls every so many milliseconds (0: never) by `kick`; asynchronous ones are the caller's. */
  interruptEvery(ms: number): void;
  /** Exceptions that were offered to the enclave where they arrived. */
  readonly offered: number;
  close(): void;
}

/**
 * Longest spin for an answer, in TSC cycles, unless the caller says otherwise: a call spins for at most twice what the
 * one before took, and more than half of what sleeping and being woken from another CPU costs does not pay.
 */
const DEFAULT_SPIN_CYCLES = 48_000;

/** What the gates of one enclave share. */
interface Shared {
  readonly library: GateLibrary;
  readonly faults: FaultServer;
  readonly kick: (index: number) => void;
  /** Waits for all asynchronous entries, once there was one. */
  collector: EntryCollector | null;
  tickMs: number;
  watch: LineWatch | null;
  readonly driver: NativeDriver | undefined;
  /** Threads for `driver`. */
  drivers: CallPool | null;
  offered: number;
}

const MAX_DRIVERS = 256;

/** Opens gates over the consecutive pages of `block`; `faults` and `kick` are the driver's. */
export function openGates(
  connection: GuestConnection,
  block: GuestBlock,
  file: { readonly faults: FaultServer; kick(index: number): void },
  spinCycles = DEFAULT_SPIN_CYCLES,
  driver?: NativeDriver,
): GateSet {
  let pool: CallPool | null = null;
  const shared: Shared = {
    library: loadGateLibrary(),
    faults: file.faults,
    kick: (index) => file.kick(index),
    collector: null,
    tickMs: 0,
    watch: null,
    driver,
    drivers: null,
    offered: 0,
  };
  const collector = () => {
    pool ??= new CallPool(1);
    shared.collector ??= collectorOf(pool);
    return shared.collector;
  };
  const page = (index: number) => block.bytes.subarray(index * PAGE, (index + 1) * PAGE);
  return {
    page,
    gate: (index) => {
      const handle = shared.library.open(block.address + index * PAGE, connection.cvmPidfd, spinCycles);
      if (handle === 0) throw sdkError('ENCLAVE_BAD_ENTRY', 'no memory for a gate', 'free memory');
      return new NativeGate(index, handle, page(index), shared, collector);
    },
    interruptEvery: (ms) => {
      shared.tickMs = ms;
    },
    watch: (lines) => {
      shared.watch = lines;
    },
    poll: () => shared.collector?.poll(),
    get offered() {
      return shared.offered;
    },
    close: () => {
      void pool?.close();
      pool = null;
      shared.collector = null;
      void shared.drivers?.close();
      shared.drivers = null;
    },
  };
}

/**
 * A gate of package cpu in the form that threads use: one foreign call for a synchronous entry, and the enclave's
 * collector for asynchronous ones. Faults that the driver answers are not seen outside. A thread is in one call at a
 * time, so nothing needs a guard here.
 */
class NativeGate implements EnclaveGate {
  readonly #index: number;
  readonly #enter: GateLibrary['enter'];
  readonly #words: Uint32Array;
  readonly #shared: Shared;
  readonly #collector: () => EntryCollector;
  readonly #again: Again;
  /** RDI RSI RDX R8 R9 RSP RBP of an asynchronous entry; in memory of this process, never in guest RAM. */
  readonly #registers = new BigUint64Array(7);
  readonly #registerWords = new Uint32Array(this.#registers.buffer);
  /** What a driver is called with; in place as long as it runs. */
  readonly #entry = new BigUint64Array(DRIVE.WORDS);
  readonly #entryBytes = new Uint8Array(this.#entry.buffer);
  #handle: number;
  #onward: Onward | undefined;
  /** Leaf of the entry under way, and how often it was refused. */
  #leaf = 0;
  #refusals = 0;

  constructor(
    index: number,
    handle: number,
    page: Uint8Array,
    shared: Shared,
    collector: () => EntryCollector,
  ) {
    this.#index = index;
    this.#handle = handle;
    this.#words = new Uint32Array(page.buffer, page.byteOffset, PAGE / 4);
    this.#shared = shared;
    this.#enter = shared.library.enter;
    this.#collector = collector;
    this.#again = (kind) => this.#serve(kind) || this.#goOn(kind);
  }

  enter(leaf: number, rdi: number, rsi: number): number {
    const { collector, tickMs, watch } = this.#shared;
    if (watch !== null) return this.#enterWatching(leaf, rdi, rsi, watch);
    const alone = tickMs === 0 && (collector === null || collector.outstanding === 0);
    let kind = alone
      ? this.#enter(this.#handle, leaf, rdi, rsi)
      : this.#enterInSlices(leaf, rdi, rsi, collector);
    if (kind === EXIT_KIND.EEXIT) return kind;
    this.#leaf = leaf;
    this.#refusals = 0;
    for (let next = this.#serve(kind); next !== 0; next = this.#serve(kind))
      kind = alone
        ? this.#enter(this.#handle, next, rdi, rsi)
        : this.#enterInSlices(next, rdi, rsi, collector);
    return kind;
  }

  enterAsync(leaf: number, rdi: number, rsi: number, onward?: Onward): Promise<number> {
    if (this.#handle === 0) return Promise.resolve(EXIT_KIND.LOST);
    const registers = this.#registers;
    this.#onward = onward;
    this.#put(leaf, rdi, rsi);
    if (this.#shared.driver !== undefined) return this.#enterDriven(leaf, this.#shared.driver);
    for (let i = 0; i < 2; i++) {
      this.#registerWords[RSP * 2 + i] = this.#words[REQUEST_RSP + i];
      this.#registerWords[RBP * 2 + i] = this.#words[REQUEST_RBP + i];
    }
    return this.#collector().enter(this.#handle, leaf, registers, this.#again);
  }

  post(leaf: number, rdi: number, rsi: number): void {
    if (this.#handle === 0) return;
    this.#put(leaf, rdi, rsi);
    this.#shared.library.switchless.post(this.#handle, leaf, rdi, rsi);
  }

  poll(thoroughly: boolean): number {
    const { switchless } = this.#shared.library;
    if (this.#handle === 0) return EXIT_KIND.LOST;
    const kind = switchless.poll(this.#handle, thoroughly ? 1 : 0);
    if (kind === EXIT_KIND.NONE || kind === EXIT_KIND.EEXIT) return kind;
    const next = this.#serve(kind);
    if (next === 0) return kind;
    switchless.post(
      this.#handle,
      next,
      Number(BigInt.asIntN(64, this.#registers[RDI])),
      Number(this.#registers[RSI]),
    );
    return EXIT_KIND.NONE;
  }

  lookedAfterBy({ handle }: LineWatch): boolean {
    return this.#shared.library.switchless.worker(handle, this.#handle) !== 0;
  }

  close(): void {
    if (this.#handle !== 0) this.#shared.library.close(this.#handle);
    this.#handle = 0;
  }

  get offering(): boolean {
    return this.#entry[DRIVE.OFFERING] !== 0n;
  }

  async #enterDriven(leaf: number, driver: NativeDriver): Promise<number> {
    const shared = this.#shared;
    const entry = this.#entry;
    const registers = this.#registers;
    shared.drivers ??= new CallPool(MAX_DRIVERS, { followCaller: false });
    const page = addressOf(new Uint8Array(this.#words.buffer, this.#words.byteOffset, PAGE));
    const first = shared.faults.acceptsFirst;
    const untouched = first === undefined ? 0 : addressOf(new Uint8Array(first.buffer));
    const words = [driver.context, shared.library.enterNearAddress, this.#handle, page];
    entry.set(words.map(BigInt));
    entry[DRIVE.UNTOUCHED] = BigInt(untouched);
    for (let next = leaf; ; ) {
      entry[DRIVE.FUNCTION] = BigInt(next);
      entry[DRIVE.RDI] = registers[RDI];
      entry[DRIVE.RSI] = registers[RSI];
      const kind = await shared.drivers.submit(driver.functionAddress, addressOf(this.#entryBytes));
      // What was refused may be an entry that the driver made.
      if (entry[DRIVE.RDI] !== registers[RDI] || entry[DRIVE.FUNCTION] !== BigInt(next)) this.#refusals = 0;
      this.#leaf = Number(entry[DRIVE.FUNCTION]);
      registers[RDI] = entry[DRIVE.RDI];
      registers[RSI] = entry[DRIVE.RSI];
      shared.offered += Number(entry[DRIVE.OFFERED]);
      entry[DRIVE.OFFERED] = 0n;
      next = this.#again(kind);
      if (next === 0) return kind;
    }
  }

  /** The next entry of the thread itself, or 0. @throws what its enclave's end means */
  #goOn(kind: number): number {
    const next = this.#onward?.(kind) ?? null;
    if (next === null) return 0;
    this.#put(next.leaf, next.rdi, next.rsi);
    return next.leaf;
  }

  #put(leaf: number, rdi: number, rsi: number): void {
    if (leaf !== ERESUME) this.#entry[DRIVE.OFFERING] = 0n;
    this.#registers[RDI] = BigInt.asUintN(64, BigInt(rdi));
    this.#registers[RSI] = BigInt(rsi);
    this.#leaf = leaf;
    this.#refusals = 0;
  }

  /** Waits a while at a time: what this call waits for may need another thread, whose fault only we can answer. */
  #enterInSlices(leaf: number, rdi: number, rsi: number, collector: EntryCollector | null): number {
    const { library, tickMs } = this.#shared;
    const limit = tickMs > 0 ? Math.max(50, Math.min(SLICE_US, tickMs * 1000)) : SLICE_US;
    let due = performance.now() + tickMs;
    let kind = library.enterFor(this.#handle, leaf, rdi, rsi, limit);
    while (kind === EXIT_KIND.NONE) {
      collector?.poll();
      if (tickMs > 0 && performance.now() >= due) {
        due = performance.now() + tickMs;
        this.#shared.kick(this.#index);
      }
      kind = library.wait(this.#handle, limit);
    }
    return kind;
  }

  /** As `enter`, and answers switchless OCALLs of all threads meanwhile. */
  #enterWatching(leaf: number, rdi: number, rsi: number, watch: LineWatch): number {
    watch.blocking(1);
    try {
      let kind = this.#waitWatching(leaf, rdi, rsi, watch);
      if (kind === EXIT_KIND.EEXIT) return kind;
      this.#leaf = leaf;
      this.#refusals = 0;
      for (let next = this.#serve(kind); next !== 0; next = this.#serve(kind))
        kind = this.#waitWatching(next, rdi, rsi, watch);
      return kind;
    } finally {
      watch.blocking(-1);
    }
  }

  #waitWatching(leaf: number, rdi: number, rsi: number, watch: LineWatch): number {
    const { collector, tickMs } = this.#shared;
    const { switchless } = this.#shared.library;
    const { handle } = watch;
    let due = tickMs > 0 ? performance.now() + tickMs : 0;
    let kind = switchless.enter(handle, this.#handle, leaf, rdi, rsi, SLICE_US);
    for (;;) {
      if ((kind & 0xff) === SWITCHLESS_WAIT.OCALL) {
        const line = kind >>> 8;
        const status = watch.serve(line);
        kind =
          status < 0
            ? switchless.wait(handle, this.#handle, SLICE_US)
            : switchless.answer(handle, this.#handle, line, status, SLICE_US);
      } else if (kind === EXIT_KIND.NONE) {
        collector?.poll();
        kind = switchless.wait(handle, this.#handle, SLICE_US);
      } else {
        return kind;
      }
      const left = kind !== EXIT_KIND.NONE && (kind & 0xff) !== SWITCHLESS_WAIT.OCALL;
      if (tickMs > 0 && !left && performance.now() >= due) {
        due = performance.now() + tickMs;
        this.#shared.kick(this.#index);
      }
    }
  }

  /** The leaf to enter with again, or 0 when the exit is the caller's. @throws EPC_PAGE_DAMAGED and the driver's errors */
  #serve(kind: number): number {
    const words = this.#words;
    const { faults } = this.#shared;
    const vector = words[RESPONSE_RDI] & 0xffff;
    if (kind === EXIT_KIND.AEX) {
      if (vector === PAGE_FAULT_VECTOR) {
        const address = words[RESPONSE_RSI] + words[RESPONSE_RSI + 1] * TWO_32;
        if (!faults.pageFault(this.#index, words[RESPONSE_RDI + 1] & 0xffff, address)) return 0;
        this.#leaf = ERESUME;
        this.#refusals = 0;
        return ERESUME;
      }
      if (vector === INTERRUPT_VECTOR) faults.check();
    } else if (kind === EXIT_KIND.ENTRY_FAILED && faults.entryFault(this.#index, vector, this.#refusals++))
      return this.#leaf;
    return 0;
  }
}
