/** SGX of this project's software machine, through the embedded guest's driver. */
import { PT_TCS, secinfoBytes } from '@nestedsgx/arch';
import {
  CpuEntryGate,
  enclaveRun,
  type GuestBlock,
  SGX_PAGE_MEASURE,
  type SgxDevice,
  type SgxEnclaveFile,
  sgxEnterEnclave,
} from '@nestedsgx/guest';
import { Cvm } from '@nestedsgx/sdk';
import type { AddedPages, Exit, Feature, Platform, PlatformEnclave, UntrustedBlock } from '../platform.js';

const PAGE = 4096;
const MIB = 2 ** 20;
const ARENA = 4 * MIB;
const STACK = 16 * 1024;

/** A private machine, launched for the suite. */
export class SoftwarePlatform implements Platform {
  readonly name = 'software';
  readonly features: ReadonlySet<Feature> = new Set<Feature>(['sgx2', 'edeccssa', 'kss', 'exinfo', 'paging']);
  #used = 0;

  private constructor(
    private readonly cvm: Cvm,
    readonly device: SgxDevice,
    private readonly arena: GuestBlock,
  ) {}

  /**
   * Launches the machine; `epcBytes` is the EPC of its one guest.
   * @throws what launching throws
   */
  static async launch(epcBytes = 32 * MIB): Promise<SoftwarePlatform> {
    const cvm = await Cvm.launch(
      { ramBytes: 128 * MIB, epcBytes: 64 * MIB, stateDir: null, stderr: 'ignore' },
      { epcBytes },
    );
    try {
      const { connection, device } = await cvm.guest();
      return new SoftwarePlatform(cvm, device, connection.memory.alloc(ARENA, { alignment: PAGE }));
    } catch (error) {
      await cvm.close();
      throw error;
    }
  }

  allocate(bytes: number): UntrustedBlock {
    const length = Math.ceil(bytes / 128) * 128;
    if (this.#used + length > ARENA) this.#used = 0;
    const at = this.#used;
    this.#used += length;
    return { address: this.arena.address + at, bytes: this.arena.bytes.subarray(at, at + bytes) };
  }

  open(size: number): PlatformEnclave {
    return new SoftwareEnclave(this.device, size);
  }

  async close(): Promise<void> {
    await this.cvm.close();
  }
}

class SoftwareEnclave implements PlatformEnclave {
  readonly #device: SgxDevice;
  readonly #file: SgxEnclaveFile;
  readonly base: number;
  readonly #tcs: number[] = [];
  readonly #gates: (CpuEntryGate | undefined)[] = [];
  #gatePages: GuestBlock | null = null;
  #stacks: GuestBlock | null = null;

  constructor(device: SgxDevice, size: number) {
    this.#device = device;
    this.#file = device.open();
    this.base = this.#file.reserve(size);
  }

  create(secs: Uint8Array): void {
    this.#file.create(secs);
  }

  add({ offset, data, flags, measured }: AddedPages): void {
    this.#file.addPages({
      src: data,
      offset,
      length: data.length,
      secinfo: secinfoBytes(flags),
      flags: measured ? SGX_PAGE_MEASURE : 0,
    });
    if (flags >> 8 === PT_TCS) for (let at = 0; at < data.length; at += PAGE) this.#tcs.push(offset + at);
  }

  init(sigstruct: Uint8Array, threads: number): void {
    const { memory } = this.#device.connection;
    if (this.#gatePages !== null) {
      this.#file.init(sigstruct);
      return;
    }
    this.#gatePages = memory.alloc(threads * PAGE, { alignment: PAGE, zero: true });
    this.#stacks = memory.alloc(threads * STACK, { alignment: PAGE });
    this.#file.bindGates(this.#gatePages, threads);
    this.#file.init(sigstruct);
  }

  restrictPermissions(offset: number, length: number, permissions: number): void {
    this.#file.restrictPermissions({ offset, length, permissions });
  }

  modifyTypes(offset: number, length: number, type: number): void {
    this.#file.modifyTypes({ offset, length, pageType: type });
  }

  removePages(offset: number, length: number): void {
    this.#file.removePages({ offset, length });
  }

  /** The driver's mappings follow the EPCM, so there is nothing to change. */
  protect(): void {}

  enter(tcs: number, leaf: number, rdi: number): Exit {
    const run = enclaveRun();
    const result = sgxEnterEnclave(this.#gate(this.#slot(tcs)), rdi, 0, 0, leaf, 0, 0, run);
    if (result === 0) return { kind: 'exit', rdi };
    return {
      kind: 'exception',
      leaf: run.function,
      vector: run.exceptionVector,
      errorCode: run.exceptionErrorCode,
      address: run.exceptionAddress,
    };
  }

  /** Gate number of a TCS: the order of EADD, then what the machine says of TCS that came later. */
  #slot(tcs: number): number {
    const known = this.#tcs.indexOf(tcs);
    if (known >= 0) return known;
    const slot = this.#file.threadSlot(tcs);
    if (slot !== null) return slot;
    throw new Error(`there is no TCS at offset ${tcs}`);
  }

  #gate(slot: number): CpuEntryGate {
    const pages = this.#gatePages!;
    const stacks = this.#stacks!;
    this.#gates[slot] ??= new CpuEntryGate(
      pages.address + slot * PAGE,
      stacks.address + (slot + 1) * STACK - 64,
      { peerPidfd: this.#device.connection.cvmPidfd, faults: this.#file.faults, index: slot },
    );
    return this.#gates[slot];
  }

  close(): void {
    for (const gate of this.#gates) gate?.close();
    this.#file.close();
    const { memory } = this.#device.connection;
    if (this.#gatePages !== null) memory.free(this.#gatePages);
    if (this.#stacks !== null) memory.free(this.#stacks);
    this.#gatePages = null;
    this.#stacks = null;
  }
}
