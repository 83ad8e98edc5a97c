/** Guest RAM that VMPL1 gives to VMPL0 for EPC, and gets back (SVSM DEPOSIT_MEM and WITHDRAW_MEM). */
import { RMPADJUST } from '@nestedsgx/arch';
import { MachineError } from '../errors.js';
import type { Machine } from '../machine.js';
import { LARGE_PAGE_SIZE, PAGE_SIZE } from '../memory-map.js';
import { PERM } from '../rmp/table.js';

const GUEST_VMPL = 1;

/** Permissions VMPL1 has on its RAM: all. */
const GUEST_RAM_ATTRS = GUEST_VMPL | (PERM.ALL << 8);

/**
 * Takes [gpa, gpa+length) away from VMPL1. Every page must be guest RAM that VMPL1 has in full, validated
 * and not a VMSA; otherwise nothing changes and MACHINE_DEPOSIT is thrown. The pages are zero afterwards and
 * only VMPL0 has them.
 */
export function depositMemory(machine: Machine, gpa: number, length: number): void {
  checkRange(machine, gpa, length);
  for (let at = gpa; at < gpa + length; at += PAGE_SIZE) {
    const entry = machine.rmp.entry(at);
    const whole = entry?.assigned && entry.validated && !entry.vmsa && entry.perms[GUEST_VMPL] === PERM.ALL;
    if (!whole || entry.perms[2] !== 0 || entry.perms[3] !== 0) {
      throw new MachineError('MACHINE_DEPOSIT', `0x${at.toString(16)} is not memory VMPL1 has in full`);
    }
  }
  machine.memory.discarding(() => adjust(machine, gpa, length, GUEST_VMPL));
}

/**
 * Gives deposited pages back to VMPL1, zero. Every page must be guest RAM that is validated and that no VMPL
 * but 0 has; otherwise nothing changes and MACHINE_DEPOSIT is thrown.
 */
export function withdrawMemory(machine: Machine, gpa: number, length: number): void {
  checkRange(machine, gpa, length);
  for (let at = gpa; at < gpa + length; at += PAGE_SIZE) {
    const entry = machine.rmp.entry(at);
    const own = entry?.assigned && entry.validated && !entry.vmsa && entry.perms[0] === PERM.ALL;
    if (!own || entry.perms[1] !== 0 || entry.perms[2] !== 0 || entry.perms[3] !== 0) {
      throw new MachineError('MACHINE_DEPOSIT', `0x${at.toString(16)} was not deposited`);
    }
  }
  adjust(machine, gpa, length, GUEST_RAM_ATTRS);
}

function checkRange(machine: Machine, gpa: number, length: number): void {
  const aligned = Number.isSafeInteger(gpa) && gpa >= 0 && gpa % PAGE_SIZE === 0;
  const sized = Number.isSafeInteger(length) && length > 0 && length % PAGE_SIZE === 0;
  if (!aligned || !sized || gpa + length > machine.memory.ramBytes) {
    throw new MachineError('MACHINE_DEPOSIT', `${length} bytes at ${gpa} are not whole pages of guest RAM`);
  }
}

/** RMPADJUST of a range: 2 MiB entries at once where they are covered whole, split ones page by page. */
function adjust(machine: Machine, gpa: number, length: number, attrs: number): void {
  const end = gpa + length;
  for (let at = gpa; at < end; ) {
    const large = machine.rmp.entry(at)?.size === 1;
    const whole = large && at % LARGE_PAGE_SIZE === 0 && at + LARGE_PAGE_SIZE <= end;
    const bytes = whole ? LARGE_PAGE_SIZE : PAGE_SIZE;
    const code = machine.rmpadjust(0, at, whole ? 1 : 0, attrs & ~RMPADJUST.VMSA);
    if (code !== 0)
      throw new MachineError('MACHINE_DEPOSIT', `RMPADJUST of 0x${at.toString(16)} gave ${code}`);
    at += bytes;
  }
}
