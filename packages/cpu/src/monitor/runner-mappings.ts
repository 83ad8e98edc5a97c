import type { PageRange } from '@nestedsgx/arch';
import { close, OsError, uffdContinue, uffdWriteProtect } from '@nestedsgx/os';
import { CpuError } from '../errors.js';
import type { MemfdEnclaveMemory } from './enclave-memory.js';
import type { Protections } from './protections.js';

const PAGE = 4096;
/** Pages that keep their contents are taken away in runs of this many bytes. */
const RUN = 1 << 20;
const R = 1;
const W = 2;
const X = 4;
const ENOMEM = 12;

/**
 * Does something with a range that the kernel only does within one mapping: it refuses where a mapping that is locked in
 * memory meets one that is not, which is nowhere written down, and then each half is tried.
 */
function inParts(offset: number, length: number, change: (offset: number, length: number) => void): void {
  try {
    change(offset, length);
  } catch (error) {
    if (!(error instanceof OsError) || error.code !== 'ENOENT' || length <= PAGE) throw error;
    const half = Math.floor(length / 2 / PAGE) * PAGE;
    inParts(offset, half, change);
    inParts(offset + half, length - half, change);
  }
}

/**
 * Carries a change of protection out in the runner. Returns an errno or 0.
 *
 * @throws CpuError ENCLAVE_STOPPED when the runner does not answer: the enclave is lost then
 */
export type ProtectOrder = (address: number, length: number, prot: number) => number;

/**
 * The mappings of a running enclave. Presence and W of every page are the monitor's, through a userfaultfd that the
 * runner handed over: no mapping is split, and the enclave cannot undo it. X is a property of a mapping, which the
 * runner's agent changes on order. Without a userfaultfd the agent does all of it.
 */
export class RunnerMappings {
  readonly #base: number;
  readonly #memory: MemfdEnclaveMemory;
  readonly #uffd: number | null;
  readonly #protections: Protections;
  readonly #order: ProtectOrder;

  constructor(parts: {
    base: number;
    memory: MemfdEnclaveMemory;
    uffd: number | null;
    protections: Protections;
    order: ProtectOrder;
  }) {
    this.#base = parts.base;
    this.#memory = parts.memory;
    this.#uffd = parts.uffd;
    this.#protections = parts.protections;
    this.#order = parts.order;
  }

  /** Mappings that the ELRANGE consists of. */
  get count(): number {
    return this.#protections.count;
  }

  /** Maps absent pages. */
  map(range: PageRange): void {
    const { offset, length, w, x } = range;
    this.#check(offset, length);
    if (length === 0 || !(range.r || w || x)) return;
    // Nobody can execute these pages yet: they may be changed at will.
    if (x && !w) this.#memory.patches?.apply(offset, length);
    else this.#memory.patches?.restore(offset, length);
    this.#settle(range);
    if (this.#uffd === null) return;
    if (this.#protections.uniform(offset, length) !== null) this.#appear(this.#uffd, offset, length, !w);
    else
      for (const part of this.#protections.parts(offset, length))
        this.#appear(this.#uffd, part.offset, part.length, !w);
  }

  /** Pages of one mapping become present; the kernel takes no range that spans more. */
  #appear(uffd: number, offset: number, length: number, writeProtect: boolean): void {
    inParts(offset, length, (at, bytes) => {
      // Some were there already: with what permission, is not known.
      if (this.#present(uffd, at, bytes, writeProtect) < bytes / PAGE)
        uffdWriteProtect(uffd, this.#base + at, bytes, writeProtect);
    });
  }

  #writeProtect(uffd: number, offset: number, length: number, on: boolean): void {
    const change = (at: number, bytes: number) => uffdWriteProtect(uffd, this.#base + at, bytes, on);
    if (this.#protections.uniform(offset, length) !== null) inParts(offset, length, change);
    else
      for (const part of this.#protections.parts(offset, length)) inParts(part.offset, part.length, change);
  }

  /** Makes absent pages present; returns how many were absent. */
  #present(uffd: number, offset: number, length: number, writeProtect: boolean): number {
    try {
      return uffdContinue(uffd, this.#base + offset, length, { writeProtect, wake: false });
    } catch (error) {
      if (!(error instanceof OsError) || error.code !== 'EFAULT') throw error;
    }
    // A hole of the memory file: its pages of zeros have to exist first.
    this.#memory.reserve(offset, length);
    return uffdContinue(uffd, this.#base + offset, length, { writeProtect, wake: false });
  }

  /** Changes permissions of present pages. */
  protect(range: PageRange): void {
    const { offset, length, w, x } = range;
    this.#check(offset, length);
    if (length === 0) return;
    if (!(range.r || w || x)) {
      this.unmap(offset, length, false);
      return;
    }
    const { patches } = this.#memory;
    if (this.#uffd !== null && !w) this.#writeProtect(this.#uffd, offset, length, true);
    if (x && !w) {
      // Pages that gain X are patched before any thread can execute them; others stay as they are.
      if (patches)
        for (const part of [...this.#protections.parts(offset, length)])
          if (!(part.prot & X)) {
            if (this.#uffd === null && part.prot & W) this.#change(part.offset, part.length, R);
            patches.apply(part.offset, part.length);
          }
      this.#settle(range);
      return;
    }
    patches?.interrupt(offset, length);
    try {
      if (this.#uffd === null && patches?.any(offset, length)) this.#change(offset, length, R);
      else this.#settle(range);
    } finally {
      patches?.restore(offset, length);
    }
    if (this.#uffd === null) this.#settle(range);
    else if (w) this.#writeProtect(this.#uffd, offset, length, false);
  }

  /** Makes pages present again, with the permissions that they have. */
  renew({ offset, length, w }: PageRange): void {
    this.#check(offset, length);
    if (this.#uffd === null) return;
    for (const part of this.#protections.parts(offset, length))
      this.#appear(this.#uffd, part.offset, part.length, !w);
  }

  writeProtect(offset: number, length: number, on: boolean): void {
    this.#check(offset, length);
    if (length === 0) return;
    if (this.#uffd !== null) this.#writeProtect(this.#uffd, offset, length, on);
    else
      for (const part of this.#protections.changes(offset, length, (prot) =>
        on || !(prot & R) ? prot & ~W : prot | W,
      ))
        this.#change(part.offset, part.length, part.prot);
  }

  unmap(offset: number, length: number, discarded: boolean): void {
    this.#check(offset, length);
    if (length === 0) return;
    if (this.#uffd === null) {
      for (const part of this.#protections.changes(offset, length, () => 0))
        this.#change(part.offset, part.length, part.prot);
      // Until then a touch has made a fresh page.
      if (discarded) this.#memory.discard(offset, length);
      return;
    }
    if (discarded) return;
    for (let at = offset; at < offset + length; at += RUN) {
      const run = Math.min(RUN, offset + length - at);
      // No write comes after this, so none is lost. Punching is what removes pages from an address space.
      this.#writeProtect(this.#uffd, at, run, true);
      const contents = this.#memory.readMapped(at, run);
      this.#memory.punch(at, run);
      this.#memory.writeMapped(at, contents);
    }
  }

  /** Gives every mapping of the range flags with which the pages can have, and through which none gets more than, these. */
  #settle({ offset, length, w, x }: PageRange): void {
    const before = this.#protections.uniform(offset, length);
    if (before !== null && this.#wanted(before, w, x) === before) return;
    for (const part of this.#protections.changes(offset, length, (prot) => this.#wanted(prot, w, x)))
      this.#change(part.offset, part.length, part.prot);
  }

  /** What a mapping's flags have to be; they stay if they will do. */
  #wanted(prot: number, w: boolean, x: boolean): number {
    const exact = R | (w ? W : 0) | (x ? X : 0);
    if (this.#uffd === null) return exact;
    if (!x) return prot & X || (w && !(prot & W)) || !(prot & R) ? R | W : prot;
    return prot & X && (!w || prot & W) ? prot : exact;
  }

  #change(offset: number, length: number, prot: number): void {
    const before = [...this.#protections.parts(offset, length)];
    this.#protections.set(offset, length, prot);
    const errno = this.#order(this.#base + offset, length, prot);
    if (errno === 0) return;
    for (const part of before) this.#protections.set(part.offset, part.length, part.prot);
    if (errno === ENOMEM)
      throw new CpuError('PROCESSOR_LIMIT', 'The kernel allows this process no more mappings.', {
        advice: 'Raise vm.max_map_count, or give neighbouring pages equal permissions.',
      });
    throw new CpuError('MAPPING_UNSUPPORTED', `The runner could not change its mappings (errno ${errno}).`);
  }

  #check(offset: number, length: number): void {
    if (
      !Number.isSafeInteger(offset) ||
      !Number.isSafeInteger(length) ||
      offset < 0 ||
      length < 0 ||
      offset % PAGE !== 0 ||
      length % PAGE !== 0 ||
      offset + length > this.#memory.size
    )
      throw new CpuError(
        'PROCESSOR_ARGUMENT',
        `The page range at offset ${offset} of ${length} bytes is misaligned or outside the ELRANGE.`,
      );
  }

  close(): void {
    if (this.#uffd !== null) close(this.#uffd);
  }
}
