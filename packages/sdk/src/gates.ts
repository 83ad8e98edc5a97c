/** The gates of one enclave, and the native threads on which asynchronous calls wait. */
import { loadGateLibrary } from '@nestedsgx/cpu/host';
import { EXIT_KIND, type GuestBlock, type GuestConnection } from '@nestedsgx/guest';
import { addressOf, CallPool } from '@nestedsgx/os';
import { sdkError } from './errors.js';
import type { ThreadGate } from './thread.js';

const PAGE = 4096;
const MAX_POOL = 256;
// 32-bit word indices in the gate page: URSP and URBP of the request line.
const REQUEST_RSP = 48 / 4;
const REQUEST_RBP = 56 / 4;
const TWO_32 = 2 ** 32;

/** Gates by TCS number. */
export interface GateSet {
  /** The view of a gate page. */
  page(index: number): Uint8Array;
  gate(index: number): ThreadGate;
  close(): void;
}

/** Longest spin for an answer, in TSC cycles, unless the caller says otherwise. */
const DEFAULT_SPIN_CYCLES = 4000;

/** Opens `count` gates over consecutive pages of `block`. */
export function openGates(
  connection: GuestConnection,
  block: GuestBlock,
  count: number,
  spinCycles = DEFAULT_SPIN_CYCLES,
): GateSet {
  let pool: CallPool | null = null;
  const sharedPool = () => {
    pool ??= new CallPool(Math.min(count, MAX_POOL));
    return pool;
  };
  const page = (index: number) => block.bytes.subarray(index * PAGE, (index + 1) * PAGE);
  return {
    page,
    gate: (index) =>
      new NativeGate(block.address + index * PAGE, page(index), connection.cvmPidfd, spinCycles, sharedPool),
    close: () => {
      void pool?.close();
      pool = null;
    },
  };
}

/** Layout of a job of the gate library, in 32-bit words (native/host/gate.c of package cpu). */
const JOB = Object.freeze({ bytes: 120, function: 2, rdi: 4, rsi: 6, rsp: 14, rbp: 16 });

/**
 * A gate of package cpu in the form that threads use: one foreign call for a synchronous entry, and one job, made once,
 * for asynchronous ones. A thread is in one call at a time, so neither needs a guard here.
 */
class NativeGate implements ThreadGate {
  readonly #library = loadGateLibrary();
  readonly #enter = this.#library.enter;
  readonly #words: Uint32Array;
  readonly #pool: () => CallPool;
  /** In memory of this process, never in guest RAM: it holds an address that native code follows. */
  readonly #job = new Uint32Array(JOB.bytes / 4);
  readonly #jobAddress = addressOf(new Uint8Array(this.#job.buffer));
  #handle: number;

  constructor(
    address: number,
    page: Uint8Array,
    peerPidfd: number,
    spinCycles: number,
    pool: () => CallPool,
  ) {
    this.#words = new Uint32Array(page.buffer, page.byteOffset, PAGE / 4);
    this.#pool = pool;
    this.#handle = this.#library.open(address, peerPidfd, spinCycles);
    if (this.#handle === 0) throw sdkError('ENCLAVE_BAD_ENTRY', 'no memory for a gate', 'free memory');
    this.#put(0, this.#handle);
  }

  enter(leaf: number, rdi: number, rsi: number): number {
    return this.#enter(this.#handle, leaf, rdi, rsi);
  }

  enterAsync(leaf: number, rdi: number, rsi: number): Promise<number> {
    if (this.#handle === 0) return Promise.resolve(EXIT_KIND.LOST);
    const job = this.#job;
    job[JOB.function] = leaf;
    job[JOB.rdi] = rdi;
    job[JOB.rdi + 1] = rdi < 0 ? 0xffff_ffff : 0;
    this.#put(JOB.rsi, rsi);
    for (let i = 0; i < 2; i++) {
      job[JOB.rsp + i] = this.#words[REQUEST_RSP + i];
      job[JOB.rbp + i] = this.#words[REQUEST_RBP + i];
    }
    return this.#pool().submit(this.#library.runJob, this.#jobAddress);
  }

  close(): void {
    if (this.#handle !== 0) this.#library.close(this.#handle);
    this.#handle = 0;
  }

  #put(word: number, value: number): void {
    this.#job[word] = value % TWO_32;
    this.#job[word + 1] = value / TWO_32;
  }
}
