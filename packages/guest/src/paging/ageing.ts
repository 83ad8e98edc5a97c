/**
 * Which pages are worth keeping, and how that is found out. A page that is loaded soon after it was written back is in
 * use more than others: that costs nothing to see, and such pages are kept (`hot`). Whether a kept page still is in use
 * only its page table entry tells: not present, the next use is a fault. That fault costs most of what loading the page
 * would, so it pays only where many of the pages looked at are used again; where few are, they just lose their place.
 */

/** Aged pages after whose end (used or written back) the policy is chosen anew. */
const WINDOW = 32;
/** Share of aged pages that were used: above, kept pages are looked at more rarely; below, more often, mostly unseen. */
const MANY = 1 / 2;
const FEW = 1 / 4;
/** Kept pages that lose their place with one batch. */
const MOST_DEMOTED = 16;
const LEAST_DEMOTED = 1 / 16;
/** Of pages that lose their place one in so many is looked at even when it does not seem to pay. */
const PROBE = 8;

/** Adapts how many kept pages lose their place with every batch written back. */
export class AgeingPolicy {
  #demoted = 1;
  #credit = 0;
  #pays = true;
  #ended = 0;
  #rescued = 0;
  #probe = 0;

  /** Kept pages to look at, or to let go, with this batch. */
  demoted(): number {
    this.#credit += this.#demoted;
    const now = Math.floor(this.#credit);
    this.#credit -= now;
    return now;
  }

  /** A page loaded within so many evictions after its own is kept. */
  static soon(frames: number): number {
    return frames / 4;
  }

  /** Most pages that are kept. */
  static room(frames: number): number {
    return (frames * 3) / 4;
  }

  /** So few kept pages are left alone. */
  static few(frames: number): number {
    return frames / 16;
  }

  /** Aged pages that wait for being used. */
  static waiting(frames: number): number {
    return Math.max(1, Math.min(64, frames >>> 4));
  }

  /** Whether the next page that loses its place shall be looked at. */
  looks(): boolean {
    return this.#pays || ++this.#probe % PROBE === 0;
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
    if (rate > MANY) this.#demoted = Math.max(LEAST_DEMOTED, this.#demoted / 2);
    else if (rate < FEW) this.#demoted = Math.min(MOST_DEMOTED, this.#demoted * 2);
    this.#pays = rate >= FEW;
    this.#ended = this.#rescued = 0;
  }
}
