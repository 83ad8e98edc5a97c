/**
 * State of the reverse map table: one 32-bit word per 2 MiB entry, and per 4 KiB entry where a 2 MiB range
 * is split. Words live in typed arrays; the 512 words of a split range are allocated when it is split.
 *
 * The nested page table of this machine is the identity and follows the RMP, so a system physical address
 * and a guest-physical one are the same number, and an access can fail the page-size check only in
 * PVALIDATE and RMPADJUST. An entry whose Guest_Physical_Address says otherwise has the REMAPPED bit.
 */
import { LARGE_PAGE_SIZE, PAGE_SIZE } from '../memory-map.js';

export const PAGES_PER_LARGE = 512;
/** Privilege levels of the machine. */
export const VMPLS = 4;

/** Bits of an entry's word. Bits 8–15 are the ASID, bits 16–31 the permissions, four per VMPL. */
export const ENTRY = Object.freeze({
  ASSIGNED: 1,
  VALIDATED: 2,
  IMMUTABLE: 4,
  VMSA: 8,
  IN_USE: 16,
  LARGE: 32,
  REMAPPED: 64,
});
export const ASID_SHIFT = 8;
export const MAX_ASID = 255;

/** VMPL permission bits (APM vol. 2 table 15-36). */
export const PERM = Object.freeze({ R: 1, W: 2, XU: 4, XS: 8, ALL: 15 });

/** Position of the permissions of a VMPL in the word. */
export function permShift(vmpl: number): number {
  return 16 + vmpl * 4;
}

/** The permissions of `vmpl` in a word. */
export function permsOf(word: number, vmpl: number): number {
  return (word >>> (16 + vmpl * 4)) & 15;
}

/** What an address range is for. */
export type RegionKind = 'ram' | 'monitor' | 'epc';

/** One covered range. */
export class RmpRegion {
  readonly kind: RegionKind;
  readonly base: number;
  readonly end: number;
  readonly chunks: number;
  /** Word of chunk c: LARGE set means the chunk is one 2 MiB entry with this word. */
  readonly large: Int32Array;
  /** 4 KiB words of chunk c; missing means all zero (unless the chunk is LARGE). */
  readonly small: (Int32Array | undefined)[];

  constructor(kind: RegionKind, base: number, bytes: number) {
    this.kind = kind;
    this.base = base;
    this.end = base + bytes;
    this.chunks = bytes / LARGE_PAGE_SIZE;
    this.large = new Int32Array(this.chunks);
    this.small = new Array(this.chunks);
  }

  /** Number of the page inside the region; `gpa` must lie inside. */
  pageOf(gpa: number): number {
    return Math.floor((gpa - this.base) / PAGE_SIZE);
  }

  /** The word that governs page `page`. */
  word(page: number): number {
    const c = page >>> 9;
    const large = this.large[c];
    if ((large & ENTRY.LARGE) !== 0) return large;
    const small = this.small[c];
    return small === undefined ? 0 : small[page & 511];
  }

  /** How many pages from `page` on, at most `count`, are governed by the same word as it. */
  alike(page: number, count: number): number {
    const limit = Math.min(count, this.chunks * PAGES_PER_LARGE - page);
    const word = this.word(page);
    let n = 1;
    while (n < limit) {
      const at = page + n;
      const large = this.large[at >>> 9];
      if ((large & ENTRY.LARGE) !== 0) {
        if (large !== word) return n;
        n = Math.min(limit, n + PAGES_PER_LARGE - (at & 511));
      } else if (this.word(at) === word) n++;
      else return n;
    }
    return n;
  }

  /** Replaces the word of the entry that covers `page`: the 2 MiB one, or the 4 KiB one. */
  setWord(page: number, word: number): void {
    const c = page >>> 9;
    if ((this.large[c] & ENTRY.LARGE) !== 0) this.large[c] = word | ENTRY.LARGE;
    else this.split(c)[page & 511] = word & ~ENTRY.LARGE;
  }

  /** Makes chunk `c` one 2 MiB entry. */
  setLarge(c: number, word: number): void {
    this.large[c] = word | ENTRY.LARGE;
    this.small[c] = undefined;
  }

  /** Makes chunk `c` 512 entries of 4 KiB, all with `word`. */
  setSmall(c: number, word: number): void {
    this.large[c] = 0;
    this.small[c] = word === 0 ? undefined : new Int32Array(PAGES_PER_LARGE).fill(word & ~ENTRY.LARGE);
  }

  private split(c: number): Int32Array {
    let small = this.small[c];
    if (small === undefined) {
      small = new Int32Array(PAGES_PER_LARGE);
      this.small[c] = small;
    }
    return small;
  }
}

/** All covered ranges, and what must happen when an entry changes. */
export class RmpTable {
  readonly regions: readonly RmpRegion[];
  /** ASID of the one guest of this machine. */
  readonly asid: number;
  /** Guest_Physical_Address of entries that have REMAPPED, by page address. */
  readonly remapped = new Map<number, number>();
  /** Called after every change of `pages` pages from `page` on; `scrub` means the content must not survive. */
  onChange: (region: RmpRegion, page: number, pages: number, scrub: boolean) => void = () => {};

  constructor(regions: readonly RmpRegion[], asid: number) {
    this.regions = regions;
    this.asid = asid;
  }

  /** The range that contains the address, if any. */
  regionOf(gpa: number): RmpRegion | undefined {
    for (const region of this.regions) if (gpa >= region.base && gpa < region.end) return region;
    return undefined;
  }
}
