/** Choice of linear address ranges (ELRANGE) for the enclaves of this process. */
import { guestError } from './errors.js';

/** Above every place where a machine's guest RAM may lie (0x1000_0000_0000 and 64 TiB on). */
const FIRST = 0x5000_0000_0000;
const LIMIT = 0x7000_0000_0000;

/**
 * Ranges naturally aligned to their power-of-two size, as ECREATE demands (SDM, ECREATE operation), between
 * 0x5000_0000_0000 and 0x7000_0000_0000, so that they collide neither with guest RAM nor with the runner, its stacks
 * and shared objects. One instance per process keeps enclaves of several connections apart.
 */
export class LinearRanges {
  readonly #taken: { base: number; size: number }[] = [];

  /**
   * Reserves a free range. A freed range is used again only when its neighbourhood comes round: the search is first fit.
   * @throws ELRANGE_EXHAUSTED, also when size is not a power of two from 8 KiB to 1 TiB
   */
  reserve(size: number): number {
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
    let base = FIRST;
    for (const range of this.#taken) {
      if (base + size <= range.base) break;
      base = Math.max(base, Math.ceil((range.base + range.size) / size) * size);
    }
    if (base + size > LIMIT)
      throw guestError('ELRANGE_EXHAUSTED', `no free linear range of ${size} bytes`, 'close enclaves first');
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
