import { pread, pwrite } from '@nestedsgx/os';
import type { Patch, SiteStub } from './site-stub.js';
import { findEncluSites } from './sites.js';

const PAGE = 4096;
const SEARCH_RUN = 1 << 20;
const INT3 = Uint8Array.of(0xcc);

/**
 * The patches in an enclave's code pages. They lie in its memory file, where its threads execute them; whoever reads the
 * enclave's memory through this gets the architectural bytes. Only pages that are executable and cannot be written have
 * any.
 */
export class CodePatches {
  readonly #fd: number;
  readonly #stub: SiteStub;
  readonly #pages = new Map<number, Patch[]>();

  /** `fd`: the enclave's memory file. */
  constructor(fd: number, stub: SiteStub) {
    this.#fd = fd;
    this.#stub = stub;
  }

  /** Patched sites now. */
  get count(): number {
    let sum = 0;
    for (const patches of this.#pages.values()) sum += patches.length;
    return sum;
  }

  /** Patches the sites of pages that no thread can execute now. */
  apply(offset: number, length: number): void {
    for (let done = 0; done < length; done += SEARCH_RUN) {
      const run = offset + done;
      const code = new Uint8Array(Math.min(SEARCH_RUN, length - done));
      pread(this.#fd, code, run);
      const sites = findEncluSites(code).filter(
        (site) => !this.#pages.has(pageOf(run + site.mov)) && !this.#pages.has(pageOf(run + site.enclu)),
      );
      this.#write(code, run, this.#stub.patches(code, run, sites));
    }
  }

  #write(code: Uint8Array, run: number, patches: readonly Patch[]): void {
    for (let i = 0; i < patches.length; ) {
      const page = pageOf(patches[i]!.at);
      const mine: Patch[] = [];
      for (; i < patches.length && pageOf(patches[i]!.at) === page; i++) {
        mine.push(patches[i]!);
        code.set(patches[i]!.bytes, patches[i]!.at - run);
      }
      const last = mine[mine.length - 1]!;
      const from = mine[0]!.at;
      pwrite(this.#fd, code.subarray(from - run, last.at + last.bytes.length - run), from);
      this.#pages.set(page, mine);
    }
  }

  /** True when a page of the range is patched. */
  any(offset: number, length: number): boolean {
    return this.#in(offset, length).length > 0;
  }

  /** The patched pages of a range. */
  #in(offset: number, length: number): number[] {
    if (this.#pages.size === 0) return [];
    const first = pageOf(offset);
    const end = offset + length;
    if (end - first > this.#pages.size * PAGE)
      return [...this.#pages.keys()].filter((page) => page >= first && page < end);
    const out: number[] = [];
    for (let page = first; page < end; page += PAGE) if (this.#pages.has(page)) out.push(page);
    return out;
  }

  /**
   * First half of taking patches back while threads may execute them: INT3 in the first byte of each. A thread that comes
   * there does the site's ENCLU all the same, and none sees half an instruction later.
   */
  interrupt(offset: number, length: number): void {
    for (const page of this.#in(offset, length))
      this.#rewrite(this.#pages.get(page)!, (code, _, at) => code.set(INT3, at));
  }

  /** Writes the architectural bytes, the first byte of each site last. */
  restore(offset: number, length: number): void {
    for (const page of this.#in(offset, length)) {
      const patches = this.#pages.get(page)!;
      this.#rewrite(
        patches,
        (code, { original }, at) => code.set(original.subarray(1), at + 1),
        (code, { original }, at) => code.set(original.subarray(0, 1), at),
      );
      this.#drop(page);
    }
  }

  /**
   * Changes the sites of a page in steps, each with one write: there may be hundreds. What lies between them is written as
   * it is; nobody else can change it, as pages with patches cannot be written.
   */
  #rewrite(
    patches: readonly Patch[],
    ...steps: ((code: Uint8Array, patch: Patch, at: number) => void)[]
  ): void {
    const from = patches[0]!.at;
    const last = patches[patches.length - 1]!;
    const code = new Uint8Array(last.at + last.bytes.length - from);
    pread(this.#fd, code, from);
    for (const step of steps) {
      for (const patch of patches) step(code, patch, patch.at - from);
      pwrite(this.#fd, code, from);
    }
  }

  /** Forgets patches whose pages are gone or were overwritten as a whole. */
  forget(offset: number, length: number): void {
    for (const page of this.#in(offset, length)) this.#drop(page);
  }

  #drop(page: number): void {
    this.#stub.retire(this.#pages.get(page)!.map(({ site }) => site));
    this.#pages.delete(page);
  }

  /** Puts the architectural bytes into `bytes`, a copy of what lies at `offset`. */
  undo(offset: number, bytes: Uint8Array): void {
    for (const page of this.#in(offset, bytes.byteLength))
      for (const { at, original } of this.#pages.get(page)!) {
        const from = Math.max(at, offset);
        const to = Math.min(at + original.length, offset + bytes.byteLength);
        if (from < to) bytes.set(original.subarray(from - at, to - at), from - offset);
      }
  }
}

function pageOf(offset: number): number {
  return offset - (offset % PAGE);
}
