/** SNP_PAGE_UNSMASH (SEV-SNP Firmware ABI): the PSP joins 512 entries of 4 KiB into one of 2 MiB. */
import { LARGE_PAGE_SIZE, PAGE_SIZE } from '../memory-map.js';
import { PSP_STATUS } from '../psp/status.js';
import { ENTRY, PAGES_PER_LARGE, type RmpTable } from './table.js';

/**
 * Joins the 4 KiB entries at `spa`. Returns a firmware status: INVALID_ADDRESS when misaligned or not
 * covered, INVALID_PAGE_SIZE when the entry is 2 MiB already, INVALID_PAGE_STATE when the 512 entries are
 * not all assigned, mutable, free of VMSA pages, equal in every field and consecutive in guest addresses.
 */
export function unsmash(table: RmpTable, spa: number): number {
  if (!Number.isSafeInteger(spa) || spa < 0 || spa % LARGE_PAGE_SIZE !== 0) return PSP_STATUS.INVALID_ADDRESS;
  const region = table.regionOf(spa);
  if (region === undefined) return PSP_STATUS.INVALID_ADDRESS;
  const c = region.pageOf(spa) >>> 9;
  if ((region.large[c] & ENTRY.LARGE) !== 0) return PSP_STATUS.INVALID_PAGE_SIZE;
  const small = region.small[c];
  const word = small === undefined ? 0 : small[0];
  const flags = ENTRY.ASSIGNED | ENTRY.IMMUTABLE | ENTRY.VMSA | ENTRY.IN_USE;
  if (small === undefined || (word & flags) !== ENTRY.ASSIGNED) return PSP_STATUS.INVALID_PAGE_STATE;
  for (let i = 1; i < PAGES_PER_LARGE; i++) if (small[i] !== word) return PSP_STATUS.INVALID_PAGE_STATE;
  if ((word & ENTRY.REMAPPED) !== 0) {
    const gpa = table.remapped.get(spa) as number;
    if (gpa % LARGE_PAGE_SIZE !== 0) return PSP_STATUS.INVALID_PAGE_STATE;
    for (let i = 1; i < PAGES_PER_LARGE; i++) {
      if (table.remapped.get(spa + i * PAGE_SIZE) !== gpa + i * PAGE_SIZE)
        return PSP_STATUS.INVALID_PAGE_STATE;
    }
    for (let i = 1; i < PAGES_PER_LARGE; i++) table.remapped.delete(spa + i * PAGE_SIZE);
  }
  region.setLarge(c, word);
  return PSP_STATUS.SUCCESS;
}
