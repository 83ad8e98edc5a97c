/**
 * Allocator for the slice of guest RAM that belongs to one connection: stacks, marshalling buffers, staging buffers and
 * gate pages live here, where enclaves can read them.
 *
 * Free space is a list of extents ordered by address (first fit, neighbours coalesce); small blocks come back through
 * per-size free lists, so that the usual pattern (same sizes again and again) costs no search.
 */
import { guestError } from './errors.js';

/** One block of guest RAM. `bytes` is a view of the memory itself, not a copy; all lengths are in bytes. */
export interface GuestBlock {
  /** Guest-physical address of the first byte. */
  readonly gpa: number;
  /** Virtual address of the same byte: ram.base + gpa, equal in every process of the machine. */
  readonly address: number;
  /** Usable length, as asked for. */
  readonly length: number;
  /** The block's memory. */
  readonly bytes: Uint8Array;
}

interface Block extends GuestBlock {
  readonly reserved: number;
}

const GRANULE = 64;
const MAX_SMALL = 4096;
const SMALL_KEEP = 64;

/** Options of a slice: `base` is the virtual address of gPA 0, `slice` the view of the slice's memory. */
export interface GuestMemoryOptions {
  base: number;
  slice: Uint8Array;
  gpa: number;
  length: number;
}

/** Bounded first-fit allocator over one slice of guest RAM. Not for use by several threads. */
export class GuestMemory {
  readonly base: number;
  readonly gpa: number;
  readonly length: number;
  readonly #slice: Uint8Array;
  readonly #starts: number[] = [];
  readonly #sizes: number[] = [];
  readonly #live = new Map<number, Block>();
  readonly #small = new Map<number, number[]>();
  #used = 0;
  #closed = false;

  constructor(options: GuestMemoryOptions) {
    const { base, slice, gpa, length } = options;
    if (gpa % 4096 !== 0 || length % 4096 !== 0 || length <= 0 || length > slice.length)
      throw guestError(
        'GUEST_PROTOCOL',
        `the slice ${gpa.toString(16)}+${length} is not made of whole pages`,
      );
    this.base = base;
    this.gpa = gpa;
    this.length = length;
    this.#slice = slice;
    this.#starts.push(gpa);
    this.#sizes.push(length);
  }

  /** Bytes in use, including rounding. */
  get used(): number {
    return this.#used;
  }

  /** Number of blocks not yet freed. */
  get blocks(): number {
    return this.#live.size;
  }

  /**
   * Takes `length` bytes aligned to `alignment` (a power of two up to 1 GiB, 64 if not given). The content is undefined
   * unless `zero` is set.
   * @throws GUEST_MEMORY_BAD_SIZE, GUEST_MEMORY_EXHAUSTED, GUEST_CLOSED
   */
  alloc(length: number, options: { alignment?: number; zero?: boolean } = {}): GuestBlock {
    this.#open();
    const alignment = Math.max(options.alignment ?? GRANULE, GRANULE);
    if (!Number.isSafeInteger(length) || length <= 0)
      throw guestError('GUEST_MEMORY_BAD_SIZE', `cannot allocate ${length} bytes of guest RAM`);
    if (!Number.isSafeInteger(alignment) || alignment > 2 ** 30 || (alignment & (alignment - 1)) !== 0)
      throw guestError(
        'GUEST_MEMORY_BAD_SIZE',
        `alignment ${options.alignment} is not a power of two up to 1 GiB`,
      );
    const reserved = Math.ceil(length / GRANULE) * GRANULE;
    const gpa =
      this.#reuse(reserved, alignment) ??
      this.#firstFit(reserved, alignment) ??
      this.#afterFlush(reserved, alignment);
    if (gpa === undefined)
      throw guestError(
        'GUEST_MEMORY_EXHAUSTED',
        `no free block of ${length} bytes in guest RAM (${this.#used} of ${this.length} bytes used)`,
        'close enclaves that are no longer needed, or connect with a larger slice',
      );
    const block: Block = {
      gpa,
      address: this.base + gpa,
      length,
      bytes: this.#slice.subarray(gpa - this.gpa, gpa - this.gpa + length),
      reserved,
    };
    this.#live.set(gpa, block);
    this.#used += reserved;
    if (options.zero) block.bytes.fill(0);
    return block;
  }

  /**
   * Gives a block back.
   * @throws GUEST_MEMORY_BAD_FREE when it is not a live block of this allocator
   */
  free(block: GuestBlock): void {
    if (this.#closed) return;
    const live = this.#live.get(block.gpa);
    if (live === undefined || live !== block)
      throw guestError('GUEST_MEMORY_BAD_FREE', `block ${block.gpa.toString(16)} is not allocated`);
    this.#live.delete(block.gpa);
    this.#used -= live.reserved;
    if (live.reserved <= MAX_SMALL) {
      let list = this.#small.get(live.reserved);
      if (list === undefined) {
        list = [];
        this.#small.set(live.reserved, list);
      }
      if (list.length < SMALL_KEEP) {
        list.push(live.gpa);
        return;
      }
    }
    this.#insert(live.gpa, live.reserved);
  }

  /** True when `[address, address+length)` (virtual addresses) lies wholly inside this slice. */
  contains(address: number, length: number): boolean {
    const start = address - this.base - this.gpa;
    return Number.isSafeInteger(address) && length >= 0 && start >= 0 && start + length <= this.length;
  }

  /** A view of `length` bytes at a virtual address, which must lie in this slice. */
  viewAt(address: number, length: number): Uint8Array {
    if (!this.contains(address, length))
      throw guestError(
        'GUEST_MEMORY_BAD_SIZE',
        `address ${address.toString(16)}+${length} is outside the slice`,
      );
    this.#open();
    const start = address - this.base - this.gpa;
    return this.#slice.subarray(start, start + length);
  }

  /** Ends the use of the slice, before its memory is unmapped: blocks must not be touched any more. */
  close(): void {
    this.#closed = true;
  }

  #open(): void {
    if (this.#closed)
      throw guestError(
        'GUEST_CLOSED',
        'the connection that this memory belongs to is closed',
        'connect again',
      );
  }

  #reuse(reserved: number, alignment: number): number | undefined {
    const list = reserved <= MAX_SMALL ? this.#small.get(reserved) : undefined;
    if (list === undefined) return undefined;
    for (let i = list.length - 1; i >= 0; i--) {
      const gpa = list[i];
      if (gpa % alignment !== 0) continue;
      list.splice(i, 1);
      return gpa;
    }
    return undefined;
  }

  #afterFlush(reserved: number, alignment: number): number | undefined {
    for (const [size, list] of this.#small) for (const gpa of list) this.#insert(gpa, size);
    this.#small.clear();
    return this.#firstFit(reserved, alignment);
  }

  #firstFit(reserved: number, alignment: number): number | undefined {
    for (let i = 0; i < this.#starts.length; i++) {
      const start = this.#starts[i];
      const size = this.#sizes[i];
      const at = Math.ceil(start / alignment) * alignment;
      const lead = at - start;
      if (lead + reserved > size) continue;
      const tail = size - lead - reserved;
      if (lead === 0 && tail === 0) this.#remove(i);
      else if (lead === 0) this.#set(i, at + reserved, tail);
      else {
        this.#set(i, start, lead);
        if (tail > 0) this.#splice(i + 1, at + reserved, tail);
      }
      return at;
    }
    return undefined;
  }

  #insert(start: number, size: number): void {
    let low = 0;
    let high = this.#starts.length;
    while (low < high) {
      const mid = (low + high) >>> 1;
      if (this.#starts[mid] < start) low = mid + 1;
      else high = mid;
    }
    const joinsLeft = low > 0 && this.#starts[low - 1] + this.#sizes[low - 1] === start;
    const joinsRight = low < this.#starts.length && start + size === this.#starts[low];
    if (joinsLeft && joinsRight) {
      this.#sizes[low - 1] += size + this.#sizes[low];
      this.#remove(low);
    } else if (joinsLeft) this.#sizes[low - 1] += size;
    else if (joinsRight) this.#set(low, start, size + this.#sizes[low]);
    else this.#splice(low, start, size);
  }

  #set(i: number, start: number, size: number): void {
    this.#starts[i] = start;
    this.#sizes[i] = size;
  }

  #splice(i: number, start: number, size: number): void {
    this.#starts.splice(i, 0, start);
    this.#sizes.splice(i, 0, size);
  }

  #remove(i: number): void {
    this.#starts.splice(i, 1);
    this.#sizes.splice(i, 1);
  }
}
