/** A file of the store: which of its blocks lie outside and where, and which of them differ from those by now. */
import { EIO, ENOSPC } from '../errno';
import { ask, THEN_RETRY } from '../request';
import { now } from '../shim';
import { current } from '../task/thread';
import { fits, freeLater, Inode } from './inode';

/** Bytes under one tag; native/src/store.c knows it too. */
export const STORE_BLOCK: u64 = 16384;
/** A reference to a block: u64 position, u32 bytes, IV (12), tag (16). Position 0: a block of zeros that is nowhere. */
export const REFERENCE: usize = 40;
/** References in a block of references. */
export const FANOUT: u32 = 409;
const OP_STORE_LOAD: u64 = 96;

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

/** Files that went while a thread was bringing their contents: the native half writes there until it says that it is done. */
let leftFiles: Array<Stored> = new Array<Stored>();
let leftData: Array<usize> = new Array<usize>();

function sweep(): void {
  for (let i = leftFiles.length - 1; i >= 0; i--) {
    const stored = leftFiles[i];
    if (load<u32>(stored.outside) === STATE_WORKING) continue;
    freeLater(leftData[i]);
    heap.free(stored.outside);
    stored.outside = 0;
    stored.settle();
    leftFiles.splice(i, 1);
    leftData.splice(i, 1);
  }
}

/** The memory of contents that are not to be used, empty. */
function discard(inode: Inode): void {
  if (inode.data === 0) return;
  memory.fill(inode.data, 0, <usize>inode.room);
  freeLater(inode.data);
  inode.data = 0;
  inode.room = 0;
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
  /** Where the native half says how far it is, while the contents are outside; 0 once they are here. */
  outside: usize = 0;
  /** The last commit has it, or the one under way. */
  kept: bool = false;
  /** Nobody can reach the file any more. */
  gone: bool = false;

  /** Marks blocks that [from, from + length) touches. */
  mark(from: u64, length: u64): void {
    if (length === 0) return;
    const last = <u32>((from + length - 1) / STORE_BLOCK);
    if (last >= this.marked) this.grow(last + 1);
    memory.fill(this.marks + <usize>(from / STORE_BLOCK), 1, <usize>(last - <u32>(from / STORE_BLOCK) + 1));
    this.dirty = true;
  }

  private grow(least: u32): void {
    let room: u32 = this.marked < 64 ? 64 : this.marked;
    while (room < least) room *= 2;
    const marks = heap.alloc(room);
    memory.copy(marks, this.marks, this.marked);
    memory.fill(marks + this.marked, 0, room - this.marked);
    if (this.marks !== 0) heap.free(this.marks);
    this.marks = marks;
    this.marked = room;
  }

  unmark(): void {
    if (this.marks !== 0) memory.fill(this.marks, 0, this.marked);
    this.dirty = false;
  }

  /** The contents come in, all of them: 0, PENDING, or an error. */
  load(inode: Inode): i64 {
    sweep();
    const state = this.outside;
    if (state === 0) return 0;
    const word = load<u32>(state);
    if (word === STATE_WORKING) return awaitStore();
    if (word === STATE_DONE) {
      const result = load<i32>(state, 4);
      if (result !== 0) {
        // Nothing of it stays: what was verified of it is part of a file that cannot be read.
        discard(inode);
        store<u32>(state, STATE_IDLE);
        return EIO;
      }
      heap.free(state);
      this.outside = 0;
      return 0;
    }
    if (inode.data === 0) {
      if (!fits(inode.size)) return ENOSPC;
      const room = <usize>blocksOf(inode.size) * <usize>STORE_BLOCK;
      inode.data = heap.alloc(room);
      inode.room = room;
      memory.fill(inode.data, 0, room);
    }
    store<u32>(state, STATE_WORKING);
    current.touched = true;
    return ask(OP_STORE_LOAD, state, this.pyramid, this.blocks | ((<u64>inode.data) << 32), inode.size, THEN_RETRY);
  }

  /** The contents are given up unread; none of the blocks outside are the file's any more. */
  forget(inode: Inode): void {
    if (this.outside !== 0 && load<u32>(this.outside) !== STATE_WORKING) {
      discard(inode);
      this.mark(0, inode.size);
      heap.free(this.outside);
      this.outside = 0;
    }
  }

  /** The file is given up: whether its contents have to stay meanwhile, because a thread is bringing them. */
  leave(data: usize): bool {
    sweep();
    if (this.outside === 0) return false;
    if (load<u32>(this.outside) === STATE_WORKING) {
      leftFiles.push(this);
      leftData.push(data);
      return true;
    }
    heap.free(this.outside);
    this.outside = 0;
    return false;
  }

  release(): void {
    if (this.marks !== 0) heap.free(this.marks);
    this.marks = 0;
    this.marked = 0;
    this.dirty = false;
    this.gone = true;
    this.settle();
  }

  /** References of a file that is gone are given back when no commit has it and no thread reads them. */
  settle(): void {
    if (!this.gone || this.kept || this.outside !== 0 || this.pyramid === 0) return;
    heap.free(this.pyramid);
    this.pyramid = 0;
    this.blocks = 0;
  }
}
