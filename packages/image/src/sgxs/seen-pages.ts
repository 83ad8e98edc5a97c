/** Ranges that are kept before one bit per page takes less. */
const MAX_RANGES = 1024;

/** Which pages of an enclave an image has added: next to nothing while they ascend, one bit each otherwise. */
export class SeenPages {
  readonly #count: number;
  /** The pages so far as ascending [from, to) pairs, until one comes out of order. */
  #ranges: number[] = [];
  #bitmap: Uint8Array | null = null;

  /** `count` is the number of pages of the enclave. */
  constructor(count: number) {
    this.#count = count;
  }

  /** Notes a page (0…count−1); false when it was there before. */
  add(page: number): boolean {
    const ranges = this.#ranges;
    const end = ranges.length === 0 ? 0 : ranges[ranges.length - 1];
    if (this.#bitmap === null && page >= end && ranges.length < 2 * MAX_RANGES) {
      if (page === end && ranges.length > 0) ranges[ranges.length - 1] = page + 1;
      else ranges.push(page, page + 1);
      return true;
    }
    this.#bitmap ??= this.#spread();
    const bit = 1 << (page & 7);
    const at = Math.floor(page / 8);
    if ((this.#bitmap[at] & bit) !== 0) return false;
    this.#bitmap[at] |= bit;
    return true;
  }

  #spread(): Uint8Array {
    const bitmap = new Uint8Array(Math.ceil(this.#count / 8));
    for (let i = 0; i < this.#ranges.length; i += 2) {
      for (let p = this.#ranges[i]; p < this.#ranges[i + 1]; p++) bitmap[Math.floor(p / 8)] |= 1 << (p & 7);
    }
    this.#ranges = [];
    return bitmap;
  }
}
