/** The guest's page table of one enclave: which EPC frame stands behind which linear page, with R, W, X and type. */

/** Consecutive pages over consecutive frames with the same SECINFO flags. Offsets in bytes from BASEADDR. */
export interface PageExtent {
  offset: number;
  count: number;
  gpa: number;
  flags: number;
}

const PAGE = 4096;

/** Extents ordered by offset; neighbours that continue one another are one extent. */
export class EnclavePageTable {
  readonly #extents: PageExtent[] = [];

  /** Pages present. */
  get pages(): number {
    let sum = 0;
    for (const extent of this.#extents) sum += extent.count;
    return sum;
  }

  /** All extents by offset. */
  get extents(): readonly Readonly<PageExtent>[] {
    return this.#extents;
  }

  /** The extent that holds the page at `offset`, if there is one. */
  find(offset: number): Readonly<PageExtent> | undefined {
    const extent = this.#extents[this.#after(offset) - 1];
    return extent !== undefined && offset < extent.offset + extent.count * PAGE ? extent : undefined;
  }

  /** How many pages from `offset` on are absent, at most `count`. */
  absent(offset: number, count: number): number {
    if (this.find(offset) !== undefined) return 0;
    const next = this.#extents[this.#after(offset)];
    return next === undefined ? count : Math.min(count, (next.offset - offset) / PAGE);
  }

  /** Enters pages that were absent. */
  insert(extent: PageExtent): void {
    const at = this.#after(extent.offset);
    const left = this.#extents[at - 1];
    if (
      left !== undefined &&
      left.offset + left.count * PAGE === extent.offset &&
      left.gpa + left.count * PAGE === extent.gpa &&
      left.flags === extent.flags
    )
      left.count += extent.count;
    else this.#extents.splice(at, 0, { ...extent });
  }

  /** Forgets every page. */
  clear(): void {
    this.#extents.length = 0;
  }

  /** Index of the first extent that starts after `offset`. */
  #after(offset: number): number {
    let low = 0;
    let high = this.#extents.length;
    while (low < high) {
      const mid = (low + high) >>> 1;
      if (this.#extents[mid].offset <= offset) low = mid + 1;
      else high = mid;
    }
    return low;
  }
}
