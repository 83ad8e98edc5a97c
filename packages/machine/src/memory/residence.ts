/** Where the content of each page of guest RAM lies now: visible in the RAM file, or hidden in the cvm. */
import { visibleToGuest } from '../rmp/mapping.js';
import type { RmpRegion, RmpTable } from '../rmp/table.js';

/** What really moves content. Page numbers count from gPA 0. */
export interface ResidenceActions {
  /** Moves content out of guest RAM and punches the hole. */
  hide(page: number, pages: number): void;
  /** Makes pages visible again, scrubbed. */
  show(page: number, pages: number): void;
  /** Zeroes the content wherever it is. */
  scrub(page: number, pages: number): void;
}

/** Follows the RMP: after each change the backings of the pages are what the entries say. */
export class RamResidence {
  readonly #hidden: Uint8Array;
  readonly #actions: ResidenceActions;
  #hiddenPages = 0;
  #virgin = true;

  constructor(pages: number, actions: ResidenceActions) {
    this.#hidden = new Uint8Array(pages);
    this.#actions = actions;
  }

  /** Pages whose content is private now. */
  get hiddenPages(): number {
    return this.#hiddenPages;
  }

  isHidden(page: number): boolean {
    return this.#hidden[page] === 1;
  }

  /** First page in (page, limit) whose content lies elsewhere than that of `page`, or `limit`. */
  runEnd(page: number, limit: number): number {
    if (this.#hiddenPages === 0) return limit;
    const hidden = this.#hidden;
    const first = hidden[page];
    let end = page + 1;
    while (end < limit && hidden[end] === first) end++;
    return Math.min(end, limit);
  }

  /** Until this is called, guest RAM is untouched zeros and changes of the table move nothing. */
  openForGuest(): void {
    this.#virgin = false;
  }

  /** Brings `pages` pages from `page` on in line with the table, in runs. */
  settle(table: RmpTable, region: RmpRegion, page: number, pages: number, scrub: boolean): void {
    if (region.kind !== 'ram') return;
    const end = page + pages;
    for (let start = page; start < end; ) {
      const hide = visibleToGuest(table, region, region.word(start)) ? 0 : 1;
      const was = this.#hidden[start];
      let stop = start + 1;
      while (
        stop < end &&
        this.#hidden[stop] === was &&
        (visibleToGuest(table, region, region.word(stop)) ? 0 : 1) === hide
      ) {
        stop++;
      }
      this.#move(start, stop - start, was, hide, scrub);
      start = stop;
    }
  }

  #move(page: number, pages: number, was: number, hide: number, scrub: boolean): void {
    if (!this.#virgin) {
      if (scrub) this.#actions.scrub(page, pages);
      else if (hide === 1 && was === 0) this.#actions.hide(page, pages);
      else if (hide === 0 && was === 1) this.#actions.show(page, pages);
    }
    if (was === hide) return;
    this.#hidden.fill(hide, page, page + pages);
    this.#hiddenPages += hide === 1 ? pages : -pages;
  }
}
