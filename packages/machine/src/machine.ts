/** The software SNP machine: memory, RMP, vCPUs and security processor, put together and launched. */
import { MachineError } from './errors.js';
import { NestedPageFault, NPF } from './faults.js';
import { depositMemory, withdrawMemory } from './memory/deposit.js';
import { GuestAccess } from './memory/guest-access.js';
import { PhysicalMemory } from './memory/physical-memory.js';
import {
  DEFAULT_RAM_BYTES,
  DOORBELL_GPA,
  EPC_GPA,
  type GuestWindow,
  LARGE_PAGE_SIZE,
  MAX_EPC_BYTES,
  MIN_RAM_BYTES,
  MONITOR_BYTES,
  MONITOR_GPA,
  PAGE_SIZE,
  RAM_GPA,
} from './memory-map.js';
import type { SoftwarePsp } from './psp/software-psp.js';
import type { Mapping } from './rmp/mapping.js';
import type { RmpResult } from './rmp/result.js';
import { Rmp } from './rmp/rmp.js';
import { PERM } from './rmp/table.js';
import type { SvsmAnswer } from './vcpu/svsm-call.js';
import { type Vcpu, VcpuTable } from './vcpu/vcpu-table.js';
import { answerCall, type VmgExit, vmgexit } from './vcpu/vmgexit.js';

/** What a machine is built with. */
export interface MachineOptions {
  psp: SoftwarePsp;
  /** Guest RAM, a multiple of 2 MiB; default 1 GiB. */
  ramBytes?: number;
  /** EPC, a multiple of 2 MiB. */
  epcBytes: number;
  /** Slot of the address space for guest RAM; the first free one when missing. */
  slot?: number;
  /** What guest and cvm share, 2 MiB aligned; all of guest RAM when missing. */
  window?: GuestWindow;
}

/** One machine with one guest. Everything is synchronous and belongs to one thread. */
export class Machine {
  readonly memory: PhysicalMemory;
  readonly rmp: Rmp;
  readonly guest: GuestAccess;
  readonly psp: SoftwarePsp;
  readonly vcpus: VcpuTable;
  readonly epcBase = EPC_GPA;
  readonly epcBytes: number;
  readonly window: GuestWindow;

  private constructor(memory: PhysicalMemory, epcBytes: number, psp: SoftwarePsp, window: GuestWindow) {
    this.window = window;
    this.memory = memory;
    this.psp = psp;
    this.epcBytes = epcBytes;
    this.rmp = new Rmp([
      { kind: 'ram', base: RAM_GPA, bytes: memory.ramBytes },
      { kind: 'epc', base: EPC_GPA, bytes: epcBytes },
      { kind: 'monitor', base: MONITOR_GPA, bytes: MONITOR_BYTES },
    ]);
    this.guest = new GuestAccess(this.rmp, memory);
    this.vcpus = new VcpuTable(this);
    this.rmp.table.onChange = (region, page, pages, scrub) =>
      memory.residence.settle(this.rmp.table, region, page, pages, scrub);
  }

  /**
   * Builds the machine and brings its memory into the state a guest starts with: all of guest RAM assigned,
   * validated and VMPL1's in full, but the doorbell page, which is shared; EPC assigned, validated, VMPL0's
   * alone. Monitor pages are added with `addMonitorPages`. Throws MACHINE_SIZE, MACHINE_NO_SLOT, OsError.
   */
  static create(options: MachineOptions): Machine {
    const { epcBytes } = options;
    if (
      !Number.isSafeInteger(epcBytes) ||
      epcBytes <= 0 ||
      epcBytes > MAX_EPC_BYTES ||
      epcBytes % LARGE_PAGE_SIZE !== 0
    ) {
      throw new MachineError('MACHINE_SIZE', `an EPC of ${epcBytes} bytes is not possible`, {
        advice: `Take a multiple of 2 MiB up to ${MAX_EPC_BYTES}.`,
      });
    }
    const memory = PhysicalMemory.create(options.ramBytes ?? DEFAULT_RAM_BYTES, options.slot);
    const window = options.window ?? { gpa: 0, bytes: memory.ramBytes, relayed: false };
    if (!fits(window, memory.ramBytes)) {
      memory.close();
      throw new MachineError(
        'MACHINE_SIZE',
        `a window at 0x${window.gpa.toString(16)} does not lie in guest RAM`,
        {
          advice: 'Take a window of at least 8 MiB, a multiple of 2 MiB, at a multiple of 2 MiB.',
        },
      );
    }
    const machine = new Machine(memory, epcBytes, options.psp, window);
    machine.rmp.fillAtLaunch('ram', PERM.ALL);
    machine.rmp.fillAtLaunch('epc', 0);
    machine.shareWithHost(window.gpa + DOORBELL_GPA);
    memory.residence.openForGuest();
    return machine;
  }

  /**
   * Lays measured bytes of the monitor at `gpa` (page aligned, in the monitor range): private VMPL0 pages.
   * The bytes are not copied; the caller must not change them. Throws MACHINE_REGION.
   */
  addMonitorPages(gpa: number, bytes: Uint8Array, name: string): void {
    this.memory.addPrivateRegion(gpa, bytes, name);
    for (let at = gpa; at < gpa + bytes.length; at += PAGE_SIZE) {
      must(this.rmp.rmpupdate(at, { assigned: true, size: 0, asid: this.rmp.asid }), 'RMPUPDATE', at);
      must(this.rmp.pvalidate(0, at, 0, true).code, 'PVALIDATE', at);
    }
  }

  /**
   * Takes guest RAM back from a guest that is gone: VMSAs in it stop, the pages are as they were at launch, and
   * zero. Pages that `keep` names stay as they are.
   */
  reclaim(gpa: number, length: number, keep?: (gpa: number) => boolean): void {
    this.vcpus.forgetVmsas(gpa, length);
    this.rmp.reclaim(gpa, length, keep);
  }

  /** Makes a page of guest RAM shared (the hypervisor's) and zero, splitting its 2 MiB entry if need be. */
  shareWithHost(gpa: number): void {
    this.#split(gpa);
    must(this.rmp.rmpupdate(gpa, { assigned: false, size: 0, asid: 0 }), 'RMPUPDATE', gpa);
  }

  /**
   * RMPADJUST of a guest that does what hypervisors do for it: on #NPF with SIZEM the 2 MiB entry is split
   * (PSMASH) and the instruction tried again. Throws NestedPageFault, PageNotValidated.
   */
  rmpadjust(callerVmpl: number, gpa: number, size: number, attrs: number): RmpResult {
    return this.#retry(gpa, () => this.rmp.rmpadjust(callerVmpl, gpa, size, attrs));
  }

  /** PVALIDATE at VMPL0, with the same help. */
  pvalidate(gpa: number, size: number, validate: boolean): { code: RmpResult; carry: boolean } {
    return this.#retry(gpa, () => this.rmp.pvalidate(0, gpa, size, validate));
  }

  /** RMPADJUST of one page at VMPL0 that must succeed. Throws MACHINE_RMP, NestedPageFault, PageNotValidated. */
  restrict(gpa: number, attrs: number): void {
    must(this.rmpadjust(0, gpa, 0, attrs), 'RMPADJUST', gpa);
  }

  /** RMP ∩ EPCM for an enclave page: the one source of mappings in runners. */
  effectiveMapping(gpa: number, epcm: Readonly<Mapping>): Mapping {
    return this.rmp.effectiveMapping(gpa, epcm);
  }

  /** How many pages from `gpa` on, at most `count`, `effectiveMapping` treats as it. */
  alikePages(gpa: number, count: number): number {
    return this.rmp.alike(gpa, count);
  }

  /** SVSM DEPOSIT_MEM: takes RAM away from VMPL1, zero. Throws MACHINE_DEPOSIT. */
  deposit(gpa: number, length: number): void {
    depositMemory(this, gpa, length);
  }

  /** SVSM WITHDRAW_MEM: gives deposited RAM back, zero. Throws MACHINE_DEPOSIT. */
  withdraw(gpa: number, length: number): void {
    withdrawMemory(this, gpa, length);
  }

  /** Copies and decodes the GHCB of a vCPU, and serves what is the machine's to serve. */
  vmgexit(vcpu: Vcpu): VmgExit {
    return vmgexit(this, vcpu);
  }

  /** Writes the outputs of a call that `vmgexit` handed out. */
  answer(vcpu: Vcpu, answer: SvsmAnswer): void {
    answerCall(this, vcpu, answer);
  }

  /** Gives all memory back. */
  close(): void {
    this.memory.close();
  }

  #split(gpa: number): void {
    const entry = this.rmp.entry(gpa);
    if (entry?.size === 1 && entry.assigned) {
      must(this.rmp.psmash(gpa - (gpa % LARGE_PAGE_SIZE)), 'PSMASH', gpa);
    }
  }

  #retry<T>(gpa: number, instruction: () => T): T {
    try {
      return instruction();
    } catch (error) {
      if (!(error instanceof NestedPageFault) || Math.floor(error.errorCode / NPF.SIZEM) % 2 === 0)
        throw error;
      this.#split(gpa);
      return instruction();
    }
  }
}

function fits(window: GuestWindow, ramBytes: number): boolean {
  const aligned = window.gpa % LARGE_PAGE_SIZE === 0 && window.bytes % LARGE_PAGE_SIZE === 0;
  return aligned && window.gpa >= 0 && window.bytes >= MIN_RAM_BYTES && window.gpa + window.bytes <= ramBytes;
}

function must(code: number, instruction: string, gpa: number): void {
  if (code === 0) return;
  throw new MachineError('MACHINE_RMP', `${instruction} of 0x${gpa.toString(16)} gave ${code}`);
}
