/** A machine with a little RAM, one page VMPL1 may not touch and one it may only read. It notes what leaves write. */
import type { CallAnswer, CallPort, ExitPort, MachinePort, Permissions, VcpuPort } from '@nestedsgx/monitor';
import { AT, EPC_BASE, FRAMES, PAGE, RAM_BYTES } from '../layout.js';

/** The error with which a machine refuses accesses of a guest. */
export class SimFault extends Error {
  readonly code = 'NESTED_PAGE_FAULT';
}

const FAULT = new SimFault('VMPL1 may not access this page');

/** True when VMPL1 may read (or write) the range. */
export function guestMay(gpa: number, length: number, write: boolean): boolean {
  if (!(gpa >= 0 && gpa + length <= RAM_BYTES)) return false;
  if (gpa < AT.DENIED + PAGE && gpa + length > AT.DENIED) return false;
  return !(write && gpa < AT.READ_ONLY + PAGE && gpa + length > AT.READ_ONLY);
}

/** The machine under the monitor. */
export class SimMachine implements MachinePort {
  readonly epcBase = EPC_BASE;
  readonly epcBytes = FRAMES * PAGE;
  readonly ram = new Uint8Array(RAM_BYTES);
  /** gPA and length of every write since the list was last emptied. */
  readonly written: number[] = [];
  readonly #copies = Array.from({ length: 8 }, () => new Uint8Array(PAGE));
  #turn = 0;
  readonly memory = {
    ramBytes: RAM_BYTES,
    zero: (page: number, pages: number): void => {
      this.ram.fill(0, page * PAGE, (page + pages) * PAGE);
    },
  };
  readonly guest = {
    copyIn: (_vmpl: number, gpa: number, length: number): Uint8Array => {
      if (!guestMay(gpa, length, false)) throw FAULT;
      if (length !== PAGE || gpa === AT.SECS) return this.ram.slice(gpa, gpa + length);
      // Leaves keep copies of an SECS only; other pages are copied on, so buffers may take turns.
      this.#turn = (this.#turn + 1) % this.#copies.length;
      const copy = this.#copies[this.#turn];
      copy.set(this.ram.subarray(gpa, gpa + PAGE));
      return copy;
    },
    copyInto: (_vmpl: number, gpa: number, into: Uint8Array): void => {
      if (!guestMay(gpa, into.length, false)) throw FAULT;
      into.set(this.ram.subarray(gpa, gpa + into.length));
    },
    copyOut: (_vmpl: number, gpa: number, bytes: Uint8Array): void => {
      if (!guestMay(gpa, bytes.length, true)) throw FAULT;
      this.ram.set(bytes, gpa);
      this.written.push(gpa, bytes.length);
    },
  };
  readonly rmp = {
    check: (_vmpl: number, gpa: number, length: number, access: string): void => {
      if (!guestMay(gpa, length, access === 'w')) throw FAULT;
    },
  };
  readonly vcpus = {
    get: (): VcpuPort | undefined => undefined,
    registerVmsa: (): unknown => undefined,
    unregisterVmsa: (): boolean => false,
    vmsa: (): unknown => undefined,
  };

  effectiveMapping(_gpa: number, epcm: Readonly<Permissions>): Permissions {
    return epcm;
  }

  alikePages(_gpa: number, count: number): number {
    return count;
  }

  vmgexit(): ExitPort {
    return { kind: 'fault', fault: FAULT };
  }
  answer(_vcpu: VcpuPort, _answer: CallAnswer | CallPort): void {
    throw FAULT;
  }
  rmpadjust(): number {
    return 0;
  }
  pvalidate(): { code: number; carry: boolean } {
    return { code: 0, carry: false };
  }
  deposit(): void {
    throw FAULT;
  }
  withdraw(): void {
    throw FAULT;
  }
}
