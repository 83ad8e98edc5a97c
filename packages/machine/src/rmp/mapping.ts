/** From table entries to mappings: the only place that decides who may have a page mapped. */
import { ASID_SHIFT, ENTRY, PERM, permsOf, type RmpRegion, type RmpTable } from './table.js';

/** Rights of a mapping. */
export interface Mapping {
  r: boolean;
  w: boolean;
  x: boolean;
}

/**
 * True when the page may have its content in guest RAM, where VMPL1 has it mapped for reading and writing:
 * pages the hypervisor owns (shared), and validated pages of the guest that VMPL1 may read and write. VMSA,
 * immutable and remapped pages never. A page VMPL1 may only read is kept private too (a memory file cannot
 * be half writable): stricter than the table.
 */
export function visibleToGuest(table: RmpTable, region: RmpRegion, word: number): boolean {
  if (region.kind !== 'ram') return false;
  if ((word & ENTRY.ASSIGNED) === 0) return true;
  const flags = ENTRY.VALIDATED | ENTRY.IMMUTABLE | ENTRY.VMSA | ENTRY.REMAPPED;
  return (
    (word & flags) === ENTRY.VALIDATED &&
    ((word >>> ASID_SHIFT) & 0xff) === table.asid &&
    (permsOf(word, 1) & (PERM.R | PERM.W)) === (PERM.R | PERM.W)
  );
}

/**
 * The mapping that an enclave (VMPL0, CPL 3) may have of the page at `gpa`: what its EPCM entry allows and
 * the RMP allows too. Nothing at all for a page VMPL1 can reach, or that is not the guest's, validated and
 * mutable. W without R is nothing.
 */
export function effectiveMapping(table: RmpTable, gpa: number, epcm: Readonly<Mapping>): Mapping {
  const none = { r: false, w: false, x: false };
  const region = table.regionOf(gpa);
  if (region === undefined || region.kind === 'monitor') return none;
  const word = region.word(region.pageOf(gpa));
  const flags = ENTRY.ASSIGNED | ENTRY.VALIDATED | ENTRY.IMMUTABLE | ENTRY.VMSA | ENTRY.REMAPPED;
  if ((word & flags) !== (ENTRY.ASSIGNED | ENTRY.VALIDATED)) return none;
  if (((word >>> ASID_SHIFT) & 0xff) !== table.asid) return none;
  if (word >>> 20 !== 0) return none;
  const perms = permsOf(word, 0);
  const r = epcm.r && (perms & PERM.R) !== 0;
  return { r, w: r && epcm.w && (perms & PERM.W) !== 0, x: epcm.x && (perms & PERM.XU) !== 0 };
}
