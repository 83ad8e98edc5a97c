/** Where evicted pages wait: encrypted pages and their PCMDs in guest RAM, which the monitor can write. */
import type { GuestBlock, GuestMemory } from '../memory.js';

const PAGE = 4096;
const PCMD = 128;
/** Slots of one block of guest RAM. */
const BLOCK = 64;
/** Empty blocks that are kept for the next evictions. */
const SPARE = 1;

interface Block {
  pages: GuestBlock;
  pcmds: GuestBlock;
  /** When each slot's page was written back, in pages written back before. */
  stamps: Float64Array;
  /** gPA of the version array slot that each slot's page is under. */
  versions: Float64Array;
  /** Slots that are free, as a stack. */
  free: number[];
}

/** Slots for evicted pages; grows and shrinks by 64 slots. */
export class BackingStore {
  readonly #memory: GuestMemory;
  readonly #blocks: (Block | null)[] = [];
  #used = 0;
  #spare = 0;
  /** No block below has a free slot. */
  #lowest = 0;

  constructor(memory: GuestMemory) {
    this.#memory = memory;
  }

  /** Slots in use. */
  get used(): number {
    return this.#used;
  }

  /** Bytes of guest RAM that the store holds. */
  get bytes(): number {
    let blocks = 0;
    for (const block of this.#blocks) if (block !== null) blocks++;
    return blocks * BLOCK * (PAGE + PCMD);
  }

  /** Takes a slot. @throws GUEST_MEMORY_EXHAUSTED */
  take(): number {
    for (let i = this.#lowest; ; i++) {
      const block = this.#blocks[i] ?? this.#grow(i);
      const slot = block.free.pop();
      if (slot === undefined) continue;
      if (block.free.length === BLOCK - 1) this.#spare--;
      this.#lowest = i;
      this.#used++;
      return i * BLOCK + slot;
    }
  }

  /** Gives a slot back. */
  give(slot: number): void {
    const index = Math.floor(slot / BLOCK);
    const block = this.#blocks[index] as Block;
    block.free.push(slot % BLOCK);
    this.#used--;
    this.#lowest = Math.min(this.#lowest, index);
    if (block.free.length < BLOCK) return;
    if (this.#spare < SPARE) {
      this.#spare++;
      return;
    }
    this.#memory.free(block.pages);
    this.#memory.free(block.pcmds);
    this.#blocks[index] = null;
  }

  /** When the slot's page was written back. */
  stamp(slot: number): number {
    return (this.#blocks[Math.floor(slot / BLOCK)] as Block).stamps[slot % BLOCK];
  }

  /** Sets {@link stamp}. */
  setStamp(slot: number, when: number): void {
    (this.#blocks[Math.floor(slot / BLOCK)] as Block).stamps[slot % BLOCK] = when;
  }

  /** gPA of the version array slot that the slot's page is under. */
  version(slot: number): number {
    return (this.#blocks[Math.floor(slot / BLOCK)] as Block).versions[slot % BLOCK];
  }

  /** Sets {@link version}. */
  setVersion(slot: number, vaSlot: number): void {
    (this.#blocks[Math.floor(slot / BLOCK)] as Block).versions[slot % BLOCK] = vaSlot;
  }

  /** gPA of the slot's page. */
  pageGpa(slot: number): number {
    return (this.#blocks[Math.floor(slot / BLOCK)] as Block).pages.gpa + (slot % BLOCK) * PAGE;
  }

  /** gPA of the slot's PCMD. */
  pcmdGpa(slot: number): number {
    return (this.#blocks[Math.floor(slot / BLOCK)] as Block).pcmds.gpa + (slot % BLOCK) * PCMD;
  }

  /** The memory of a slot, for those who want to look or to tamper: encrypted page and PCMD. */
  view(slot: number): { page: Uint8Array; pcmd: Uint8Array } {
    const block = this.#blocks[Math.floor(slot / BLOCK)] as Block;
    const i = slot % BLOCK;
    return {
      page: block.pages.bytes.subarray(i * PAGE, (i + 1) * PAGE),
      pcmd: block.pcmds.bytes.subarray(i * PCMD, (i + 1) * PCMD),
    };
  }

  /** Gives all memory back. */
  close(): void {
    for (const block of this.#blocks) {
      if (block === null) continue;
      this.#memory.free(block.pages);
      this.#memory.free(block.pcmds);
    }
    this.#blocks.length = 0;
    this.#used = this.#spare = this.#lowest = 0;
  }

  #grow(index: number): Block {
    const pages = this.#memory.alloc(BLOCK * PAGE, { alignment: PAGE });
    let pcmds: GuestBlock;
    try {
      pcmds = this.#memory.alloc(BLOCK * PCMD, { alignment: PAGE });
    } catch (error) {
      this.#memory.free(pages);
      throw error;
    }
    const block: Block = {
      pages,
      pcmds,
      stamps: new Float64Array(BLOCK),
      versions: new Float64Array(BLOCK),
      free: [],
    };
    for (let i = BLOCK - 1; i >= 0; i--) block.free.push(i);
    this.#blocks[index] = block;
    this.#spare++;
    return block;
  }
}
