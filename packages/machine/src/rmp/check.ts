/**
 * The RMP checks of a memory access, in the order of their priority (AMD APM vol. 2 §15.36.10, table 15-39):
 * RMP-covered, guest-owned, reverse-map, mutable → #NPF; validated → #VC; VMPL → #NPF.
 *
 * A page the hypervisor owns can only be reached with C-bit 0: data accesses of a guest to such a page of
 * guest RAM are shared accesses and pass; instruction fetches always have C-bit 1 and fail.
 */
import { type Access, GeneralProtection, NestedPageFault, PageNotValidated } from '../faults.js';
import { PAGE_SIZE } from '../memory-map.js';
import { ASID_SHIFT, ENTRY, PERM, type RmpRegion, type RmpTable, VMPLS } from './table.js';

/** Permissions an access needs. A page that may be written but not read faults on every data access. */
const NEEDS: Record<Access, number> = { r: PERM.R, w: PERM.R | PERM.W, x: PERM.XU, xs: PERM.XS, vmsa: 0 };

const OWNED_MASK = (0xff << ASID_SHIFT) | ENTRY.ASSIGNED | ENTRY.IMMUTABLE | ENTRY.REMAPPED;

/**
 * Checks that `vmpl` may access every byte of [gpa, gpa+length). Returns nothing, or throws
 * {@link NestedPageFault} or {@link PageNotValidated} for the first page that fails. Allocates nothing
 * when it succeeds.
 */
export function checkAccess(
  table: RmpTable,
  vmpl: number,
  gpa: number,
  length: number,
  access: Access,
): void {
  if (!(vmpl >= 0 && vmpl < VMPLS)) throw new GeneralProtection(`there is no VMPL ${vmpl}`);
  if (!Number.isSafeInteger(gpa) || gpa < 0 || !Number.isSafeInteger(length) || length < 0) {
    throw new NestedPageFault(Number.isFinite(gpa) ? gpa : 0, vmpl, access, 'rmp-covered');
  }
  if (length === 0) return;
  const region = table.regionOf(gpa);
  if (region === undefined) throw new NestedPageFault(gpa, vmpl, access, 'rmp-covered');
  const last = gpa + length - 1;
  const lastPage = region.pageOf(last < region.end ? last : region.end - 1);
  const owner = (table.asid << ASID_SHIFT) | ENTRY.ASSIGNED;
  const perms = NEEDS[access] << (16 + vmpl * 4);
  const need = ENTRY.VALIDATED | (access === 'vmsa' ? ENTRY.VMSA : 0) | perms;
  const mask = OWNED_MASK | need;
  const want = owner | need;
  for (let page = region.pageOf(gpa); page <= lastPage; ) {
    const large = region.large[page >>> 9];
    const isLarge = (large & ENTRY.LARGE) !== 0;
    const word = isLarge ? large : region.word(page);
    if ((word & mask) !== want && !isSharedData(region, word, access)) {
      raise(table, region, page, word, vmpl, access, gpa);
    }
    page = isLarge ? (page | 511) + 1 : page + 1;
  }
  if (last >= region.end) throw new NestedPageFault(region.end, vmpl, access, 'rmp-covered');
}

function isSharedData(region: RmpRegion, word: number, access: Access): boolean {
  return (word & ENTRY.ASSIGNED) === 0 && region.kind === 'ram' && (access === 'r' || access === 'w');
}

/** Finds the first check that the entry fails and throws its fault. */
function raise(
  table: RmpTable,
  region: RmpRegion,
  page: number,
  word: number,
  vmpl: number,
  access: Access,
  start: number,
): never {
  const at = Math.max(start, region.base + page * PAGE_SIZE);
  checkOwned(table, word, vmpl, at, access);
  if (access === 'vmsa') throw new NestedPageFault(at, vmpl, access, 'vmpl');
  if ((word & ENTRY.VALIDATED) === 0) throw new PageNotValidated(at, vmpl);
  throw new NestedPageFault(at, vmpl, access, 'vmpl');
}

/** The checks before validation and permissions: guest-owned, reverse-map, mutable. */
export function checkOwned(table: RmpTable, word: number, vmpl: number, gpa: number, access: Access): void {
  const asid = (word >>> ASID_SHIFT) & 0xff;
  if ((word & ENTRY.ASSIGNED) === 0 || asid !== table.asid) {
    throw new NestedPageFault(gpa, vmpl, access, 'guest-owned');
  }
  if ((word & ENTRY.REMAPPED) !== 0) throw new NestedPageFault(gpa, vmpl, access, 'reverse-map');
  if ((word & ENTRY.IMMUTABLE) !== 0) throw new NestedPageFault(gpa, vmpl, access, 'mutable');
}
