/** Page state changes that a guest asks of the hypervisor (AMD 56421, "Page State Change"). */
import type { Machine } from '../machine.js';
import { LARGE_PAGE_SIZE, PAGE_SIZE } from '../memory-map.js';

/** Operations of an entry. */
export const PSC_OP = Object.freeze({ PRIVATE: 1, SHARED: 2, PSMASH: 3, UNSMASH: 4 });
export const PSC_MAX_ENTRIES = 253;
/** SW_EXITINFO2 (high half) when the hypervisor refuses. */
export const PSC_ERROR = Object.freeze({ INVALID_HEADER: 1, INVALID_ENTRY: 2 });

/**
 * One operation on `size` (0 = 4 KiB, 1 = 2 MiB) at `gpa`. Pages that are not guest RAM, and pages that VMPL1
 * cannot reach (deposited memory, VMSAs), are refused, as is an overlap. True when done.
 */
export function changePageState(machine: Machine, gpa: number, op: number, size: 0 | 1): boolean {
  const bytes = size === 1 ? LARGE_PAGE_SIZE : PAGE_SIZE;
  if (gpa % bytes !== 0 || gpa + bytes > machine.memory.ramBytes) return false;
  for (let at = gpa; at < gpa + bytes; at += PAGE_SIZE) {
    const entry = machine.rmp.entry(at);
    if (entry === undefined || (entry.assigned && !ownedByGuest(entry))) return false;
    if (entry.size === 1) break;
  }
  switch (op) {
    case PSC_OP.PRIVATE:
      return setState(machine, gpa, size, true);
    case PSC_OP.SHARED:
      return setState(machine, gpa, size, false);
    case PSC_OP.PSMASH:
      return size === 1 && machine.rmp.psmash(gpa) === 0;
    case PSC_OP.UNSMASH:
      return size === 1 && machine.rmp.unsmash(gpa) === 0;
    default:
      return false;
  }
}

/** What VMPL1 asked to make private but has not had validated yet, or may read and write. */
function ownedByGuest(entry: {
  validated: boolean;
  vmsa: boolean;
  immutable: boolean;
  perms: number[];
}): boolean {
  if (entry.vmsa || entry.immutable) return false;
  return !entry.validated || (entry.perms[1] & 3) === 3;
}

function setState(machine: Machine, gpa: number, size: 0 | 1, assigned: boolean): boolean {
  const entry = machine.rmp.entry(gpa);
  if (entry === undefined) return false;
  // Making private what is private already would take its validation away: it is a request that changes nothing.
  if (entry.assigned === assigned && entry.size === size) return true;
  if (
    size === 0 &&
    entry.size === 1 &&
    entry.assigned &&
    machine.rmp.psmash(gpa - (gpa % LARGE_PAGE_SIZE)) !== 0
  ) {
    return false;
  }
  return machine.rmp.rmpupdate(gpa, { assigned, size, asid: assigned ? machine.rmp.asid : 0 }) === 0;
}

/**
 * Executes the list in the scratch area (header {cur u16, end u16, reserved u32}, entries u64), updating `cur`.
 * Returns SW_EXITINFO2: 0 when all entries are done, else an error in the high half.
 */
export function pageStateChange(machine: Machine, list: Uint8Array): number {
  const view = new DataView(list.buffer, list.byteOffset, list.byteLength);
  const cur = view.getUint16(0, true);
  const end = view.getUint16(2, true);
  if (
    cur > end ||
    end >= PSC_MAX_ENTRIES ||
    view.getUint32(4, true) !== 0 ||
    8 + (end + 1) * 8 > list.length
  ) {
    return PSC_ERROR.INVALID_HEADER * 2 ** 32;
  }
  for (let i = cur; i <= end; i++) {
    const low = view.getUint32(8 + i * 8, true);
    const high = view.getUint32(12 + i * 8, true);
    const gpa = (high & 0xf_ffff) * 0x1_0000_0000 + (low - (low & 0xfff));
    const size = ((high >>> 24) & 1) as 0 | 1;
    const known = (low & 0xfff) === 0 && high >>> 25 === 0;
    if (!known || !changePageState(machine, gpa, (high >>> 20) & 0xf, size)) {
      view.setUint16(0, i, true);
      return PSC_ERROR.INVALID_ENTRY * 2 ** 32;
    }
  }
  view.setUint16(0, end + 1, true);
  return 0;
}
