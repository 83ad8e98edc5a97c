/**
 * Memory of the contents of files, in pieces of one size: what one file gives back fits any other. It comes from the heap in
 * slabs and stays here afterwards, so that a file that grows has nothing to copy.
 */

import { bringCore } from '../shim';
import { giveBuffer } from './buffers';

/** Bytes of a piece; also those under one digest of the root's description (src/image/manifest.ts). */
export const CHUNK: u64 = 65536;
/** Pieces that are taken from the heap at once: more each time. */
const MOST: u64 = 16;
let next: u64 = 1;
const PAGE: usize = 4096;

/** Bytes that the rest of the core keeps for itself. */
const MARGIN: u64 = 256 << 10;

let limit: u64 = 0;
let free: StaticArray<usize> = new StaticArray<usize>(64);
let freeCount: i32 = 0;

/** While a commit goes on outside of the lock, contents that it may read stay where they are. */
let pinned: bool = false;
let laterChunks: Array<usize> = new Array<usize>();
let laterBuffers: Array<usize> = new Array<usize>();

/** What commits need while they go on. */
let keptFree: u64 = 0;

/** For a store: a quarter of the memory, whether `bytes` fit that. */
export function keepFree(bytes: u64): bool {
  keptFree = limit / 4;
  return bytes <= keptFree;
}

export function setMemoryLimit(bytes: u64): void {
  limit = bytes;
}

/** Bytes of memory that the core may have. */
export function memoryLimit(): u64 {
  return limit;
}

/** Whether so many bytes fit the core's memory still, by a margin. The allocator traps when memory cannot grow, so ask first. */
export function fits(size: u64): bool {
  return (<u64>memory.size() << 16) + size + MARGIN <= limit;
}

function put(chunk: usize): void {
  if (freeCount === free.length) {
    const larger = new StaticArray<usize>(2 * free.length);
    for (let i = 0; i < freeCount; i++) larger[i] = free[i];
    free = larger;
  }
  free[freeCount++] = chunk;
}

/** Whether there is a piece that nobody has, so that memory need not grow. */
export function hasFree(): bool {
  return freeCount > 0;
}

/** A piece with whatever it has; 0 when there is none. */
export function takeChunk(): usize {
  if (freeCount > 0) return free[--freeCount];
  // The rest of the core, which may have to write out what files hold, needs memory too.
  const kept = limit / 16 + keptFree + PAGE;
  const count = fits(next * CHUNK + kept) ? next : 1;
  if (!fits(count * CHUNK + kept)) return 0;
  next = min(2 * next, MOST);
  const slab = (heap.alloc(<usize>(count * CHUNK) + PAGE) + PAGE - 1) & ~(PAGE - 1);
  // Pages cost less together than when they are used one after the other.
  if (!bringCore(slab, count * CHUNK)) return 0;
  for (let i = <usize>count - 1; i > 0; i--) put(slab + i * <usize>CHUNK);
  return slab;
}

export function freeChunk(chunk: usize): void {
  if (pinned) laterChunks.push(chunk);
  else put(chunk);
}

/** A buffer that a commit may be reading. */
export function freeLater(data: usize): void {
  if (pinned) laterBuffers.push(data);
  else giveBuffer(data);
}

export function pinContents(on: bool): void {
  pinned = on;
  if (on) return;
  for (let i = 0; i < laterChunks.length; i++) put(laterChunks[i]);
  for (let i = 0; i < laterBuffers.length; i++) giveBuffer(laterBuffers[i]);
  laterChunks = new Array<usize>();
  laterBuffers = new Array<usize>();
}

export function isPinned(): bool {
  return pinned;
}
