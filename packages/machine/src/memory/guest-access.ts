/**
 * The one way in which the monitor touches memory on behalf of a VMPL: every address is checked against the
 * RMP as that VMPL, copied once, and only the copy is looked at. An address in the EPC or the monitor is
 * refused, because no lower VMPL has a permission there (confused deputy).
 */
import { MachineError } from '../errors.js';
import { NestedPageFault } from '../faults.js';
import type { Rmp } from '../rmp/rmp.js';
import type { PhysicalMemory } from './physical-memory.js';

/** Largest single copy (bytes). */
export const MAX_COPY = 0x400_0000;

/** Checked copies between guest-physical memory and the monitor. */
export class GuestAccess {
  readonly #rmp: Rmp;
  readonly #memory: PhysicalMemory;

  constructor(rmp: Rmp, memory: PhysicalMemory) {
    this.#rmp = rmp;
    this.#memory = memory;
  }

  /**
   * Copies `length` bytes at `gpa` that `vmpl` may read. Throws NestedPageFault, PageNotValidated,
   * MACHINE_COPY_LENGTH, MACHINE_NO_BACKING, MACHINE_BUS_ERROR.
   */
  copyIn(vmpl: number, gpa: number, length: number): Uint8Array {
    this.#limit(vmpl, gpa, length);
    this.#rmp.check(vmpl, gpa, length, 'r');
    const out = new Uint8Array(length);
    this.#memory.read(gpa, out);
    return out;
  }

  /** As `copyIn`, into bytes that the caller has. */
  copyInto(vmpl: number, gpa: number, into: Uint8Array): void {
    this.#limit(vmpl, gpa, into.length);
    this.#rmp.check(vmpl, gpa, into.length, 'r');
    this.#memory.read(gpa, into);
  }

  /** Copies `bytes` to `gpa`, which `vmpl` may write. Nothing is written unless all of it may be. Throws as `copyIn`. */
  copyOut(vmpl: number, gpa: number, bytes: Uint8Array): void {
    this.#limit(vmpl, gpa, bytes.length);
    this.#rmp.check(vmpl, gpa, bytes.length, 'w');
    this.#memory.write(gpa, bytes);
  }

  #limit(vmpl: number, gpa: number, length: number): void {
    if (!Number.isSafeInteger(gpa) || gpa < 0) throw new NestedPageFault(0, vmpl, 'r', 'rmp-covered');
    if (length > MAX_COPY) {
      throw new MachineError('MACHINE_COPY_LENGTH', `a copy of ${length} bytes is longer than ${MAX_COPY}`);
    }
  }
}
