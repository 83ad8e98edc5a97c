/**
 * What stays in memory of the store's files: pieces that are outside too go when there are too many, those that have not
 * been used first; and changes are committed before they fill the memory.
 */
import { ENOSPC } from '../errno';
import { CHUNK, isPinned, memoryLimit } from './chunks';
import { CLEAN, Contents, isHere, OUTSIDE, USED } from './contents';
import { Inode } from './inode';
import { commitGoesOn, settleCommit, syncStore } from './store';
import { dirtyBlocks, STORE_BLOCK } from './stored';

/** Pieces that may go, the oldest first; `head` is the first that has not gone. */
let files: Array<Inode> = new Array<Inode>();
let pieces: Array<u32> = new Array<u32>();
let head: i32 = 0;

/** What either may take. */
function budget(): u64 {
  return memoryLimit() / 4;
}

function push(inode: Inode, piece: u32): void {
  files.push(inode);
  pieces.push(piece);
  if (head < 1024 || 2 * head < files.length) return;
  files = files.slice(head);
  pieces = pieces.slice(head);
  head = 0;
}

/** A piece that is here is as it is outside. */
export function mayGo(inode: Inode, piece: u32): void {
  const entry = inode.contents!.get(piece);
  if (!isHere(entry) || (entry & CLEAN) !== 0) return;
  inode.contents!.set(piece, entry | CLEAN | USED);
  push(inode, piece);
}

/** Makes one go, but none of those of `but` from `low` to `high`; false when there is none, or a commit reads them. */
function evict(but: Inode | null, low: u32, high: u32): bool {
  settleCommit();
  if (isPinned()) return false;
  // Each gets a second chance.
  for (let left = 2 * (files.length - head); left > 0; left--) {
    const inode = files[head];
    const piece = pieces[head++];
    const contents = inode.contents!;
    const entry = contents.get(piece);
    if (!isHere(entry) || (entry & CLEAN) === 0) continue;
    if (inode.stored!.isMarked(piece)) contents.set(piece, entry & ~(CLEAN | USED));
    else if ((entry & USED) !== 0 || (inode === but && piece >= low && piece <= high)) {
      contents.set(piece, entry & ~USED);
      push(inode, piece);
    } else {
      contents.drop(piece, OUTSIDE);
      return true;
    }
  }
  return false;
}

/** Memory for a piece that comes in, of `inode`, of which [low, high] are wanted: in place of another when there are many. */
export function roomToLoad(inode: Inode, piece: u32, bytes: u32, low: u32, high: u32): usize {
  if (<u64>(files.length - head) * CHUNK >= budget()) evict(inode, low, high);
  let to = inode.contents!.fresh(piece, bytes);
  if (to === 0 && evict(inode, low, high)) to = inode.contents!.fresh(piece, bytes);
  return to;
}

/** Memory for a new piece of a file; `from` is what is being copied from, at a position. */
export function freshOrEvicted(contents: Contents, piece: u32, bytes: u32, from: Inode | null = null, at: u64 = 0): usize {
  const low = <u32>(at / CHUNK);
  let to = contents.fresh(piece, bytes);
  if (to === 0 && evict(from, low, low + 1)) to = contents.fresh(piece, bytes);
  return to;
}

/** What is left of changes by a commit: of files without a name. */
let kept: u32 = 0;

function commit(): i64 {
  const result = syncStore();
  if (result === 0) kept = dirtyBlocks;
  return result;
}

function changes(): u64 {
  kept = min(kept, dirtyBlocks);
  return <u64>(dirtyBlocks - kept) * STORE_BLOCK;
}

/** Before a write: a commit when much has not been committed. 0, PENDING, or an error. */
export function leaveRoom(): i64 {
  return changes() < budget() ? 0 : commit();
}

/** There was no memory for a write: 0 when there may be now, PENDING, or an error. */
export function makeRoom(): i64 {
  return changes() > 0 || commitGoesOn() ? commit() : ENOSPC;
}
