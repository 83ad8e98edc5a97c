/**
 * What programs write to the store's files goes out before it fills the memory, without a commit: no root refers to such
 * blocks until the next commit, and when the host stops before, they are nobody's.
 */
import { EIO } from '../errno';
import { ask, THEN_RETRY } from '../request';
import { current, Thread } from '../task/thread';
import { takeBuffer } from './buffers';
import { mayGo } from './cache';
import { CHUNK, pinContents } from './chunks';
import { HOLE, memoryOf } from './contents';
import { Inode } from './inode';
import { BY_FILE, giveUp, moved, takePosition } from './positions';
import { CHANGED, ITEM, PLAN, REFERENCE, STATE_DONE, STATE_IDLE, STATE_WORKING, STORE_BLOCK, WRITING } from './stored';

const OP_STORE_WRITE: u64 = 98;
/** Blocks that go out at once. */
const MOST: u32 = 64;

/** Files with blocks that have changed. */
let files: Array<Inode> = new Array<Inode>();
let swept: i32 = 256;

/** What goes out: a plan (store.ts), behind it the references. */
let plan: usize = 0;
let items: u32 = 0;
const inodes: Array<Inode> = new Array<Inode>();
const blocks = new StaticArray<u32>(<i32>MOST);
let writer: Thread | null = null;

/** Whether anything went out since the last commit. */
let some: bool = false;

export function takeSome(): bool {
  const taken = some;
  some = false;
  return taken;
}

export function setSome(): void {
  some = true;
}

/** Notes that a file has changed. */
export function hasChanged(inode: Inode): void {
  const stored = inode.stored!;
  if (stored.listed) return;
  stored.listed = true;
  if (files.length >= swept) sweep();
  files.push(inode);
}

/** Those that are gone are not kept for long. */
function sweep(): void {
  const left = new Array<Inode>();
  for (let i = 0; i < files.length; i++) {
    if (!files[i].stored!.gone) left.push(files[i]);
  }
  files = left;
  swept = max(256, 2 * files.length);
}

function reference(item: u32): usize {
  return plan + PLAN + <usize>MOST * ITEM + <usize>item * REFERENCE;
}

/** A block that has changed: it goes out, or is zeros. */
function pickBlock(inode: Inode, block: u32): void {
  const stored = inode.stored!;
  const from = <u64>block * STORE_BLOCK;
  const entry = from < inode.size ? inode.contents!.get(<u32>(from / CHUNK)) : HOLE;
  if (entry === HOLE) {
    stored.placed(block, 0, inode.size);
    return;
  }
  stored.leaves(block);
  const at = plan + PLAN + <usize>items * ITEM;
  store<u32>(at, <u32>(memoryOf(entry) + <usize>(from % CHUNK)));
  store<u32>(at, <u32>min(STORE_BLOCK, inode.size - from), 4);
  store<u32>(at, <u32>reference(items), 8);
  store<u32>(at, 0, 12);
  store<u64>(at, takePosition(BY_FILE), 16);
  inodes.push(inode);
  blocks[items++] = block;
}

/** As many as fit, from where the last ones were; false when the file has no more. */
function pickFrom(inode: Inode): bool {
  const stored = inode.stored!;
  for (let left = stored.marked; left > 0; left--) {
    if (items === MOST) return true;
    if (stored.hand >= stored.marked) stored.hand = 0;
    const block = stored.hand++;
    if (load<u8>(stored.marks + block) === CHANGED) pickBlock(inode, block);
  }
  return false;
}

function pick(): void {
  if (plan === 0) plan = takeBuffer(PLAN + <usize>MOST * (ITEM + REFERENCE));
  items = 0;
  while (items < MOST && files.length > 0) {
    const inode = files.shift();
    if (!inode.stored!.gone && pickFrom(inode)) files.push(inode);
    else inode.stored!.listed = false;
  }
}

function finish(): i64 {
  const good = load<i32>(plan, 4) === 0;
  store<u32>(plan, STATE_IDLE);
  for (let i: u32 = 0; i < items; i++) {
    const stored = inodes[i].stored!;
    const block = blocks[i];
    const mine = block < stored.marked && load<u8>(stored.marks + block) === WRITING;
    if (good && mine) {
      stored.placed(block, reference(i), inodes[i].size);
      continue;
    }
    giveUp(<u32>load<u64>(plan + PLAN + <usize>i * ITEM, 16));
    if (!mine) continue;
    stored.stays(block);
    hasChanged(inodes[i]);
  }
  moved();
  pinContents(false);
  const each = <u32>(CHUNK / STORE_BLOCK);
  for (let i: u32 = 0; i < items && good; i++) {
    if (!inodes[i].stored!.gone && !inodes[i].stored!.isMarked(blocks[i] / each)) mayGo(inodes[i], blocks[i] / each, false);
  }
  inodes.length = 0;
  items = 0;
  return good ? 0 : EIO;
}

/** Whether blocks are on their way out, or it has not been noted that they are there. */
export function isWriting(): bool {
  return plan !== 0 && load<u32>(plan) !== STATE_IDLE;
}

/** Notes that blocks are out, if they are: 0, or what went wrong with those of this thread. */
export function settleWrites(): i64 {
  if (plan === 0 || load<u32>(plan) !== STATE_DONE) return 0;
  const mine = writer === current;
  const result = finish();
  return mine ? result : 0;
}

/** Sends blocks out, while nothing else is under way: PENDING, or 0 when there are none. */
export function writeOut(): i64 {
  pick();
  if (items === 0) return 0;
  some = true;
  writer = current;
  store<u32>(plan, STATE_WORKING);
  store<i32>(plan, 0, 4);
  store<u32>(plan, items, 8);
  pinContents(true);
  current.touched = true;
  return ask(OP_STORE_WRITE, plan, 0, 0, 0, THEN_RETRY);
}
