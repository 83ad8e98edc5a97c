import { close, memfdCreate, pwrite } from '@nestedsgx/os';
import { MAX_SITES, RUNNER_MEMORY } from '../layout/memory.js';
import { PLAN_SITE, SITE_KIND } from '../layout/plan.js';
import { writeFields } from '../layout/writer.js';
import type { EncluSite } from './sites.js';
import { shortJump, slotAddress, slotJump, TRAMPOLINE_BYTES, trampoline } from './trampoline.js';

const PAGE = 4096;
const roundUp = (bytes: number) => Math.ceil(bytes / PAGE) * PAGE;
const SLOTS_BYTES = roundUp((MAX_SITES + 1) * 8);
const TABLE_BYTES = roundUp(MAX_SITES * PLAN_SITE.size);
const TRAMPOLINES_AT = SLOTS_BYTES;
const INT3 = 0xcc;

/** Bytes of all trampolines of an enclave. */
export const TRAMPOLINES_BYTES = roundUp(MAX_SITES * TRAMPOLINE_BYTES);
const TABLE_AT = TRAMPOLINES_AT + TRAMPOLINES_BYTES;

/** What trampolines need to know of the runner. */
export interface StubFacts {
  selector: number;
  patchedEnclu: number;
}

/** A piece of the stub's file and where it is mapped. */
export interface StubPiece {
  address: number;
  offset: number;
  length: number;
  executable: boolean;
}

/** Bytes that replace others. */
export interface Patch {
  /** Offset in the ELRANGE. */
  at: number;
  bytes: Uint8Array;
  original: Uint8Array;
  /** Row of the site table. */
  site: number;
}

interface Site {
  index: number;
  leaf: number;
  kind: number;
  gap: Uint8Array;
  retired: boolean;
}

/**
 * What the patched ENCLU sites of one enclave jump to: slots, trampolines and the site table, in a file that its runner
 * maps read-only and that grows while the enclave runs. A site keeps its trampoline for ever, so a page that is loaded
 * again finds the ones it had.
 */
export class SiteStub {
  /** The file. */
  readonly fd: number;
  #closed = false;
  readonly pieces: readonly StubPiece[];
  readonly #base: number;
  readonly #selector: number;
  readonly #near: readonly number[];
  readonly #onGrown: (sites: number) => void;
  readonly #known = new Map<number, Site>();
  readonly #sites: Site[] = [];
  /** The site table as it is, or is about to be, in the file. */
  readonly #table = new Uint8Array(TABLE_BYTES);
  /** Rows whose RETIRED flag in the file is not what it should be. */
  #stale: number[] = [];

  /**
   * @param base BASEADDR
   * @param near start addresses of the trampolines beside the ELRANGE
   * @param onGrown told the number of rows of the site table
   * @throws OsError
   */
  constructor(
    base: number,
    facts: StubFacts,
    near: readonly number[],
    onGrown: (sites: number) => void = () => {},
  ) {
    this.#base = base;
    this.#selector = facts.selector;
    this.#near = near;
    this.#onGrown = onGrown;
    this.fd = memfdCreate('nsgx-sites', { size: TABLE_AT + TABLE_BYTES, seal: true });
    const first = new Uint8Array(8);
    new DataView(first.buffer).setBigUint64(0, BigInt(facts.patchedEnclu), true);
    pwrite(this.fd, first, 0);
    const trampolines = { offset: TRAMPOLINES_AT, length: TRAMPOLINES_BYTES, executable: true };
    this.pieces = [
      { address: RUNNER_MEMORY.SLOTS, offset: 0, length: SLOTS_BYTES, executable: false },
      { address: RUNNER_MEMORY.TRAMPOLINES, ...trampolines },
      { address: RUNNER_MEMORY.SITES, offset: TABLE_AT, length: TABLE_BYTES, executable: false },
      ...near.map((address) => ({ address, ...trampolines })),
    ];
  }

  /** Rows of the site table. */
  get count(): number {
    return this.#sites.length;
  }

  /**
   * What to write over sites: a jump in place of the mov, or INT3 in place of the ENCLU's first byte where no jump is
   * possible. Sites beyond the limit are left out.
   *
   * @param run offset in the ELRANGE of the bytes that were searched
   */
  patches(code: Uint8Array, run: number, sites: readonly EncluSite[]): Patch[] {
    const out: Patch[] = [];
    const before = this.count;
    for (const site of sites) {
      const patch = this.#patch(code, run, site);
      if (patch) out.push(patch);
    }
    this.#writeFlags();
    if (this.count > before) this.#onGrown(this.count);
    return out;
  }

  #patch(code: Uint8Array, run: number, site: EncluSite): Patch | null {
    const from = this.#base + run + site.mov;
    const near =
      site.movBytes === 5
        ? this.#near.find((at) => shortJump(from, at) && shortJump(from, at + TRAMPOLINES_BYTES))
        : undefined;
    const jump = site.whole && (site.movBytes === 7 || near !== undefined);
    // Where a jump does not reach, an ENCLU behind other code traps as it is.
    if (!jump && site.gap.length > 0) return null;
    const kind = jump ? (site.movBytes === 7 ? SITE_KIND.LONG : SITE_KIND.SHORT) : SITE_KIND.BREAKPOINT;
    const index = this.#site(this.#base + run + site.enclu, site.leaf, kind, site.gap);
    if (index === null) return null;
    const at = jump ? site.mov : site.enclu;
    const bytes = !jump
      ? Uint8Array.of(INT3)
      : site.movBytes === 7
        ? slotJump(index + 1)
        : shortJump(from, near! + index * TRAMPOLINE_BYTES);
    if (!bytes) return null;
    return { at: run + at, bytes, original: code.slice(at, at + bytes.length), site: index };
  }

  /** Index of a site's row and trampoline, made now unless it is known. */
  #site(enclu: number, leaf: number, kind: number, gap: Uint8Array): number | null {
    const known = this.#known.get(enclu);
    if (known && known.leaf === leaf && known.kind === kind && Buffer.compare(known.gap, gap) === 0) {
      this.#note(known, false);
      return known.index;
    }
    if (this.count >= MAX_SITES || this.#closed) return null;
    const index = this.count;
    const inStub = index * TRAMPOLINE_BYTES;
    if (kind !== SITE_KIND.BREAKPOINT)
      pwrite(this.fd, trampoline(index, this.#selector, gap), TRAMPOLINES_AT + inStub);
    if (kind === SITE_KIND.LONG) {
      const slot = new Uint8Array(8);
      new DataView(slot.buffer).setBigUint64(0, BigInt(RUNNER_MEMORY.TRAMPOLINES + inStub), true);
      pwrite(this.fd, slot, slotAddress(index + 1) - RUNNER_MEMORY.SLOTS);
    }
    const row = index * PLAN_SITE.size;
    writeFields(PLAN_SITE, { enclu, leaf, kind: kind + gap.length * SITE_KIND.GAP }, this.#table, row);
    pwrite(this.fd, this.#table.subarray(row, row + PLAN_SITE.size), TABLE_AT + row);
    const site = { index, leaf, kind, gap, retired: false };
    this.#sites.push(site);
    this.#known.set(enclu, site);
    return index;
  }

  /** Notes that sites are not patched any more: an INT3 there is the enclave's own. */
  retire(indices: Iterable<number>): void {
    for (const index of indices) this.#note(this.#sites[index]!, true);
    this.#writeFlags();
  }

  #note(site: Site, retired: boolean): void {
    if (site.retired === retired) return;
    site.retired = retired;
    this.#table[site.index * PLAN_SITE.size + PLAN_SITE.at.kind] =
      site.kind | (retired ? SITE_KIND.RETIRED : 0);
    this.#stale.push(site.index);
  }

  /** Writes rows that changed, neighbours together: a page may have hundreds of sites. */
  #writeFlags(): void {
    const stale = this.#stale.sort((a, b) => a - b);
    this.#stale = [];
    for (let from = 0; from < stale.length && !this.#closed; ) {
      let to = from + 1;
      while (to < stale.length && stale[to]! <= stale[to - 1]! + 1) to++;
      const first = stale[from]! * PLAN_SITE.size;
      const end = (stale[to - 1]! + 1) * PLAN_SITE.size;
      pwrite(this.fd, this.#table.subarray(first, end), TABLE_AT + first);
      from = to;
    }
  }

  /** Gives the file back; what was patched stays known. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    close(this.fd);
  }
}
