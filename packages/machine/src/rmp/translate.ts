/** What PVALIDATE and RMPADJUST do with their address before they look at the entry. */
import { NestedPageFault } from '../faults.js';
import { LARGE_PAGE_SIZE, PAGE_SIZE } from '../memory-map.js';
import { checkOwned } from './check.js';
import { RMP_RESULT, type RmpResult } from './result.js';
import { ENTRY, PAGES_PER_LARGE, type RmpRegion, type RmpTable } from './table.js';

/** True when the operand names a page: size 0 or 1 and an address aligned for it. */
export function isPageOperand(gpa: number, size: number): boolean {
  if (size !== 0 && size !== 1) return false;
  return Number.isSafeInteger(gpa) && gpa >= 0 && gpa % (size === 1 ? LARGE_PAGE_SIZE : PAGE_SIZE) === 0;
}

/**
 * Translates and checks: RMP-covered, guest-owned, reverse-map, mutable (throws {@link NestedPageFault}),
 * then the page size (table 15-40): 4 KiB wanted under a 2 MiB entry is #NPF with SIZEM, so that the
 * hypervisor does PSMASH and the guest tries again; 2 MiB wanted over 4 KiB entries is FAIL_SIZEMISMATCH.
 */
export function translate(table: RmpTable, vmpl: number, gpa: number, size: number): RmpRegion | RmpResult {
  const region = table.regionOf(gpa);
  if (region === undefined) throw new NestedPageFault(gpa, vmpl, 'r', 'rmp-covered');
  const page = region.pageOf(gpa);
  const word = region.word(page);
  checkOwned(table, word, vmpl, gpa, 'r');
  const large = (word & ENTRY.LARGE) !== 0;
  if (size === 0 && large) throw new NestedPageFault(gpa, vmpl, 'r', 'page-size');
  if (size === 1 && !large) return RMP_RESULT.FAIL_SIZEMISMATCH;
  return region;
}

/** Pages covered by an operand of this size. */
export function pagesOf(size: number): number {
  return size === 1 ? PAGES_PER_LARGE : 1;
}
