/**
 * The memory behind guest-physical addresses. Guest RAM is one sealed memory file that host, cvm and runners
 * map at the same base. A page that VMPL1 must not reach has its content in a second file that only the cvm
 * holds, and a hole in guest RAM. Monitor pages are private bytes of the cvm. EPC has no memory here: each
 * enclave's pages belong to its own file.
 */
import { close, guardedCopy, type Mapping, memfdCreate, mmap, punchHole } from '@nestedsgx/os';
import { MachineError } from '../errors.js';
import {
  DEFAULT_RAM_BYTES,
  LARGE_PAGE_SIZE,
  MAX_RAM_BYTES,
  MIN_RAM_BYTES,
  MONITOR_BYTES,
  MONITOR_GPA,
  PAGE_SIZE,
  RAM_SLOT_BASE,
  RAM_SLOT_STRIDE,
  RAM_SLOTS,
} from '../memory-map.js';
import { RamResidence } from './residence.js';

/** Measured bytes of the monitor at a guest-physical address. */
export interface PrivateRegion {
  readonly gpa: number;
  readonly bytes: Uint8Array;
  readonly name: string;
}

/** Memory of one machine. All methods take addresses that have been checked against the RMP. */
export class PhysicalMemory {
  /** Descriptor of guest RAM, which hosts and runners receive. */
  readonly ramFd: number;
  readonly ramBytes: number;
  /** Virtual address of gPA 0. */
  readonly base: number;
  /** All of guest RAM. Other processes change it at any moment: copy once, then look. */
  readonly ram: Uint8Array;
  /** 32-bit words of guest RAM, for atomics. */
  readonly words: Int32Array;
  readonly residence: RamResidence;
  readonly regions: PrivateRegion[] = [];
  readonly #ramMapping: Mapping;
  readonly #privateFd: number;
  readonly #privateMapping: Mapping;
  #open = true;
  #discard = false;

  private constructor(ramFd: number, ramMapping: Mapping, privateFd: number, privateMapping: Mapping) {
    this.ramFd = ramFd;
    this.#ramMapping = ramMapping;
    this.ramBytes = ramMapping.length;
    this.base = ramMapping.address;
    this.#privateFd = privateFd;
    this.#privateMapping = privateMapping;
    const view = ramMapping.bytes;
    this.ram = new Uint8Array(view.buffer, view.byteOffset, ramMapping.length);
    this.words = new Int32Array(view.buffer, view.byteOffset, ramMapping.length / 4);
    this.residence = new RamResidence(this.ramBytes / PAGE_SIZE, {
      hide: (page, pages) => this.#hide(page, pages),
      show: (page, pages) => this.#show(page, pages),
      scrub: (page, pages) => this.#scrub(page, pages),
    });
  }

  /**
   * Makes guest RAM of `ramBytes` (a multiple of 2 MiB) and maps it in the first free slot, or in `slot`.
   * Throws MACHINE_SIZE, MACHINE_NO_SLOT, OsError.
   */
  static create(ramBytes = DEFAULT_RAM_BYTES, slot?: number): PhysicalMemory {
    if (
      !Number.isSafeInteger(ramBytes) ||
      ramBytes < MIN_RAM_BYTES ||
      ramBytes > MAX_RAM_BYTES ||
      ramBytes % LARGE_PAGE_SIZE !== 0
    ) {
      throw new MachineError('MACHINE_SIZE', `guest RAM of ${ramBytes} bytes is not possible`, {
        advice: `Take a multiple of 2 MiB between ${MIN_RAM_BYTES} and ${MAX_RAM_BYTES}.`,
      });
    }
    const ramFd = memfdCreate('nsgx-ram', { size: ramBytes, seal: true });
    try {
      const mapping = mapInSlot(ramFd, ramBytes, slot);
      const privateFd = memfdCreate('nsgx-private', { size: ramBytes, seal: true });
      const privateMapping = mmap({ fd: privateFd, length: ramBytes, prot: 3, shared: true });
      return new PhysicalMemory(ramFd, mapping, privateFd, privateMapping);
    } catch (error) {
      close(ramFd);
      throw error;
    }
  }

  /** Adds measured monitor bytes (not copied; the last page is padded with zeros). Throws MACHINE_REGION. */
  addPrivateRegion(gpa: number, bytes: Uint8Array, name: string): PrivateRegion {
    const end = gpa + Math.ceil(bytes.length / PAGE_SIZE) * PAGE_SIZE;
    const fits = gpa >= MONITOR_GPA && end <= MONITOR_GPA + MONITOR_BYTES && gpa % PAGE_SIZE === 0;
    const clash = this.regions.find((r) => gpa < r.gpa + r.bytes.length && end > r.gpa);
    if (!fits || clash !== undefined) {
      const why =
        clash === undefined ? 'is not page aligned inside the monitor range' : `overlaps ${clash.name}`;
      throw new MachineError('MACHINE_REGION', `private region ${name} at 0x${gpa.toString(16)} ${why}`);
    }
    const region = { gpa, bytes, name };
    this.regions.push(region);
    return region;
  }

  /**
   * Copies `into.length` bytes at `gpa` into `into`, once. Throws MACHINE_NO_BACKING where there is no
   * memory, MACHINE_BUS_ERROR when the kernel cannot provide a page.
   */
  read(gpa: number, into: Uint8Array): void {
    const { length } = into;
    if (gpa + length > this.ramBytes) {
      this.#readPrivate(gpa, into);
      return;
    }
    for (let done = 0; done < length; ) {
      const at = gpa + done;
      const part = this.#run(at, length - done);
      const to = part === length ? into : into.subarray(done, done + part);
      if (!guardedCopy(to, this.#address(at), part)) throw busError(at);
      done += part;
    }
  }

  /** Copies `bytes` to `gpa` in guest RAM. Throws as `read`; monitor bytes cannot be written. */
  write(gpa: number, bytes: Uint8Array): void {
    const { length } = bytes;
    if (gpa + length > this.ramBytes) throw noBacking(gpa);
    for (let done = 0; done < length; ) {
      const at = gpa + done;
      const part = this.#run(at, length - done);
      const from = part === length ? bytes : bytes.subarray(done, done + part);
      if (!guardedCopy(this.#address(at), from, part)) throw busError(at);
      done += part;
    }
  }

  /** Zeroes whole pages of guest RAM wherever their content lies now. */
  zero(page: number, pages: number): void {
    this.#scrub(page, pages);
  }

  /** Runs `change`; pages that it takes out of guest RAM are zero afterwards instead of keeping their content. */
  discarding(change: () => void): void {
    this.#discard = true;
    try {
      change();
    } finally {
      this.#discard = false;
    }
  }

  /** Unmaps everything and closes the descriptors. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#ramMapping.unmap();
    this.#privateMapping.unmap();
    close(this.ramFd);
    close(this.#privateFd);
  }

  /** Where the content at `gpa` lies in this process. */
  #address(gpa: number): number {
    const hidden = this.residence.isHidden(Math.floor(gpa / PAGE_SIZE));
    return (hidden ? this.#privateMapping.address : this.base) + gpa;
  }

  /** How many of `length` bytes from `gpa` on lie in one place. */
  #run(gpa: number, length: number): number {
    const limit = Math.ceil((gpa + length) / PAGE_SIZE);
    const end = this.residence.runEnd(Math.floor(gpa / PAGE_SIZE), limit) * PAGE_SIZE;
    return Math.min(length, end - gpa);
  }

  #readPrivate(gpa: number, into: Uint8Array): void {
    into.fill(0);
    for (let done = 0; done < into.length; ) {
      const at = gpa + done;
      const region = this.regions.find((r) => at >= r.gpa && at < pageEnd(r));
      if (region === undefined) throw noBacking(at);
      const part = Math.min(into.length - done, pageEnd(region) - at);
      const from = at - region.gpa;
      into.set(region.bytes.subarray(from, from + part), done);
      done += part;
    }
  }

  /** Moves pages out of guest RAM: content to the private file, a hole in RAM. */
  #hide(page: number, pages: number): void {
    if (this.#discard) {
      this.#scrub(page, pages);
      return;
    }
    const offset = page * PAGE_SIZE;
    const length = pages * PAGE_SIZE;
    if (!guardedCopy(this.#privateMapping.address + offset, this.base + offset, length))
      throw busError(offset);
    punchHole(this.ramFd, offset, length);
  }

  /** Gives pages back to guest RAM, empty: what was private is gone, and what a host wrote into the hole too. */
  #show(page: number, pages: number): void {
    this.#scrub(page, pages);
  }

  #scrub(page: number, pages: number): void {
    punchHole(this.ramFd, page * PAGE_SIZE, pages * PAGE_SIZE);
    punchHole(this.#privateFd, page * PAGE_SIZE, pages * PAGE_SIZE);
  }
}

function mapInSlot(fd: number, length: number, slot: number | undefined): Mapping {
  const slots = slot === undefined ? Array.from({ length: RAM_SLOTS }, (_, i) => i) : [slot];
  let last: unknown;
  for (const s of slots) {
    try {
      const address = RAM_SLOT_BASE + s * RAM_SLOT_STRIDE;
      return mmap({ fd, length, address, prot: 3, shared: true, noReplace: true });
    } catch (error) {
      last = error;
    }
  }
  const which = slot === undefined ? `any of ${RAM_SLOTS} slots` : `slot ${slot}`;
  const why = last instanceof Error ? last.message : String(last);
  throw new MachineError('MACHINE_NO_SLOT', `guest RAM cannot be mapped in ${which}: ${why}`, {
    cause: last,
    advice: 'Close other machines of this process, or check the limit on address space (ulimit -v).',
  });
}

function pageEnd(region: PrivateRegion): number {
  return region.gpa + Math.ceil(region.bytes.length / PAGE_SIZE) * PAGE_SIZE;
}

function noBacking(gpa: number): MachineError {
  return new MachineError('MACHINE_NO_BACKING', `0x${gpa.toString(16)} has no memory that can be copied`);
}

function busError(gpa: number): MachineError {
  return new MachineError('MACHINE_BUS_ERROR', `guest memory at 0x${gpa.toString(16)} cannot be touched`, {
    advice: 'The machine is probably out of memory; make guest RAM or the EPC smaller.',
  });
}
