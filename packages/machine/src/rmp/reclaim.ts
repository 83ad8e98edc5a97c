/** Memory whose guest is gone becomes what it was at launch, whatever that guest made of its entries. */
import { LARGE_PAGE_SIZE, PAGE_SIZE } from '../memory-map.js';
import { ASID_SHIFT, ENTRY, PAGES_PER_LARGE, PERM, permShift, type RmpTable } from './table.js';

/** The word of a page of guest RAM at launch: assigned, validated, VMPL0's and VMPL1's in full. */
function launchWord(table: RmpTable): number {
  const all = (PERM.ALL << permShift(0)) | (PERM.ALL << permShift(1));
  return ENTRY.ASSIGNED | ENTRY.VALIDATED | (table.asid << ASID_SHIFT) | all;
}

/**
 * Puts [gpa, gpa+length), whole pages of guest RAM, into the state of the launch and scrubs it, but for pages that
 * `keep` names. The hypervisor and VMPL0 together could do the same with RMPUPDATE, PVALIDATE and RMPADJUST; VMSA
 * pages must have been stopped.
 */
export function reclaim(
  table: RmpTable,
  gpa: number,
  length: number,
  keep: (gpa: number) => boolean = () => false,
): void {
  const word = launchWord(table);
  const end = gpa + length;
  for (let at = gpa; at < end; ) {
    const region = table.regionOf(at);
    if (region === undefined || region.kind !== 'ram') return;
    const page = region.pageOf(at);
    const next = at + LARGE_PAGE_SIZE - (at % LARGE_PAGE_SIZE);
    const limit = Math.min(next, end);
    let kept = false;
    for (let p = at; p < limit && !kept; p += PAGE_SIZE) kept = keep(p);
    if (limit - at === LARGE_PAGE_SIZE && !kept) {
      for (let p = at; p < limit && table.remapped.size > 0; p += PAGE_SIZE) table.remapped.delete(p);
      region.setLarge(page >>> 9, word);
      table.onChange(region, page, PAGES_PER_LARGE, true);
    } else {
      const large = region.large[page >>> 9];
      if ((large & ENTRY.LARGE) !== 0) region.setSmall(page >>> 9, large);
      for (let p = at; p < limit; p += PAGE_SIZE) {
        if (keep(p)) continue;
        table.remapped.delete(p);
        region.setWord(region.pageOf(p), word);
        table.onChange(region, region.pageOf(p), 1, true);
      }
    }
    at = limit;
  }
}
