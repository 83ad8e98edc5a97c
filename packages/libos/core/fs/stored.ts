/** A file of the store: which of its blocks lie outside and where, and which of them differ from those by now. */
import { ask, THEN_RETRY } from '../request';
import { now } from '../shim';
import { giveBuffer, takeBuffer } from './buffers';
import { CHUNK, fits, keepFree } from './chunks';
import { giveUp } from './positions';

/** Bytes under one tag; native/src/store.c knows it too. */
export const STORE_BLOCK: u64 = 16384;
/** A reference to a block: u64 position, u32 bytes, IV (12), tag (16). Position 0: a block of zeros that is nowhere. */
export const REFERENCE: usize = 40;
/** References in a block of references. */
export const FANOUT: u32 = 409;

/** A plan: u32 state, i32 result, u32 items, u32 where the metadata's reference is, u64 their bytes, u32 whether to be durable first. */
export const PLAN: usize = 32;
/** u32 from, u32 bytes, u32 and u32 where the reference goes, u64 position. */
export const ITEM: usize = 24;

/** Marks: a block differs from what is outside; it is being written there; it was, and no commit refers to it yet. */
export const CHANGED: u8 = 1;
export const WRITING: u8 = 3;
export const WRITTEN: u8 = 2;

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

/** Blocks of all files that have changed. */
export let dirtyBlocks: u32 = 0;
/** How many changed again after they had been written out. */
export let changedAgain: u32 = 0;

/** Blocks that all files reach, and memory that a commit may take for each: references twice, items, and what lies between. */
let allBlocks: u64 = 0;
const PER_BLOCK: u64 = 320;

/** Marks that a commit under way is about: they count again if it fails. */
export class Marks {
  constructor(
    public marks: usize,
    public marked: u32,
  ) {}
}

export class Stored {
  /** References, level after level, of so many blocks: as of the last commit, but for those of blocks that went out since. */
  pyramid: usize = 0;
  blocks: u32 = 0;
  /** Whether only those of the blocks themselves are there. */
  flat: bool = false;
  /** A mark for each block, 0 where it is as in the last commit. */
  marks: usize = 0;
  marked: u32 = 0;
  /** Whether anything is marked. */
  dirty: bool = false;
  /** Whether it is among the files with changes, and where the search for them goes on (write-out.ts). */
  listed: bool = false;
  hand: u32 = 0;
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
    const mark = load<u8>(this.marks + block);
    if (mark === CHANGED) return;
    if (mark === WRITTEN) changedAgain++;
    store<u8>(this.marks + block, CHANGED);
    dirtyBlocks++;
    this.dirty = true;
  }

  /** A block that has changed is on its way out. */
  leaves(block: u32): void {
    store<u8>(this.marks + block, WRITING);
    dirtyBlocks--;
  }

  /** It did not get there. */
  stays(block: u32): void {
    this.markBlock(block);
  }

  /** A block lies outside where a reference says; 0: it is zeros. */
  placed(block: u32, reference: usize, size: u64): void {
    if (load<u8>(this.marks + block) === CHANGED) dirtyBlocks--;
    store<u8>(this.marks + block, WRITTEN);
    if (block >= this.blocks && reference !== 0) this.extend(max(block + 1, blocksOf(size)));
    if (block >= this.blocks) return;
    const at = this.pyramid + <usize>block * REFERENCE;
    giveUp(<u32>load<u64>(at));
    if (reference === 0) memory.fill(at, 0, REFERENCE);
    else memory.copy(at, reference, REFERENCE);
  }

  /** Room for references of more blocks; those above are made by the commit. */
  private extend(least: u32): void {
    let room: usize = 512;
    while (room < <usize>least * REFERENCE) room *= 2;
    const larger = takeBuffer(room);
    const had = <usize>this.blocks * REFERENCE;
    memory.copy(larger, this.pyramid, had);
    memory.fill(larger + had, 0, room - had);
    giveBuffer(this.pyramid);
    this.pyramid = larger;
    this.blocks = <u32>(room / REFERENCE);
    this.flat = true;
  }

  /** Where blocks lay that have changed, as far as no commit knows of them, is nobody's any more. */
  forget(marks: Marks): void {
    for (let i: u32 = 0; i < marks.marked && i < this.blocks; i++)
      if (load<u8>(marks.marks + i) !== 0) giveUp(<u32>load<u64>(this.pyramid + <usize>i * REFERENCE));
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

  /** Whether any block of a piece is not outside as it is. */
  isMarked(piece: u32): bool {
    const first = piece * <u32>(CHUNK / STORE_BLOCK);
    for (let block = first; block < this.marked && block < first + <u32>(CHUNK / STORE_BLOCK); block++)
      if ((load<u8>(this.marks + block) & CHANGED) !== 0) return true;
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
    for (let i: u32 = 0; i < taken.marked; i++) if (load<u8>(taken.marks + i) === CHANGED) dirtyBlocks--;
    return taken;
  }

  /** Blocks that a commit could not write are marked again, with those that have been since. */
  remark(taken: Marks): void {
    if (taken.marked > this.marked) this.grow(taken.marked);
    for (let i: u32 = 0; i < taken.marked; i++) {
      const mark = load<u8>(taken.marks + i);
      if (mark === CHANGED) this.markBlock(i);
      else if (mark === WRITTEN && load<u8>(this.marks + i) === 0) store<u8>(this.marks + i, WRITTEN);
      if (mark !== 0) this.dirty = true;
    }
  }

  unmark(): void {
    const taken = this.takeMarks();
    this.forget(taken);
    giveBuffer(taken.marks);
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
