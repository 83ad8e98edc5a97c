/** PSMASH (AMD APM vol. 3): the hypervisor splits a 2 MiB entry, keeping Validated and all else. */
import { LARGE_PAGE_SIZE, PAGE_SIZE } from '../memory-map.js';
import { RMP_RESULT, type RmpResult } from './result.js';
import { ENTRY, PAGES_PER_LARGE, type RmpTable } from './table.js';

/**
 * Executes PSMASH on the 2 MiB page at `spa`. Checks in order: FAIL_INPUT: misaligned or not covered;
 * FAIL_INUSE: a running VMSA; FAIL_BADADDR: not an assigned, mutable 2 MiB entry. The 512 entries get
 * consecutive Guest_Physical_Addresses and Page_Size 0, the rest is copied.
 */
export function psmash(table: RmpTable, spa: number): RmpResult {
  if (!Number.isSafeInteger(spa) || spa < 0 || spa % LARGE_PAGE_SIZE !== 0) return RMP_RESULT.FAIL_INPUT;
  const region = table.regionOf(spa);
  if (region === undefined) return RMP_RESULT.FAIL_INPUT;
  const c = region.pageOf(spa) >>> 9;
  const word = region.word(c << 9);
  if ((word & ENTRY.IN_USE) !== 0) return RMP_RESULT.FAIL_INUSE;
  const flags = ENTRY.LARGE | ENTRY.ASSIGNED | ENTRY.IMMUTABLE;
  if ((word & flags) !== (ENTRY.LARGE | ENTRY.ASSIGNED)) return RMP_RESULT.FAIL_BADADDR;
  region.setSmall(c, word);
  const gpa = table.remapped.get(spa);
  if (gpa !== undefined) {
    for (let i = 0; i < PAGES_PER_LARGE; i++) table.remapped.set(spa + i * PAGE_SIZE, gpa + i * PAGE_SIZE);
  }
  return RMP_RESULT.SUCCESS;
}
