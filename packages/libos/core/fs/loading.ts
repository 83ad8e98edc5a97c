/**
 * Pieces of the store's files on their way in. A load has copies of the references and memory of its own, since files can
 * change or go meanwhile: what it brought becomes the file's if the file still waits for it.
 */
import { EIO, ENOMEM } from '../errno';
import { ask, THEN_RETRY } from '../request';
import { current, Thread } from '../task/thread';
import { giveBuffer, takeBuffer } from './buffers';
import { mayGo, roomToLoad } from './cache';
import { CHUNK, isPinned } from './chunks';
import { BEEN, COMING, Contents, OUTSIDE } from './contents';
import { Inode } from './inode';
import { moves } from './positions';
import { awaitStore, REFERENCE, STATE_DONE, STORE_BLOCK } from './stored';

const OP_STORE_LOAD: u64 = 96;
/** Most pieces of one load, and how many come with one that follows what came last. */
const MOST: u32 = 16;
/** A load: u32 state, i32 result, u32 blocks, u32 nothing; then of each block its reference, u32 where to, u32 room there. */
const HEAD: usize = 16;
const ITEM: usize = REFERENCE + 8;
const BLOCKS: u32 = <u32>(CHUNK / STORE_BLOCK);

class Load {
  state: usize = 0;
  count: u32 = 0;
  memory: StaticArray<usize> = new StaticArray<usize>(<i32>MOST);
  bytes: StaticArray<u32> = new StaticArray<u32>(<i32>MOST);
  constructor(
    public number: u32,
    public inode: Inode,
    public contents: Contents,
    public first: u32,
    public asker: Thread,
    public moves: u64,
  ) {}
}

let lastLoad: u32 = 0;
const loads = new Array<Load>();

/** Bytes of a piece that a file of this size has. */
function bytesOf(size: u64, piece: u32): u32 {
  return <u32>min(size - <u64>piece * CHUNK, CHUNK);
}

/** What has come becomes the files', or is nobody's any more. */
function settle(): void {
  for (let i = loads.length - 1; i >= 0; i--) {
    const one = loads[i];
    if (load<u32>(one.state) !== STATE_DONE) continue;
    const good = load<i32>(one.state, 4) === 0;
    // A block that moved since, whose place is another's, is not damaged: the next try finds the present one.
    if (!good && one.moves === moves) one.asker.failedFile = one.inode;
    for (let k: u32 = 0; k < one.count; k++) {
      const piece = one.first + k;
      const entry = one.contents.get(piece);
      const waits = (entry & ~BEEN) === (COMING | <usize>one.number << 4);
      if (waits) one.contents.set(piece, OUTSIDE | (entry & BEEN));
      if (waits && good) take(one, piece, one.memory[k], one.bytes[k], (entry & BEEN) !== 0);
      else Contents.giveBack(piece, one.memory[k], one.bytes[k]);
    }
    giveBuffer(one.state);
    loads.splice(i, 1);
  }
}

function take(one: Load, piece: u32, data: usize, bytes: u32, been: bool): void {
  one.contents.own(piece, data, bytes, 0);
  // The file has become longer since.
  const wanted = bytesOf(one.inode.size, piece);
  if (wanted > bytes) memory.fill(data + bytes, 0, one.contents.roomOf(piece) - bytes);
  if (piece === 0 && one.contents.widen(wanted) === 0) one.contents.drop(0, OUTSIDE);
  mayGo(one.inode, piece, been);
}

/** Brings a piece, and those behind it up to `last`; [low, last] are all wanted. 0, PENDING, or an error. */
export function bring(inode: Inode, piece: u32, low: u32, last: u32): i64 {
  settle();
  const failed = current.failedFile === inode;
  current.failedFile = null;
  if (failed) return EIO;
  const contents = inode.contents!;
  const entry = contents.get(piece);
  if ((entry & OUTSIDE) === 0) return (entry & COMING) !== 0 ? awaitStore() : 0;
  const stored = inode.stored!;
  // Whoever reads on wants more than he says.
  const end = piece > 0 && piece === stored.next ? max(last, piece + MOST - 1) : last;
  const one = new Load(++lastLoad & 0xff_ffff, inode, contents, piece, current, moves);
  one.state = takeBuffer(HEAD + <usize>(MOST * BLOCKS) * ITEM);
  let at = one.state + HEAD;
  for (let k: u32 = 0; k < MOST && piece + k <= end && (contents.get(piece + k) & OUTSIDE) !== 0 && <u64>(piece + k) * CHUNK < inode.size; k++) {
    const bytes = bytesOf(inode.size, piece + k);
    const to = roomToLoad(inode, piece + k, bytes, low, last);
    if (to === 0) break;
    one.memory[k] = to;
    one.bytes[k] = bytes;
    one.count++;
    contents.set(piece + k, COMING | (contents.get(piece + k) & BEEN) | <usize>one.number << 4);
    for (let b: u32 = 0; <u64>b * STORE_BLOCK < bytes; b++) {
      const block = (piece + k) * BLOCKS + b;
      if (block < stored.blocks) memory.copy(at, stored.pyramid + <usize>block * REFERENCE, REFERENCE);
      else memory.fill(at, 0, REFERENCE);
      store<u32>(at, <u32>(to + <usize>b * <usize>STORE_BLOCK), REFERENCE);
      store<u32>(at, <u32>min(STORE_BLOCK, bytes - b * <u32>STORE_BLOCK), REFERENCE + 4);
      at += ITEM;
    }
  }
  if (one.count === 0) {
    giveBuffer(one.state);
    return isPinned() ? awaitStore() : ENOMEM;
  }
  stored.next = piece + one.count;
  store<u64>(one.state, 0);
  store<u32>(one.state, <u32>((at - one.state - HEAD) / ITEM), 8);
  loads.push(one);
  current.touched = true;
  return ask(OP_STORE_LOAD, one.state, 0, 0, 0, THEN_RETRY);
}
