/**
 * Guest RAM in which the ECALLs of one thread are marshalled: structures and buffers are laid one after the other and
 * given back together when the call is over. Calls inside OCALL handlers lie above those around them.
 */
import type { FlatMemory, UntrustedMemory } from '@nestedsgx/edl';
import type { GuestBlock, GuestMemory } from '@nestedsgx/guest';
import { sdkError } from '../errors.js';

const FIRST = 64 * 1024;

/** Where a call began. */
export interface ArenaMark {
  readonly used: number;
  readonly extra: number;
}

/** Marshalling memory of one thread. */
export class CallArena implements UntrustedMemory {
  readonly #memory: GuestMemory;
  readonly #limit: number;
  readonly #block: GuestBlock;
  /** The block, for calls that fit it. */
  readonly flat: FlatMemory;
  /** What did not fit the block, in the order it was taken. */
  readonly #extra: GuestBlock[] = [];
  #used = 0;
  #extraBytes = 0;

  /** @param limit the most that the calls under way may take together, in bytes */
  constructor(memory: GuestMemory, limit: number) {
    this.#memory = memory;
    this.#limit = limit;
    this.#block = memory.alloc(FIRST, { alignment: 4096 });
    const { address, bytes } = this.#block;
    this.flat = {
      address,
      origin: BigInt(address),
      bytes,
      data: new DataView(bytes.buffer, bytes.byteOffset, bytes.length),
      place: (length, align) => this.#place(length, align),
    };
  }

  /** Takes `length` bytes at a multiple of `align` (up to 4096). @throws MESSAGE_TOO_LARGE, GUEST_MEMORY_EXHAUSTED */
  alloc(length: number, align: number): bigint {
    const at = this.#place(length, align);
    if (at >= 0) return BigInt(this.#block.address + at);
    if (length + this.#extraBytes > this.#limit)
      throw sdkError(
        'MESSAGE_TOO_LARGE',
        `the arguments of a call need ${length + this.#extraBytes} bytes; the limit is ${this.#limit}`,
        'pass data in pieces, or load the enclave with a larger maxMessageBytes',
      );
    const block = this.#memory.alloc(length, { alignment: Math.max(align, 64) });
    this.#extra.push(block);
    this.#extraBytes += length;
    return BigInt(block.address);
  }

  #place(length: number, align: number): number {
    const at = this.#used === 0 ? 0 : Math.ceil(this.#used / align) * align;
    if (at + length > FIRST) return -1;
    this.#used = at + length;
    return at;
  }

  view(address: bigint, length: number): Uint8Array {
    return this.#memory.viewAt(Number(address), length);
  }

  mark(): ArenaMark {
    return { used: this.#used, extra: this.#extra.length };
  }

  /** Gives back what was taken since `mark`. */
  release({ used, extra }: ArenaMark): void {
    this.#used = used;
    while (this.#extra.length > extra) {
      const block = this.#extra.pop() as GuestBlock;
      this.#extraBytes -= block.length;
      this.#memory.free(block);
    }
  }

  /** Frees everything. */
  close(): void {
    this.release({ used: 0, extra: 0 });
    this.#memory.free(this.#block);
  }
}
