/** The guest's page table of one enclave: where each linear page is, with R, W, X and type. */

/** Consecutive pages over consecutive frames with the same SECINFO flags. Offsets in bytes from BASEADDR. */
export interface PageExtent {
  offset: number;
  count: number;
  gpa: number;
  flags: number;
}

const PAGE = 4096;
const CHUNK = 512;
/** Beside SECINFO's flags (R, W, X, type << 8): the page table entry is not present, to see whether the page is used. */
const AGED = 1 << 7;

interface Chunk {
  /** gPA of the frame; −1 − slot of the backing store; 0 for no page. */
  where: Float64Array;
  flags: Uint16Array;
}

/** Pages by offset from BASEADDR: absent, in a frame of the EPC, or in a slot of the backing store. */
export class EnclavePageTable {
  readonly #chunks = new Map<number, Chunk>();
  /** The chunk that was looked for last, and its number. */
  #last: Chunk | undefined;
  #lastKey = -1;
  #resident = 0;
  #evicted = 0;

  /** Pages of the enclave, in the EPC or evicted. */
  get pages(): number {
    return this.#resident + this.#evicted;
  }

  /** Pages in the EPC. */
  get resident(): number {
    return this.#resident;
  }

  /** Pages in the backing store. */
  get evicted(): number {
    return this.#evicted;
  }

  /** Pages in the EPC as runs of consecutive frames, by offset. */
  get extents(): readonly Readonly<PageExtent>[] {
    const extents: PageExtent[] = [];
    this.forEach((offset, gpa, flags) => {
      if (gpa < 0) return;
      const last = extents[extents.length - 1];
      if (
        last !== undefined &&
        last.flags === flags &&
        last.offset + last.count * PAGE === offset &&
        last.gpa + last.count * PAGE === gpa
      )
        last.count++;
      else extents.push({ offset, count: 1, gpa, flags });
    });
    return extents;
  }

  /** The page at `offset`, when it is in the EPC. */
  find(offset: number): Readonly<PageExtent> | undefined {
    const start = Math.floor(offset / PAGE) * PAGE;
    const gpa = this.frame(start);
    return gpa === 0 ? undefined : { offset: start, count: 1, gpa, flags: this.flags(start) };
  }

  /** gPA of the page's frame; 0 when it is absent or evicted. */
  frame(offset: number): number {
    return Math.max(0, this.#where(offset));
  }

  /** Slot of the backing store that holds the page; −1 when it is absent or in the EPC. */
  slot(offset: number): number {
    const where = this.#where(offset);
    return where < 0 ? -1 - where : -1;
  }

  /** True when the enclave has this page. */
  has(offset: number): boolean {
    return this.#where(offset) !== 0;
  }

  /** SECINFO flags of the page as the driver knows them; 0 for none. */
  flags(offset: number): number {
    const chunk = this.#find(offset);
    return chunk === undefined ? 0 : chunk.flags[this.#index(offset)] & ~AGED;
  }

  /** Changes the flags of a page. */
  setFlags(offset: number, flags: number): void {
    const chunk = this.#chunk(offset);
    const i = this.#index(offset);
    chunk.flags[i] = (chunk.flags[i] & AGED) | flags;
  }

  /** True while the page's entry is not present. */
  aged(offset: number): boolean {
    const chunk = this.#find(offset);
    return chunk !== undefined && (chunk.flags[this.#index(offset)] & AGED) !== 0;
  }

  /** Notes that the page's entry is not present (`on`), or present again. */
  setAged(offset: number, on: boolean): void {
    const chunk = this.#chunk(offset);
    const i = this.#index(offset);
    chunk.flags[i] = on ? chunk.flags[i] | AGED : chunk.flags[i] & ~AGED;
  }

  /** How many pages from `offset` on are absent, at most `count`. */
  absent(offset: number, count: number): number {
    for (let n = 0; n < count; ) {
      const where = this.#find(offset + n * PAGE)?.where;
      const i = this.#index(offset + n * PAGE);
      const end = Math.min(CHUNK, i + count - n);
      if (where !== undefined) for (let at = i; at < end; at++) if (where[at] !== 0) return n + at - i;
      n += end - i;
    }
    return count;
  }

  /** Enters pages that were absent. */
  insert(extent: PageExtent): void {
    const { offset, count, gpa, flags } = extent;
    for (let n = 0; n < count; ) {
      const { where, flags: all } = this.#chunk(offset + n * PAGE);
      const i = this.#index(offset + n * PAGE);
      const end = Math.min(CHUNK, i + count - n);
      for (let at = i, to = gpa + n * PAGE; at < end; at++, to += PAGE) where[at] = to;
      all.fill(flags, i, end);
      n += end - i;
    }
    this.#resident += count;
  }

  /** Puts a page into a frame; without `flags` it keeps those it has. */
  place(offset: number, gpa: number, flags?: number): void {
    this.#move(offset, gpa);
    if (flags !== undefined) this.#chunk(offset).flags[this.#index(offset)] = flags;
    else this.setAged(offset, false);
  }

  /** Notes that the page now lies in a slot of the backing store. */
  evict(offset: number, slot: number): void {
    this.#move(offset, -1 - slot);
    this.setAged(offset, false);
  }

  /** Forgets a page. */
  remove(offset: number): void {
    this.#move(offset, 0);
    this.#chunk(offset).flags[this.#index(offset)] = 0;
  }

  /** Calls `visit` for every page by offset: gPA of its frame, or −1 − slot of an evicted one. */
  forEach(visit: (offset: number, where: number, flags: number) => void): void {
    for (const key of [...this.#chunks.keys()].sort((a, b) => a - b)) {
      const chunk = this.#chunks.get(key) as Chunk;
      for (let i = 0; i < CHUNK; i++)
        if (chunk.where[i] !== 0) visit((key * CHUNK + i) * PAGE, chunk.where[i], chunk.flags[i] & ~AGED);
    }
  }

  /** Forgets every page. */
  clear(): void {
    this.#chunks.clear();
    this.#last = undefined;
    this.#lastKey = -1;
    this.#resident = 0;
    this.#evicted = 0;
  }

  #where(offset: number): number {
    const chunk = this.#find(offset);
    return chunk === undefined ? 0 : chunk.where[this.#index(offset)];
  }

  #move(offset: number, where: number): void {
    const chunk = this.#chunk(offset);
    const i = this.#index(offset);
    const before = chunk.where[i];
    if (before > 0) this.#resident--;
    else if (before < 0) this.#evicted--;
    if (where > 0) this.#resident++;
    else if (where < 0) this.#evicted++;
    chunk.where[i] = where;
  }

  #find(offset: number): Chunk | undefined {
    const key = Math.floor(offset / (PAGE * CHUNK));
    if (key !== this.#lastKey) {
      this.#last = this.#chunks.get(key);
      this.#lastKey = key;
    }
    return this.#last;
  }

  /** Place of the page in the chunk that was looked for last. */
  #index(offset: number): number {
    return offset / PAGE - this.#lastKey * CHUNK;
  }

  #chunk(offset: number): Chunk {
    let chunk = this.#find(offset);
    if (chunk === undefined) {
      chunk = { where: new Float64Array(CHUNK), flags: new Uint16Array(CHUNK) };
      this.#chunks.set(this.#lastKey, chunk);
      this.#last = chunk;
    }
    return chunk;
  }
}
