/** A file of the store: which of its blocks lie outside and where, and which of them differ from those by now. */
import { ask, THEN_RETRY } from '../request';
import { now } from '../shim';
import { giveBuffer, takeBuffer } from './buffers';
import { CHUNK, fits, keepFree } from './chunks';

/** Bytes under one tag; native/src/store.c knows it too. */
export const STORE_BLOCK: u64 = 16384;
/** A reference to a block: u64 position, u32 bytes, IV (12), tag (16). Position 0: a block of zeros that is nowhere. */
export const REFERENCE: usize = 40;
/** References in a block of references. */
export const FANOUT: u32 = 409;

/** States of what the native half does for the store. */
export const STATE_IDLE: u32 = 0;
export const STATE_WORKING: u32 = 1;
export const STATE_DONE: u32 = 2;
const POLL_NS: u64 = 1_000_000;

/** References of a file with so many blocks: its blocks', then those of the blocks that hold these, up to a single one. */
export function pyramidLength(blocks: u32): u32 {
  let total: u32 = 0;
  for (let level = blocks; level > 0; level = (level + FANOUT - 1) / FANOUT) {
    total += level;
    if (level === 1) break;
  }
  return total;
}

export function blocksOf(size: u64): u32 {
  return <u32>((size + STORE_BLOCK - 1) / STORE_BLOCK);
}

/** Waits for a thread that works on the store; the call is made again. */
export function awaitStore(): i64 {
  return ask(7, now(1) + POLL_NS, 0, 0, 0, THEN_RETRY);
}

/** Blocks of all files that differ from what is outside. */
export let dirtyBlocks: u32 = 0;

/** Blocks that all files reach, and memory that a commit may take for each: references twice, items, and what lies between. */
let allBlocks: u64 = 0;
const PER_BLOCK: u64 = 256;

/** Marks that a commit under way is about: they count again if it fails. */
export class Marks {
  constructor(
    public marks: usize,
    public marked: u32,
  ) {}
}

export class Stored {
  /** References as of the last commit, level after level, and the blocks of the file then. */
  pyramid: usize = 0;
  blocks: u32 = 0;
  /** A byte for each block that differs from what is outside. */
  marks: usize = 0;
  marked: u32 = 0;
  /** Whether anything is marked. */
  dirty: bool = false;
  /** Its part of `allBlocks`. */
  private counted: u32 = 0;
  /** The piece behind the one that came in last. */
  next: u32 = 0;
  /** The last commit has it, or the one under way. */
  kept: bool = false;
  /** Nobody can reach the file any more. */
  gone: bool = false;

  /** Marks blocks that [from, from + length) touches; `reach` was asked before. */
  mark(from: u64, length: u64): void {
    if (length === 0) return;
    const last = <u32>((from + length - 1) / STORE_BLOCK);
    if (last >= this.marked) this.grow(last + 1);
    for (let block = <u32>(from / STORE_BLOCK); block <= last; block++) this.markBlock(block);
  }

  private markBlock(block: u32): void {
    if (load<u8>(this.marks + block) !== 0) return;
    store<u8>(this.marks + block, 1);
    dirtyBlocks++;
    this.dirty = true;
  }

  /** Whether the file can be so long: there has to be memory for its marks and references, also while they are written. */
  reach(size: u64): bool {
    const blocks = blocksOf(size);
    if (blocks <= this.counted) return true;
    const total = allBlocks - this.counted + blocks;
    if (!keepFree(total * PER_BLOCK) || !fits(3 * blocks)) return false;
    this.counted = blocks;
    allBlocks = total;
    return true;
  }

  /** Whether any block of a piece differs from what is outside. */
  isMarked(piece: u32): bool {
    const first = piece * <u32>(CHUNK / STORE_BLOCK);
    for (let block = first; block < this.marked && block < first + <u32>(CHUNK / STORE_BLOCK); block++)
      if (load<u8>(this.marks + block) !== 0) return true;
    return false;
  }

  private grow(least: u32): void {
    let room: u32 = this.marked < 64 ? 64 : this.marked;
    while (room < least) room *= 2;
    const marks = takeBuffer(room);
    memory.copy(marks, this.marks, this.marked);
    memory.fill(marks + this.marked, 0, room - this.marked);
    giveBuffer(this.marks);
    this.marks = marks;
    this.marked = room;
  }

  /** From here on nothing is marked; what was goes to the caller. */
  takeMarks(): Marks {
    const taken = new Marks(this.marks, this.marked);
    this.marks = 0;
    this.marked = 0;
    this.dirty = false;
    for (let i: u32 = 0; i < taken.marked; i++) dirtyBlocks -= load<u8>(taken.marks + i);
    return taken;
  }

  /** Blocks that a commit could not write are marked again, with those that have been since. */
  remark(taken: Marks): void {
    if (taken.marked > this.marked) this.grow(taken.marked);
    for (let i: u32 = 0; i < taken.marked; i++) if (load<u8>(taken.marks + i) !== 0) this.markBlock(i);
  }

  unmark(): void {
    giveBuffer(this.takeMarks().marks);
  }

  release(): void {
    this.unmark();
    allBlocks -= this.counted;
    this.gone = true;
    this.settle();
  }

  /** References of a file that is gone are given back when no commit has it. */
  settle(): void {
    if (!this.gone || this.kept || this.pyramid === 0) return;
    giveBuffer(this.pyramid);
    this.pyramid = 0;
    this.blocks = 0;
  }
}
