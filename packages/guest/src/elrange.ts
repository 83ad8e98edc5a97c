/** Choice of linear address ranges (ELRANGE) for the enclaves of this process. */
import { guestError } from './errors.js';

/** Above every place where a machine's guest RAM may lie (0x1000_0000_0000 and 64 TiB on). */
const FIRST = 0x5000_0000_0000;
const LIMIT = 0x7000_0000_0000;
/** Where an enclave that names its address may lie besides: above the runner, below every guest RAM. */
const LOW_FIRST = 2 ** 32;
const LOW_LIMIT = 0x1000_0000_0000;
/** An enclave at 0 ends here at the latest: above it is the runner. It has no pages below 64 KiB. */
const ZERO_LIMIT = 0x4000_0000;

/**
 * Ranges naturally aligned to their power-of-two size, as ECREATE demands (SDM, ECREATE operation), between
 * 0x5000_0000_0000 and 0x7000_0000_0000, so that they collide neither with guest RAM nor with the runner, its stacks
 * and shared objects. One instance per process keeps enclaves of several connections apart.
 */
export class LinearRanges {
  readonly #taken: { base: number; size: number }[] = [];

  /**
   * Reserves a free range, or the one at `at` for an enclave that works at that address only. A freed range is used again
   * only when its neighbourhood comes round: the search is first fit.
   * @throws ELRANGE_EXHAUSTED, also when size is not a power of two from 8 KiB to 1 TiB, and when `at` cannot be had
   */
  reserve(size: number, at?: number): number {
    if (
      !Number.isSafeInteger(size) ||
      size < 8192 ||
      size > 2 ** 40 ||
      2 ** Math.round(Math.log2(size)) !== size
    )
      throw guestError(
        'ELRANGE_EXHAUSTED',
        `${size} is not an enclave size: a power of two from 8 KiB to 1 TiB`,
      );
    if (at !== undefined) return this.#reserveAt(size, at);
    let base = FIRST;
    for (const range of this.#taken) {
      if (base + size <= range.base) break;
      base = Math.max(base, Math.ceil((range.base + range.size) / size) * size);
    }
    if (base + size > LIMIT)
      throw guestError('ELRANGE_EXHAUSTED', `no free linear range of ${size} bytes`, 'close enclaves first');
    return this.#take(base, size);
  }

  #reserveAt(size: number, base: number): number {
    const end = base + size;
    const possible =
      (base === 0 && end <= ZERO_LIMIT) ||
      (base >= LOW_FIRST && end <= LOW_LIMIT) ||
      (base >= FIRST && end <= LIMIT);
    if (!Number.isSafeInteger(base) || base % size !== 0 || !possible)
      throw guestError(
        'ELRANGE_EXHAUSTED',
        `no enclave of ${size} bytes can lie at 0x${base.toString(16)} here`,
        'place it at a multiple of its size from 0x100000000 to 0x100000000000 or from 0x500000000000 to 0x700000000000, or at 0 if it takes at most 1 GiB',
      );
    const other = this.#taken.find((range) => range.base < end && base < range.base + range.size);
    if (other !== undefined)
      throw guestError(
        'ELRANGE_EXHAUSTED',
        `another enclave lies at 0x${other.base.toString(16)}, where this one must be`,
        'close that one first; an enclave with a fixed address is loaded once in a process',
      );
    return this.#take(base, size);
  }

  #take(base: number, size: number): number {
    const at = this.#taken.findIndex((range) => range.base > base);
    this.#taken.splice(at < 0 ? this.#taken.length : at, 0, { base, size });
    return base;
  }

  /** Gives a range back; unknown bases are ignored. */
  release(base: number): void {
    const at = this.#taken.findIndex((range) => range.base === base);
    if (at >= 0) this.#taken.splice(at, 1);
  }

  /** Ranges in use, by base. */
  get taken(): readonly { readonly base: number; readonly size: number }[] {
    return this.#taken;
  }
}

/** The ranges of this process. */
export const processRanges = new LinearRanges();
