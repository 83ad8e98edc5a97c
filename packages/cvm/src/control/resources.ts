import { NsgxError } from '@nestedsgx/arch';
import {
  caaGpa,
  EPC_GPA,
  type GuestWindow,
  ghcbGpa,
  MAX_VCPUS,
  PAGE_SIZE,
  SLICES_GPA,
} from '@nestedsgx/machine';
import { RangeAllocator } from '../range-allocator.js';

const MIB = 2 ** 20;
/** vCPUs that one guest of a shared machine may hold. */
const SHARED_VCPUS = 64;

/** What one guest holds of the machine. Addresses are guest-physical, lengths in bytes. */
export interface GuestShare {
  slice: { start: number; length: number };
  epc: { start: number; length: number };
  vcpus: number[];
}

/** Where a guest finds one of its vCPUs. */
export interface VcpuPlace {
  id: number;
  ghcb: number;
  caa: number;
}

/** Deals out guest RAM, EPC frames and vCPUs to the guests of one machine. */
export class Resources {
  private readonly ram: RangeAllocator;
  private readonly epc: RangeAllocator;
  private readonly freeVcpus: number[] = [];

  constructor(
    readonly window: GuestWindow,
    readonly epcBytes: number,
    private readonly lifetime: 'host' | 'service',
  ) {
    this.ram = new RangeAllocator(window.gpa + SLICES_GPA, window.bytes - SLICES_GPA, 2 * MIB);
    this.epc = new RangeAllocator(EPC_GPA, epcBytes, PAGE_SIZE);
    for (let id = MAX_VCPUS - 1; id >= 0; id--) this.freeVcpus.push(id);
  }

  /**
   * A share for a new guest. 0 bytes asks for the default: a private machine gives all of its EPC and half of its
   * RAM to its one host, a shared one deals out sixteenths.
   * @throws NsgxError CVM_RESOURCES when RAM, EPC or vCPUs are used up.
   */
  take(sliceBytes: number, epcBytes: number): GuestShare {
    // A guest with a kernel of its own has the whole machine to itself.
    const alone = this.window.relayed ? { ram: 1, epc: 1 } : { ram: 2, epc: 1 };
    const parts = this.lifetime === 'host' ? alone : { ram: 16, epc: 16 };
    const sliceWanted =
      sliceBytes || Math.min(this.ram.largest, Math.max(32 * MIB, this.ram.available / parts.ram));
    const epcWanted = epcBytes || Math.min(this.epc.largest, Math.ceil(this.epcBytes / parts.epc));
    const vcpu = this.freeVcpus.pop();
    if (vcpu === undefined) throw exhausted('vCPU', 'all of them are in use');
    const slice = this.ram.take(sliceWanted);
    const epc = slice === null ? null : this.epc.take(epcWanted);
    if (slice !== null && epc !== null) return { slice, epc, vcpus: [vcpu] };
    this.freeVcpus.push(vcpu);
    if (slice !== null) this.ram.give(slice);
    if (slice === null)
      throw exhausted('guest RAM', `${sliceWanted} bytes wanted, ${this.ram.largest} free at once`);
    throw exhausted('EPC', `${epcWanted} bytes wanted, ${this.epc.largest} free at once`);
  }

  /** One more vCPU for a share. @throws NsgxError CVM_RESOURCES. */
  takeVcpu(share: GuestShare): number {
    if (this.lifetime === 'service' && share.vcpus.length >= SHARED_VCPUS)
      throw exhausted('vCPU for this guest', `${SHARED_VCPUS} are the most on a shared machine`);
    const vcpu = this.freeVcpus.pop();
    if (vcpu === undefined) throw exhausted('vCPU', 'all of them are in use');
    share.vcpus.push(vcpu);
    return vcpu;
  }

  /** Takes back the vCPU that `takeVcpu` gave last. */
  giveVcpu(share: GuestShare): void {
    const vcpu = share.vcpus.pop();
    if (vcpu !== undefined) this.freeVcpus.push(vcpu);
  }

  give(share: GuestShare): void {
    this.ram.give(share.slice);
    this.epc.give(share.epc);
    this.freeVcpus.push(...share.vcpus.splice(0));
  }
}

/** Where a vCPU is in the window at `window`. */
export function vcpuPlace(id: number, window: number): VcpuPlace {
  return { id, ghcb: ghcbGpa(id, window), caa: caaGpa(id, window) };
}

function exhausted(what: string, detail: string): NsgxError {
  return new NsgxError('CVM_RESOURCES', `the confidential VM has no ${what} left: ${detail}`, {
    advice: 'Close hosts that are no longer needed, or launch the machine with more RAM or EPC.',
  });
}
