/**
 * The store: files that stay, below one folder. What programs write stays in the core's memory until a commit writes what has
 * changed to blocks outside that the last commit does not use, then the blocks that refer to them, up to one root
 * (native/src/store.c encrypts and writes). So the last commit stays whole until the next one is.
 */
import { EIO, ENOSPC } from '../errno';
import { ask, THEN_RETRY } from '../request';
import { leftMuch } from '../collection';
import { current, Thread } from '../task/thread';
import { giveBuffer, takeBuffer } from './buffers';
import { mayGo } from './cache';
import { CHUNK, fits, pinContents } from './chunks';
import { HOLE, isAway, memoryOf } from './contents';
import { Inode } from './inode';
import { pullStored } from './mapped';
import { Entry, Metadata, REFERENCE_AT } from './metadata';
import { isStored } from './store-folder';
import { BY_LAST, BY_NEXT, commitFailed, commitMade, leave, positionsRoom, takePosition, use } from './positions';
import {
  awaitStore, blocksOf, CHANGED, FANOUT, ITEM, Marks, PLAN, pyramidLength, REFERENCE, STATE_DONE, STATE_IDLE, STATE_WORKING,
  STORE_BLOCK, Stored,
} from './stored';
import { hasChanged, isWriting, setSome, settleWrites, takeSome } from './write-out';

const OP_STORE_COMMIT: u64 = 97;
/** As of the last commit, or as they were found. */
export let last: Metadata = new Metadata();

/** The commit under way. */
let plan: usize = 0;
let items: u32 = 0;
let itemRoom: u32 = 0;
let next: Metadata = last;
let planned: Array<Inode> = new Array<Inode>();
let plannedPyramids: Array<usize> = new Array<usize>();
let plannedBlocks: Array<u32> = new Array<u32>();
let plannedMarks: Array<Marks> = new Array<Marks>();
/** Whether it refers to blocks that were written before. */
let early: bool = false;

function usePyramid(pyramid: usize, blocks: u32, flat: bool = false): void {
  const count = flat ? blocks : pyramidLength(blocks);
  for (let i: u32 = 0; i < count; i++) {
    const at = load<u64>(pyramid + <usize>i * REFERENCE);
    if (at !== 0) use(<u32>at, BY_LAST);
  }
}

/** Files of the last commit and of the one under way, also those that have been removed since. */
let committed: Array<Stored> = new Array<Stored>();
let committing: Array<Stored> = new Array<Stored>();
/** Files without a name that are still open: what they have outside stays theirs. */
let nameless: Array<Stored> = new Array<Stored>();

function hold(entries: Array<Entry>): Array<Stored> {
  const held = new Array<Stored>();
  for (let i = 0; i < entries.length; i++) {
    if (!entries[i].isFile) continue;
    const stored = entries[i].inode.stored!;
    stored.kept = true;
    held.push(stored);
  }
  return held;
}

/** The files that the last commit has are these and not those. */
function settle(has: Array<Stored>, hasNot: Array<Stored>): void {
  for (let i = 0; i < hasNot.length; i++) hasNot[i].kept = false;
  for (let i = 0; i < has.length; i++) has[i].kept = true;
  const open = new Array<Stored>();
  for (let i = 0; i < nameless.length; i++) if (!nameless[i].gone && !nameless[i].kept) open.push(nameless[i]);
  for (let i = 0; i < hasNot.length; i++) {
    hasNot[i].settle();
    if (!hasNot[i].gone && !hasNot[i].kept && hasNot[i].pyramid !== 0 && !open.includes(hasNot[i])) open.push(hasNot[i]);
  }
  nameless = open;
  committed = has;
  committing = new Array<Stored>();
}

/** References of a file, or of the metadata, in the place of others. */
function exchange(old: usize, oldCount: u32, fresh: usize, freshCount: u32): void {
  for (let i: u32 = 0; i < oldCount; i++) leave(<u32>load<u64>(old + <usize>i * REFERENCE));
  for (let i: u32 = 0; i < freshCount; i++) {
    const at = load<u64>(fresh + <usize>i * REFERENCE);
    if (at !== 0) use(<u32>at, BY_LAST);
  }
}

/** What the last commit uses, and open files without a name. */
function useAll(): void {
  usePyramid(last.pyramid, last.blocks);
  for (let i = 0; i < committed.length; i++) usePyramid(committed[i].pyramid, committed[i].blocks);
  for (let i = 0; i < nameless.length; i++) if (!nameless[i].gone) usePyramid(nameless[i].pyramid, nameless[i].blocks, nameless[i].flat);
}

function item(from: usize, length: u32, reference: usize, also: usize): void {
  if (items === itemRoom) {
    itemRoom = itemRoom === 0 ? 64 : itemRoom * 2;
    const larger = takeBuffer(PLAN + <usize>itemRoom * ITEM);
    memory.copy(larger, plan, PLAN + <usize>items * ITEM);
    giveBuffer(plan);
    plan = larger;
  }
  const at = plan + PLAN + <usize>items * ITEM;
  items++;
  store<u32>(at, <u32>from);
  store<u32>(at, length, 4);
  store<u32>(at, <u32>reference, 8);
  store<u32>(at, <u32>also, 12);
  store<u64>(at, takePosition(BY_NEXT), 16);
}

/** Where a block of a file, or else of the metadata, lies; 0: it is zeros. */
function blockAt(file: Inode | null, data: usize, block: u32): usize {
  const from = <u64>block * STORE_BLOCK;
  if (file === null) return data + <usize>from;
  const entry = file.contents!.get(<u32>(from / CHUNK));
  if (isAway(entry)) unreachable();
  return entry === HOLE ? 0 : memoryOf(entry) + <usize>(from % CHUNK);
}

/** Blocks that are marked, then the blocks of references above them. */
function write(file: Inode | null, data: usize, size: u64, fresh: usize, blocks: u32, marks: Marks, same: bool, also: usize): void {
  const dirty = takeBuffer(blocks);
  for (let i: u32 = 0; i < blocks; i++) {
    const mark = i < marks.marked ? load<u8>(marks.marks + i) : 0;
    store<u8>(dirty + i, mark);
    if (mark !== CHANGED) continue;
    const reference = fresh + <usize>i * REFERENCE;
    const at = blockAt(file, data, i);
    if (at === 0) memory.fill(reference, 0, REFERENCE);
    else item(at, <u32>min(STORE_BLOCK, size - <u64>i * STORE_BLOCK), reference, blocks === 1 ? also : 0);
  }
  let level = fresh;
  let count = blocks;
  while (count > 1) {
    const above = level + <usize>count * REFERENCE;
    const nodes = (count + FANOUT - 1) / FANOUT;
    for (let j: u32 = 0; j < nodes; j++) {
      const first = j * FANOUT;
      const length = min(FANOUT, count - first);
      let changed = !same;
      for (let k: u32 = 0; k < length && !changed; k++) changed = load<u8>(dirty + first + k) !== 0;
      if (changed)
        item(level + <usize>first * REFERENCE, length * <u32>REFERENCE, above + <usize>j * REFERENCE, nodes === 1 ? also : 0);
      store<u8>(dirty + j, changed ? 1 : 0);
    }
    level = above;
    count = nodes;
  }
  giveBuffer(dirty);
}

/** Plans the writing of a file that has changed. */
function planFile(entry: Entry): void {
  const inode = entry.inode;
  const stored = inode.stored!;
  const blocks = blocksOf(inode.size);
  const count = pyramidLength(blocks);
  const fresh = takeBuffer(<usize>count * REFERENCE);
  memory.fill(fresh, 0, <usize>count * REFERENCE);
  const same = blocks === stored.blocks && !stored.flat;
  memory.copy(fresh, stored.pyramid, <usize>(same ? count : min(blocks, stored.blocks)) * REFERENCE);
  const marks = stored.takeMarks();
  const top = next.at(entry) + REFERENCE_AT;
  memory.fill(top, 0, REFERENCE);
  if (blocks === 1) memory.copy(top, fresh, REFERENCE);
  if (blocks > 0) write(inode, 0, inode.size, fresh, blocks, marks, same, top);
  planned.push(inode);
  plannedPyramids.push(fresh);
  plannedBlocks.push(blocks);
  plannedMarks.push(marks);
}

/** Memory that a commit takes at most: names and attributes, references, items (of which there are two while they grow), marks. */
function roomFor(changed: Array<Entry>): u64 {
  const names = <u64>next.size;
  let references: u64 = 0;
  let most: u32 = 0;
  for (let i = 0; i < changed.length; i++) {
    const blocks = blocksOf(changed[i].inode.size);
    references += pyramidLength(blocks);
    most = max(most, blocks);
  }
  references += pyramidLength(blocksOf(names));
  return 2 * (names + references * REFERENCE + most) + references * 3 * ITEM + 2 * (<u64>positionsRoom() + references) + 65536;
}

function touchMetadata(marks: usize, offset: usize): void {
  store<u8>(marks + offset / <usize>STORE_BLOCK, CHANGED);
  store<u8>(marks + (offset + REFERENCE - 1) / <usize>STORE_BLOCK, CHANGED);
}

/** Plans the writing of those blocks of the metadata that are marked, or are not as in the last commit. */
function planMetadata(marks: usize): void {
  next.mark(marks, last);
  next.blocks = blocksOf(next.size);
  const count = pyramidLength(next.blocks);
  const same = next.blocks === last.blocks;
  next.pyramid = takeBuffer(<usize>count * REFERENCE);
  memory.copy(next.pyramid, last.pyramid, <usize>(same ? count : min(next.blocks, last.blocks)) * REFERENCE);
  write(null, next.bytes, next.size, next.pyramid, next.blocks, new Marks(marks, next.blocks), same, 0);
  giveBuffer(marks);
}

/** 0 when there is nothing to commit, else the plan; -1: no memory for it. */
function makePlan(): i32 {
  pullStored();
  next = Metadata.now(last);
  leftMuch(8 + next.entries.length);
  const changed = next.changed();
  if (!fits(roomFor(changed))) return -1;
  next.write(last);
  if (changed.length === 0 && next.equals(last)) {
    next.release();
    return 0;
  }
  items = 0;
  committing = next.entries === last.entries ? committed : hold(next.entries);
  // Entries of files whose references are to come are other ones, whatever they say now.
  const marks = takeBuffer(blocksOf(next.size));
  memory.fill(marks, 0, blocksOf(next.size));
  for (let i = 0; i < changed.length; i++) {
    planFile(changed[i]);
    touchMetadata(marks, changed[i].offset + REFERENCE_AT);
  }
  planMetadata(marks);
  store<u32>(plan, STATE_WORKING);
  store<i32>(plan, 0, 4);
  store<u32>(plan, items, 8);
  store<u32>(plan, <u32>(next.pyramid + <usize>(pyramidLength(next.blocks) - 1) * REFERENCE), 12);
  store<u64>(plan, next.size, 16);
  early = takeSome();
  store<u32>(plan, early ? 1 : 0, 24);
  pinContents(true);
  return 1;
}

/** Pieces that a commit has written may go, as far as they have not been changed since. */
function written(inode: Inode, marks: Marks): void {
  const each = <u32>(CHUNK / STORE_BLOCK);
  for (let block: u32 = 0; block < marks.marked; block++) {
    if (load<u8>(marks.marks + block) === 0) continue;
    mayGo(inode, block / each, true);
    // Once is enough for a piece.
    block |= each - 1;
  }
}

/** The commit is over: what was written is what the next one builds on; or it was not, and all of it is to be written again. */
function finish(): i64 {
  const good = load<i32>(plan, 4) === 0;
  const sameFiles = next.entries === last.entries;
  store<u32>(plan, STATE_IDLE);
  if (good) commitMade(!sameFiles);
  for (let i = 0; i < planned.length; i++) {
    const inode = planned[i];
    const stored = inode.stored!;
    if (good || stored.gone) stored.forget(plannedMarks[i]);
    if (good) {
      if (sameFiles) exchange(stored.pyramid, stored.flat ? stored.blocks : pyramidLength(stored.blocks), plannedPyramids[i], pyramidLength(plannedBlocks[i]));
      giveBuffer(stored.pyramid);
      stored.pyramid = plannedPyramids[i];
      stored.blocks = plannedBlocks[i];
      stored.flat = false;
      written(inode, plannedMarks[i]);
    } else {
      giveBuffer(plannedPyramids[i]);
      if (!stored.gone) {
        stored.remark(plannedMarks[i]);
        hasChanged(inode);
      }
    }
    giveBuffer(plannedMarks[i].marks);
  }
  if (good) {
    if (sameFiles) exchange(last.pyramid, pyramidLength(last.blocks), next.pyramid, pyramidLength(next.blocks));
    last.release();
    last = next;
  } else next.release();
  next = last;
  if (!good && early) setSome();
  planned = new Array<Inode>();
  plannedMarks = new Array<Marks>();
  plannedPyramids = new Array<usize>();
  plannedBlocks = new Array<u32>();
  pinContents(false);
  if (!good) commitFailed();
  if (!sameFiles) settle(good ? committing : committed, good ? committed : committing);
  if (good && !sameFiles) useAll();
  return good ? 0 : EIO;
}

let committer: Thread | null = null;

/** Everything below the store's folder to the host, durably: 0, PENDING, or an error. */
export function syncStore(): i64 {
  if (!isStored()) return 0;
  if (plan !== 0 && load<u32>(plan) === STATE_WORKING) return awaitStore();
  if (plan !== 0 && load<u32>(plan) === STATE_DONE) {
    const mine = committer === current;
    const result = finish();
    // Another's commit may have begun before what this call is about.
    if (mine) return result;
  }
  const failed = settleWrites();
  if (failed !== 0) return failed;
  if (isWriting()) return awaitStore();
  const made = makePlan();
  if (made <= 0) return made < 0 ? ENOSPC : 0;
  committer = current;
  current.touched = true;
  return ask(OP_STORE_COMMIT, plan, 0, 0, 0, THEN_RETRY);
}

/** Notes the end of a commit, if there is one; false while one is under way, or blocks go out. */
export function settleStore(): bool {
  if (plan !== 0 && load<u32>(plan) === STATE_DONE) finish();
  return !isWriting() && (plan === 0 || load<u32>(plan) !== STATE_WORKING);
}

/** At the end of the program: where the plan of the last commit lies; 0 when there is none, 1 while another is under way, 2: no memory for it. */
export function lastPlan(): usize {
  if (!isStored()) return 0;
  settleWrites();
  if (!settleStore()) return 1;
  const made = makePlan();
  return made > 0 ? plan : made < 0 ? 2 : 0;
}

/** Room for metadata of a store that exists, and for the references above them. */
export function storeRoom(size: u64, references: bool): usize {
  if (size === 0 || size > 0x1000_0000 || !fits(size * 2)) return 0;
  if (!references) {
    last.bytes = takeBuffer(<usize>size + 8);
    last.size = <usize>size;
    return last.bytes;
  }
  last.blocks = blocksOf(size);
  last.pyramid = takeBuffer(<usize>pyramidLength(last.blocks) * REFERENCE);
  return last.pyramid;
}

/** All that the last commit had is there. */
export function storeMounted(): void {
  committed = hold(Metadata.now(last).entries);
  useAll();
}
