/** The gates of one enclave, and the native threads on which asynchronous calls wait. */
import { collectorOf, type EntryCollector, loadGateLibrary } from '@nestedsgx/cpu/host';
import { EXIT_KIND, type GuestBlock, type GuestConnection } from '@nestedsgx/guest';
import { CallPool } from '@nestedsgx/os';
import { sdkError } from './errors.js';
import type { ThreadGate } from './thread.js';

const PAGE = 4096;
// 32-bit word indices in the gate page: URSP and URBP of the request line.
const REQUEST_RSP = 48 / 4;
const REQUEST_RBP = 56 / 4;
// Places in the registers of an asynchronous entry.
const RDI = 0;
const RSI = 1;
const RSP = 5;
const RBP = 6;

/** Gates by TCS number. */
export interface GateSet {
  /** The view of a gate page. */
  page(index: number): Uint8Array;
  gate(index: number): ThreadGate;
  close(): void;
}

/**
 * Longest spin for an answer, in TSC cycles, unless the caller says otherwise: a call spins for at most twice what the
 * one before took, and more than half of what sleeping and being woken from another CPU costs does not pay.
 */
const DEFAULT_SPIN_CYCLES = 48_000;

/** Opens gates over the consecutive pages of `block`. */
export function openGates(
  connection: GuestConnection,
  block: GuestBlock,
  spinCycles = DEFAULT_SPIN_CYCLES,
): GateSet {
  let pool: CallPool | null = null;
  // One thread waits for all asynchronous entries of the enclave.
  const collector = () => {
    pool ??= new CallPool(1);
    return collectorOf(pool);
  };
  const page = (index: number) => block.bytes.subarray(index * PAGE, (index + 1) * PAGE);
  return {
    page,
    gate: (index) =>
      new NativeGate(block.address + index * PAGE, page(index), connection.cvmPidfd, spinCycles, collector),
    close: () => {
      void pool?.close();
      pool = null;
    },
  };
}

/**
 * A gate of package cpu in the form that threads use: one foreign call for a synchronous entry, and the enclave's
 * collector for asynchronous ones. A thread is in one call at a time, so neither needs a guard here.
 */
class NativeGate implements ThreadGate {
  readonly #library = loadGateLibrary();
  readonly #enter = this.#library.enter;
  readonly #words: Uint32Array;
  readonly #collector: () => EntryCollector;
  /** RDI RSI RDX R8 R9 RSP RBP of an asynchronous entry; in memory of this process, never in guest RAM. */
  readonly #registers = new BigUint64Array(7);
  readonly #registerWords = new Uint32Array(this.#registers.buffer);
  #handle: number;

  constructor(
    address: number,
    page: Uint8Array,
    peerPidfd: number,
    spinCycles: number,
    collector: () => EntryCollector,
  ) {
    this.#words = new Uint32Array(page.buffer, page.byteOffset, PAGE / 4);
    this.#collector = collector;
    this.#handle = this.#library.open(address, peerPidfd, spinCycles);
    if (this.#handle === 0) throw sdkError('ENCLAVE_BAD_ENTRY', 'no memory for a gate', 'free memory');
  }

  enter(leaf: number, rdi: number, rsi: number): number {
    return this.#enter(this.#handle, leaf, rdi, rsi);
  }

  enterAsync(leaf: number, rdi: number, rsi: number): Promise<number> {
    if (this.#handle === 0) return Promise.resolve(EXIT_KIND.LOST);
    const registers = this.#registers;
    registers[RDI] = BigInt.asUintN(64, BigInt(rdi));
    registers[RSI] = BigInt(rsi);
    for (let i = 0; i < 2; i++) {
      this.#registerWords[RSP * 2 + i] = this.#words[REQUEST_RSP + i];
      this.#registerWords[RBP * 2 + i] = this.#words[REQUEST_RBP + i];
    }
    return this.#collector().enter(this.#handle, leaf, registers);
  }

  close(): void {
    if (this.#handle !== 0) this.#library.close(this.#handle);
    this.#handle = 0;
  }
}
