/** The version array pages of one enclave (EPA): a slot of 8 bytes keeps the version of each evicted page. */

/** Slots of one VA page. */
export const VA_SLOTS = 512;
const SLOT = 8;
const PAGE = 4096;

interface VaPage {
  gpa: number;
  /** Free slots, as a stack. */
  free: number[];
}

/** Deals out slots of VA pages; who owns the frames brings new ones and takes free ones back. */
export class VersionArrays {
  readonly #pages: VaPage[] = [];
  #free = 0;

  /** Free slots. */
  get free(): number {
    return this.#free;
  }

  /** gPAs of the VA pages. */
  get frames(): number[] {
    return this.#pages.map((page) => page.gpa);
  }

  /** Adds a VA page that EPA has made. */
  add(gpa: number): void {
    const free: number[] = [];
    for (let i = VA_SLOTS - 1; i >= 0; i--) free.push(i);
    this.#pages.push({ gpa, free });
    this.#free += VA_SLOTS;
  }

  /** gPA of a slot, from the first page that has one; there must be one free. */
  take(): number {
    const page = this.#pages.find((candidate) => candidate.free.length > 0) as VaPage;
    this.#free--;
    return page.gpa + (page.free.pop() as number) * SLOT;
  }

  /** Gives back a slot that is empty again. */
  give(slot: number): void {
    const gpa = slot - (slot % PAGE);
    this.#pages.find((page) => page.gpa === gpa)?.free.push((slot - gpa) / SLOT);
    this.#free++;
  }

  /** Takes out a VA page without versions, when the others have at least `keep` free slots; undefined for none. */
  shrink(keep: number): number | undefined {
    if (this.#free - VA_SLOTS < keep) return undefined;
    const index = this.#pages.findIndex((page) => page.free.length === VA_SLOTS);
    if (index < 0) return undefined;
    const [page] = this.#pages.splice(index, 1);
    this.#free -= VA_SLOTS;
    return page.gpa;
  }

  /** Forgets all pages. */
  clear(): void {
    this.#pages.length = 0;
    this.#free = 0;
  }
}
