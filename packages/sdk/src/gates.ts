/** The gates of one enclave, and the native threads on which asynchronous calls wait. */
import { Gate } from '@nestedsgx/cpu/host';
import { EENTER, EXIT_KIND, type GuestBlock, type GuestConnection } from '@nestedsgx/guest';
import { CallPool } from '@nestedsgx/os';
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

/** Opens `count` gates over consecutive pages of `block`. */
export function openGates(connection: GuestConnection, block: GuestBlock, count: number): GateSet {
  let pool: CallPool | null = null;
  const sharedPool = () => {
    pool ??= new CallPool(Math.min(count, MAX_POOL));
    return pool;
  };
  const page = (index: number) => block.bytes.subarray(index * PAGE, (index + 1) * PAGE);
  return {
    page,
    gate: (index) =>
      new NativeGate(
        new Gate(block.address + index * PAGE, { peerPidfd: connection.cvmPidfd }),
        page(index),
        sharedPool,
      ),
    close: () => {
      void pool?.close();
      pool = null;
    },
  };
}

/** A gate of package cpu in the form that threads use. */
class NativeGate implements ThreadGate {
  readonly #gate: Gate;
  readonly #words: Uint32Array;
  readonly #pool: () => CallPool;

  constructor(gate: Gate, page: Uint8Array, pool: () => CallPool) {
    this.#gate = gate;
    this.#words = new Uint32Array(page.buffer, page.byteOffset, PAGE / 4);
    this.#pool = pool;
  }

  enter(leaf: number, rdi: number, rsi: number): number {
    return leaf === EENTER ? this.#gate.enter(rdi, rsi) : this.#gate.resume();
  }

  async enterAsync(leaf: number, rdi: number, rsi: number): Promise<number> {
    const words = this.#words;
    const rsp = words[REQUEST_RSP] + words[REQUEST_RSP + 1] * TWO_32;
    const rbp = words[REQUEST_RBP] + words[REQUEST_RBP + 1] * TWO_32;
    const exit = await this.#gate.enterAsync(this.#pool(), leaf as 2 | 3, { rdi, rsi, rsp, rbp });
    return EXIT_KIND[exit.kind];
  }

  close(): void {
    this.#gate.close();
  }
}
