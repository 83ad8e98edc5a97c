/**
 * What stays in memory of the store's files. Pieces that are outside too are cold, until they are wanted a second time:
 * a few are enough for who goes through a file once, and their memory is used again and again. Those that were wanted again
 * are warm, and stay as long as there is room. What has changed goes out (write-out.ts) when there is much, and more may
 * stay where the same blocks change again and again.
 */
import { ENOSPC } from '../errno';
import { CHUNK, hasFree, isPinned, memoryLimit } from './chunks';
import { BEEN, CLEAN, Contents, isHere, OUTSIDE, USED } from './contents';
import { Inode } from './inode';
import { isMappedPart } from './mapped';
import { settleStore } from './store';
import { awaitStore, changedAgain, dirtyBlocks, STORE_BLOCK } from './stored';
import { settleWrites, writeOut } from './write-out';

/** Cold pieces, and blocks that have changed, that there may be before anything goes. */
const COLD: i32 = 32;
const CHANGES: u64 = 128;

/** Pieces that may go, the oldest first; `head` is the first that has not gone. */
class Pieces {
  private files: Array<Inode> = new Array<Inode>();
  private pieces: Array<u32> = new Array<u32>();
  private head: i32 = 0;

  get length(): i32 {
    return this.files.length - this.head;
  }

  push(inode: Inode, piece: u32): void {
    this.files.push(inode);
    this.pieces.push(piece);
    if (this.head < 1024 || 2 * this.head < this.files.length) return;
    this.files = this.files.slice(this.head);
    this.pieces = this.pieces.slice(this.head);
    this.head = 0;
  }

  /** Makes one go, but none of those of `but` from `low` to `high`; false when there is none. */
  evict(but: Inode | null, low: u32, high: u32, second: bool): bool {
    // Each gets a second chance, if any do.
    for (let left = (second ? 2 : 1) * this.length; left > 0; left--) {
      const inode = this.files[this.head];
      const piece = this.pieces[this.head++];
      const contents = inode.contents!;
      const entry = contents.get(piece);
      if (!isHere(entry) || (entry & CLEAN) === 0) continue;
      if (inode.stored!.isMarked(piece)) contents.set(piece, entry & ~(CLEAN | USED));
      else if ((second && (entry & USED) !== 0) || (inode === but && piece >= low && piece <= high) || isMapped(inode, piece)) {
        contents.set(piece, entry & ~USED);
        this.push(inode, piece);
      } else {
        contents.drop(piece, OUTSIDE | BEEN);
        return true;
      }
    }
    return false;
  }
}

/** Pieces that processes have mapped stay. */
function isMapped(inode: Inode, piece: u32): bool {
  return isMappedPart(inode, <u64>piece * CHUNK, (<u64>piece + 1) * CHUNK);
}

const cold = new Pieces();
const warm = new Pieces();

/** What pieces that may go can take, and what has changed. */
function budget(): u64 {
  return memoryLimit() / 4;
}

/** A piece that is here is as it is outside. */
export function mayGo(inode: Inode, piece: u32, again: bool): void {
  const entry = inode.contents!.get(piece);
  if (!isHere(entry) || (entry & CLEAN) !== 0) return;
  inode.contents!.set(piece, entry | CLEAN | USED);
  if (again) warm.push(inode, piece);
  else cold.push(inode, piece);
}

/** Makes a piece go: false when there is none, or what goes out is read from them. */
function evict(but: Inode | null, low: u32, high: u32): bool {
  settleWrites();
  settleStore();
  if (isPinned()) return false;
  const first = cold.length >= COLD;
  if (first && cold.evict(but, low, high, false)) return true;
  return warm.evict(but, low, high, true) || (!first && cold.evict(but, low, high, false));
}

/** Whether one of the cold pieces is to make way rather than that memory grows. */
function spare(): bool {
  return !hasFree() && cold.length >= COLD;
}

/** Memory for a piece that comes in, of `inode`, of which [low, high] are wanted: in place of another when there are many. */
export function roomToLoad(inode: Inode, piece: u32, bytes: u32, low: u32, high: u32): usize {
  const many = <u64>(cold.length + warm.length) * CHUNK >= budget();
  const again = (inode.contents!.get(piece) & BEEN) !== 0;
  if (many || (!again && spare())) evict(inode, low, high);
  let to = inode.contents!.fresh(piece, bytes);
  if (to === 0 && evict(inode, low, high)) to = inode.contents!.fresh(piece, bytes);
  return to;
}

/** Memory for a new piece of a file; `from` is what is being copied from, at a position. */
export function freshOrEvicted(contents: Contents, piece: u32, bytes: u32, from: Inode | null = null, at: u64 = 0): usize {
  const low = <u32>(at / CHUNK);
  const high = low + <u32>((1 << 20) / CHUNK);
  if (spare()) evict(from, low, high);
  let to = contents.fresh(piece, bytes);
  if (to === 0 && evict(from, low, high)) to = contents.fresh(piece, bytes);
  return to;
}

/** Before a write: sends out what has changed when it is much. 0, PENDING, or an error. */
export function leaveRoom(): i64 {
  const failed = settleWrites();
  if (failed !== 0) return failed;
  const most = min(budget() / STORE_BLOCK, CHANGES + 4 * <u64>changedAgain);
  if (dirtyBlocks < most) return 0;
  return settleStore() ? writeOut() : awaitStore();
}

/** There was no memory for a write: 0 when there may be now, PENDING, or an error. */
export function makeRoom(): i64 {
  if (!settleStore()) return awaitStore();
  return dirtyBlocks > 0 ? writeOut() : ENOSPC;
}
