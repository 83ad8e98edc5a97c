/** RMPUPDATE (AMD APM vol. 3): the hypervisor writes an entry. Changing an entry clears Validated. */
import { LARGE_PAGE_SIZE, PAGE_SIZE } from '../memory-map.js';
import { RMP_RESULT, type RmpResult } from './result.js';
import {
  ASID_SHIFT,
  ENTRY,
  MAX_ASID,
  PAGES_PER_LARGE,
  PERM,
  type RmpRegion,
  type RmpTable,
} from './table.js';

/** The new state of an entry. */
export interface RmpState {
  assigned: boolean;
  /** 0 = 4 KiB, 1 = 2 MiB. */
  size: 0 | 1;
  immutable?: boolean;
  asid: number;
  /** Guest_Physical_Address; the address itself when missing. */
  gpa?: number;
}

/**
 * Executes RMPUPDATE on the page at `spa`. Checks in order:
 * 1. FAIL_INPUT: page size not 0 or 1; address misaligned for it or not covered; Guest_Physical_Address
 *    misaligned for it; ASID out of range; ASID and owner do not fit (table 15-35: a guest page has an ASID,
 *    a hypervisor page has none, ASID 0 with Assigned needs Immutable).
 * 2. FAIL_INUSE: the entry, or one under a 2 MiB page, belongs to a VMSA that is running.
 * 3. FAIL_PERMISSION: the entry, or one under a 2 MiB page, is immutable.
 * 4. FAIL_OVERLAP: a 4 KiB page inside an assigned 2 MiB entry (not at its start), or a 2 MiB page over
 *    assigned 4 KiB entries other than its first.
 * On success full permissions for VMPL0, none for others, Validated and VMSA 0. The content is scrubbed.
 */
export function rmpupdate(table: RmpTable, spa: number, state: RmpState): RmpResult {
  const { size } = state;
  if (size !== 0 && size !== 1) return RMP_RESULT.FAIL_INPUT;
  const bytes = size === 1 ? LARGE_PAGE_SIZE : PAGE_SIZE;
  if (!Number.isSafeInteger(spa) || spa < 0 || spa % bytes !== 0) return RMP_RESULT.FAIL_INPUT;
  const region = table.regionOf(spa);
  if (region === undefined) return RMP_RESULT.FAIL_INPUT;
  const gpa = state.gpa ?? spa;
  if (!Number.isSafeInteger(gpa) || gpa < 0 || gpa % bytes !== 0) return RMP_RESULT.FAIL_INPUT;
  const { asid, assigned } = state;
  const immutable = state.immutable === true;
  if (!Number.isInteger(asid) || asid < 0 || asid > MAX_ASID) return RMP_RESULT.FAIL_INPUT;
  if (assigned ? asid === 0 && !immutable : asid !== 0) return RMP_RESULT.FAIL_INPUT;

  const page = region.pageOf(spa);
  const seen = entriesUnder(region, page, size);
  if ((seen & ENTRY.IN_USE) !== 0) return RMP_RESULT.FAIL_INUSE;
  if ((seen & ENTRY.IMMUTABLE) !== 0) return RMP_RESULT.FAIL_PERMISSION;
  if (overlaps(region, page, size)) return RMP_RESULT.FAIL_OVERLAP;

  let word = 0;
  if (assigned) word |= ENTRY.ASSIGNED | (asid << ASID_SHIFT) | (PERM.ALL << 16);
  if (immutable) word |= ENTRY.IMMUTABLE;
  if (assigned && gpa !== spa) word |= ENTRY.REMAPPED;
  write(table, region, page, size, word, gpa);
  return RMP_RESULT.SUCCESS;
}

function entriesUnder(region: RmpRegion, page: number, size: 0 | 1): number {
  if (size === 0 || (region.large[page >>> 9] & ENTRY.LARGE) !== 0) return region.word(page);
  let seen = 0;
  const small = region.small[page >>> 9];
  if (small !== undefined) for (let i = 0; i < PAGES_PER_LARGE; i++) seen |= small[i];
  return seen;
}

function overlaps(region: RmpRegion, page: number, size: 0 | 1): boolean {
  const large = region.large[page >>> 9];
  if ((large & ENTRY.LARGE) !== 0) {
    return size === 0 && (large & ENTRY.ASSIGNED) !== 0 && (page & 511) !== 0;
  }
  const small = region.small[page >>> 9];
  if (size === 0 || small === undefined) return false;
  for (let i = 1; i < PAGES_PER_LARGE; i++) if ((small[i] & ENTRY.ASSIGNED) !== 0) return true;
  return false;
}

function write(
  table: RmpTable,
  region: RmpRegion,
  page: number,
  size: 0 | 1,
  word: number,
  gpa: number,
): void {
  const c = page >>> 9;
  const first = page & ~511;
  if (size === 1) {
    forget(table, region, first, PAGES_PER_LARGE);
    region.setLarge(c, word);
    if ((word & ENTRY.REMAPPED) !== 0) table.remapped.set(region.base + first * PAGE_SIZE, gpa);
    table.onChange(region, first, PAGES_PER_LARGE, true);
    return;
  }
  const old = region.large[c];
  const wasLarge = (old & ENTRY.LARGE) !== 0;
  // Pages of an assigned 2 MiB entry become the hypervisor's; those of an unassigned one were already.
  const all = wasLarge && (old & ENTRY.ASSIGNED) !== 0;
  if (wasLarge) {
    forget(table, region, first, PAGES_PER_LARGE);
    region.setSmall(c, 0);
  } else forget(table, region, page, 1);
  region.setWord(page, word);
  if ((word & ENTRY.REMAPPED) !== 0) table.remapped.set(region.base + page * PAGE_SIZE, gpa);
  table.onChange(region, all ? first : page, all ? PAGES_PER_LARGE : 1, true);
}

function forget(table: RmpTable, region: RmpRegion, page: number, pages: number): void {
  if (table.remapped.size === 0) return;
  for (let i = 0; i < pages; i++) table.remapped.delete(region.base + (page + i) * PAGE_SIZE);
}
