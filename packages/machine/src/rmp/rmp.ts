/** The reverse map table: the only source of who may map and touch what. */
import type { Access } from '../faults.js';
import { PAGE_SIZE } from '../memory-map.js';
import { checkAccess } from './check.js';
import { effectiveMapping, type Mapping, visibleToGuest } from './mapping.js';
import { psmash } from './psmash.js';
import { type PvalidateResult, pvalidate } from './pvalidate.js';
import { reclaim } from './reclaim.js';
import type { RmpResult } from './result.js';
import { rmpadjust } from './rmpadjust.js';
import { type RmpState, rmpupdate } from './rmpupdate.js';
import { ASID_SHIFT, ENTRY, PERM, permShift, permsOf, RmpRegion, RmpTable } from './table.js';
import { unsmash } from './unsmash.js';

/** A decoded entry. `perms[v]` are the permission bits of VMPL v. */
export interface RmpEntry {
  assigned: boolean;
  validated: boolean;
  immutable: boolean;
  vmsa: boolean;
  inUse: boolean;
  /** 0 = 4 KiB, 1 = 2 MiB. */
  size: 0 | 1;
  asid: number;
  gpa: number;
  perms: [number, number, number, number];
}

/** An address range the RMP covers; `bytes` is a multiple of 2 MiB and `base` aligned to it. */
export interface RmpRange {
  kind: RmpRegion['kind'];
  base: number;
  bytes: number;
}

/** The table with the instructions that work on it. See the file of each instruction for its checks. */
export class Rmp {
  readonly table: RmpTable;

  constructor(ranges: readonly RmpRange[], asid = 1) {
    this.table = new RmpTable(
      ranges.map((r) => new RmpRegion(r.kind, r.base, r.bytes)),
      asid,
    );
  }

  /** ASID of the guest. */
  get asid(): number {
    return this.table.asid;
  }

  /**
   * Puts every 2 MiB entry of a range into the state that RMPUPDATE, PVALIDATE at VMPL0 and (with
   * `guestPerms`) RMPADJUST for VMPL1 would leave: assigned, validated, full permissions for VMPL0. For the
   * launch only: nothing is moved or scrubbed.
   */
  fillAtLaunch(kind: RmpRegion['kind'], guestPerms: number): void {
    const word = ENTRY.ASSIGNED | ENTRY.VALIDATED | (this.asid << ASID_SHIFT) | (PERM.ALL << permShift(0));
    for (const region of this.table.regions) {
      if (region.kind === kind) region.large.fill(word | (guestPerms << permShift(1)) | ENTRY.LARGE);
    }
  }

  /** Makes a range of guest RAM what it was at launch, and zero, but for pages that `keep` names. */
  reclaim(gpa: number, length: number, keep?: (gpa: number) => boolean): void {
    reclaim(this.table, gpa, length, keep);
  }

  /** RMPUPDATE, by the hypervisor. */
  rmpupdate(spa: number, state: RmpState): RmpResult {
    return rmpupdate(this.table, spa, state);
  }

  /** RMPADJUST, by the guest at `callerVmpl`. Throws NestedPageFault, PageNotValidated. */
  rmpadjust(callerVmpl: number, gpa: number, size: number, attrs: number): RmpResult {
    return rmpadjust(this.table, callerVmpl, gpa, size, attrs);
  }

  /** PVALIDATE, by the guest at `callerVmpl`. Throws NestedPageFault, GeneralProtection. */
  pvalidate(callerVmpl: number, gpa: number, size: number, validate: boolean): PvalidateResult {
    return pvalidate(this.table, callerVmpl, gpa, size, validate);
  }

  /** PSMASH, by the hypervisor. */
  psmash(spa: number): RmpResult {
    return psmash(this.table, spa);
  }

  /** SNP_PAGE_UNSMASH, by the PSP; a firmware status. */
  unsmash(spa: number): number {
    return unsmash(this.table, spa);
  }

  /** Throws NestedPageFault or PageNotValidated when `vmpl` may not access all of [gpa, gpa+length). */
  check(vmpl: number, gpa: number, length: number, access: Access): void {
    checkAccess(this.table, vmpl, gpa, length, access);
  }

  /** As `check`, as a boolean. */
  allows(vmpl: number, gpa: number, length: number, access: Access): boolean {
    try {
      checkAccess(this.table, vmpl, gpa, length, access);
      return true;
    } catch {
      return false;
    }
  }

  /** RMP ∩ EPCM for the page at `gpa`. */
  effectiveMapping(gpa: number, epcm: Readonly<Mapping>): Mapping {
    return effectiveMapping(this.table, gpa, epcm);
  }

  /** How many pages from `gpa` on, at most `count`, have the same rights by the RMP as it: `effectiveMapping` is one for all. */
  alike(gpa: number, count: number): number {
    const region = this.table.regionOf(gpa);
    return region === undefined ? 1 : region.alike(region.pageOf(gpa), count);
  }

  /** True when VMPL1 has the page's content mapped. */
  visible(gpa: number): boolean {
    const region = this.table.regionOf(gpa);
    return region !== undefined && visibleToGuest(this.table, region, region.word(region.pageOf(gpa)));
  }

  /** Marks a VMSA page as that of a running vCPU, or no longer (VMRUN and #VMEXIT do this). */
  setInUse(gpa: number, on: boolean): void {
    const region = this.table.regionOf(gpa);
    if (region === undefined) return;
    const page = region.pageOf(gpa);
    const word = region.word(page);
    region.setWord(page, on ? word | ENTRY.IN_USE : word & ~ENTRY.IN_USE);
  }

  /** The entry that covers `gpa`, or undefined where the RMP does not reach. */
  entry(gpa: number): RmpEntry | undefined {
    const region = this.table.regionOf(gpa);
    if (region === undefined) return undefined;
    const page = region.pageOf(gpa);
    const word = region.word(page);
    const address = region.base + page * PAGE_SIZE;
    return {
      assigned: (word & ENTRY.ASSIGNED) !== 0,
      validated: (word & ENTRY.VALIDATED) !== 0,
      immutable: (word & ENTRY.IMMUTABLE) !== 0,
      vmsa: (word & ENTRY.VMSA) !== 0,
      inUse: (word & ENTRY.IN_USE) !== 0,
      size: (word & ENTRY.LARGE) !== 0 ? 1 : 0,
      asid: (word >>> ASID_SHIFT) & 0xff,
      gpa: this.table.remapped.get(address) ?? address,
      perms: [permsOf(word, 0), permsOf(word, 1), permsOf(word, 2), permsOf(word, 3)],
    };
  }
}
