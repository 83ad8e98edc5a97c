/**
 * How much is aged. Making a page table entry not present costs the page a fault if it is used again, and saves it from
 * being written back. That pays only where many aged pages are used again: a scan uses none of them.
 */

/** Aged pages after whose end (used or written back) the share is chosen anew. */
const WINDOW = 64;
/** Share of aged pages that were used: from here on more are aged, and below the second fewer. */
const WORTH = 0.12;
const WASTE = 0.06;
const LEAST = 1 / 32;

/** Chooses the share of evictions that go through ageing, between 1/32 and 1. */
export class AgeingPolicy {
  #share = 1 / 4;
  #ended = 0;
  #rescued = 0;

  /** Part of the pages to be written back that are taken from the aged ones. */
  get share(): number {
    return this.#share;
  }

  /** Aged pages to keep for this many frames, so that they have time to be used. */
  target(frames: number): number {
    return Math.floor((frames * this.#share) / 8);
  }

  /** An aged page was used. */
  rescued(): void {
    this.#rescued++;
    this.#end();
  }

  /** An aged page was written back. */
  evicted(): void {
    this.#end();
  }

  #end(): void {
    if (++this.#ended < WINDOW) return;
    const rate = this.#rescued / this.#ended;
    if (rate >= WORTH) this.#share = Math.min(1, this.#share * 2);
    else if (rate < WASTE) this.#share = Math.max(LEAST, this.#share / 2);
    this.#ended = this.#rescued = 0;
  }
}
