/** The vCPUs of the machine: where each one's GHCB and calling area are, and what runs on it. */
import { RMPADJUST } from '@nestedsgx/arch';
import { futexWake } from '@nestedsgx/os';
import { MachineError } from '../errors.js';
import type { Machine } from '../machine.js';
import {
  CAA_ANSWER,
  CAA_CALL_PENDING,
  CAA_HOST_ASLEEP,
  CAA_RING,
  caaGpa,
  ghcbGpa,
  isPageAligned,
  MAX_VCPUS,
  PAGE_SIZE,
  RELAY_GPA,
  RELAY_IRQ_WORD,
} from '../memory-map.js';
import { Ghcb } from './ghcb.js';
import { SvsmCall } from './svsm-call.js';
import { Vmsa } from './vmsa.js';

/** VMPL of the guest. */
export const GUEST_VMPL = 1;

/** One vCPU as the monitor sees it. Its words in guest RAM are the guest's: read once, believed never. */
export class Vcpu {
  readonly index: number;
  readonly ghcbGpa: number;
  /** The calling area; REMAP_CA moves it. The words for ring and answer stay where they are. */
  caaGpa: number;
  /** Private copy of the GHCB of the current exit. */
  readonly ghcb = new Ghcb();
  /** The call in `ghcb`. */
  readonly call = new SvsmCall(this.ghcb);
  readonly #words: Int32Array;
  readonly #ram: Uint8Array;
  readonly #base: number;
  readonly #line: number;
  /** Where a guest that sleeps is woken, when not at its answer. */
  readonly #interrupt: number | null;
  #served: number;

  constructor(machine: Machine, index: number) {
    this.index = index;
    const { window } = machine;
    this.ghcbGpa = ghcbGpa(index, window.gpa);
    this.caaGpa = caaGpa(index, window.gpa);
    this.#line = this.caaGpa;
    this.#interrupt = window.relayed ? window.gpa + RELAY_GPA + RELAY_IRQ_WORD : null;
    this.#words = machine.memory.words;
    this.#ram = machine.memory.ram;
    this.#base = machine.memory.base;
    this.#served = this.ring();
  }

  /** Number of exits the guest has asked for (wraps at 2^32). */
  ring(): number {
    return Atomics.load(this.#words, (this.#line + CAA_RING) >>> 2);
  }

  /** True when the guest rang since the last `complete`. */
  pending(): boolean {
    return this.ring() !== this.#served;
  }

  /** Takes the ring value of the exit that is served now. */
  accept(): number {
    return this.ring();
  }

  /** Ends an exit: publishes `ring` as answered and wakes the guest if it sleeps. */
  complete(ring: number): void {
    this.#served = ring;
    const answer = this.#line + CAA_ANSWER;
    Atomics.store(this.#words, answer >>> 2, ring);
    if (Atomics.load(this.#words, (this.#line + CAA_HOST_ASLEEP) >>> 2) === 0) return;
    if (this.#interrupt !== null) Atomics.add(this.#words, this.#interrupt >>> 2, 1);
    futexWake(this.#base + (this.#interrupt ?? answer), 0x7fff_ffff);
  }

  /** Exchanges CAA.call_pending with 0 and tells whether it was 1. The calling area must be writable by the guest. */
  takeCallPending(): boolean {
    return Atomics.exchange(this.#ram, this.caaGpa + CAA_CALL_PENDING, 0) === 1;
  }
}

/** A VMSA page that is in use, by APIC id and VMPL. */
export interface RegisteredVmsa {
  gpa: number;
  vmpl: number;
  apicId: number;
  running: boolean;
}

/** All vCPUs. */
export class VcpuTable {
  readonly #machine: Machine;
  readonly #vcpus: (Vcpu | undefined)[] = new Array(MAX_VCPUS).fill(undefined);
  readonly #vmsas = new Map<number, RegisteredVmsa>();
  #count = 0;

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  get count(): number {
    return this.#count;
  }

  /** The vCPU with that number, if it exists. */
  get(index: number): Vcpu | undefined {
    return this.#vcpus[index];
  }

  /** Every vCPU. */
  *[Symbol.iterator](): IterableIterator<Vcpu> {
    for (const v of this.#vcpus) if (v !== undefined) yield v;
  }

  /**
   * Adds vCPU `index` (the lowest free number when missing) with its pages of the memory map, whatever a guest
   * made of them. Its GHCB page becomes shared and both pages zero. Throws VCPU_LIMIT.
   */
  add(index?: number): Vcpu {
    const free = index ?? this.#vcpus.indexOf(undefined);
    const valid = Number.isInteger(free) && free >= 0 && free < MAX_VCPUS && this.#vcpus[free] === undefined;
    if (!valid) throw new MachineError('VCPU_LIMIT', `vCPU ${index ?? MAX_VCPUS} is out of range or exists`);
    const ghcb = ghcbGpa(free, this.#machine.window.gpa);
    this.#machine.reclaim(ghcb, 2 * PAGE_SIZE);
    this.#machine.shareWithHost(ghcb);
    const vcpu = new Vcpu(this.#machine, free);
    this.#vcpus[free] = vcpu;
    this.#count++;
    return vcpu;
  }

  /** Removes a vCPU whose guest is gone. Its pages stay as they are until the number is used again. */
  remove(index: number): void {
    if (this.#vcpus[index] === undefined) return;
    this.#vcpus[index] = undefined;
    this.#count--;
  }

  /**
   * Makes the guest page at `gpa` the VMSA of a vCPU, as SVSM CREATE_VCPU does: takes it away from VMPL1,
   * then checks its content (so that the guest cannot change it in between), then sets the RMP's VMSA bit.
   * Throws VMSA_INVALID (the page is the guest's again, zero), NestedPageFault, PageNotValidated, VCPU_LIMIT.
   */
  registerVmsa(gpa: number, apicId: number, sevFeatures: bigint): RegisteredVmsa {
    if (!isPageAligned(gpa))
      throw new MachineError('VMSA_INVALID', `VMSA address ${gpa} is not page aligned`);
    if (this.#vmsas.has(gpa)) throw new MachineError('VMSA_INVALID', 'the page is a VMSA already');
    if (!Number.isInteger(apicId) || apicId < 0 || apicId >= MAX_VCPUS) {
      throw new MachineError('VCPU_LIMIT', `APIC id ${apicId} is out of range`);
    }
    this.#machine.rmp.check(GUEST_VMPL, gpa, PAGE_SIZE, 'w');
    this.#machine.restrict(gpa, GUEST_VMPL);
    try {
      Vmsa.copyFrom(this.#machine.guest.copyIn(0, gpa, PAGE_SIZE)).check(GUEST_VMPL, sevFeatures);
    } catch (error) {
      this.#machine.restrict(gpa, GUEST_VMPL | 0xf00);
      throw error;
    }
    this.#machine.restrict(gpa, GUEST_VMPL | RMPADJUST.VMSA);
    const vmsa = { gpa, vmpl: GUEST_VMPL, apicId, running: false };
    this.#vmsas.set(gpa, vmsa);
    return vmsa;
  }

  /** Undoes `registerVmsa`: the page is the guest's again, zero. False when it was none, or is running. */
  unregisterVmsa(gpa: number): boolean {
    const vmsa = this.#vmsas.get(gpa);
    if (vmsa === undefined || vmsa.running) return false;
    this.#vmsas.delete(gpa);
    this.#machine.restrict(gpa, GUEST_VMPL | 0xf00);
    return true;
  }

  /** Stops and forgets the VMSAs in a range of pages. */
  forgetVmsas(gpa: number, length: number): void {
    for (const at of [...this.#vmsas.keys()]) {
      if (at < gpa || at >= gpa + length) continue;
      this.stop(at);
      this.#vmsas.delete(at);
    }
  }

  /** The VMSA at that address, if registered. */
  vmsa(gpa: number): RegisteredVmsa | undefined {
    return this.#vmsas.get(gpa);
  }

  /** The hypervisor's part of AP creation: VMRUN needs a VMSA page of the RMP. Throws NestedPageFault. */
  start(gpa: number): void {
    this.#machine.rmp.check(0, gpa, PAGE_SIZE, 'vmsa');
    const vmsa = this.#vmsas.get(gpa);
    if (vmsa !== undefined) vmsa.running = true;
    this.#machine.rmp.setInUse(gpa, true);
  }

  /** Stops the vCPU that runs from that VMSA. */
  stop(gpa: number): void {
    const vmsa = this.#vmsas.get(gpa);
    if (vmsa !== undefined) vmsa.running = false;
    this.#machine.rmp.setInUse(gpa, false);
  }
}
