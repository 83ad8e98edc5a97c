/**
 * The store: files that stay, below one folder. What programs write stays in the core's memory until a commit writes what has
 * changed to blocks outside that the last commit does not use, then the blocks that refer to them, up to one root
 * (native/src/store.c encrypts and writes). So the last commit stays whole until the next one is.
 */
import { EIO, ENOSPC } from '../errno';
import { ask, THEN_RETRY } from '../request';
import { leftMuch } from '../collection';
import { current, Thread } from '../task/thread';
import { stringToBytes } from '../user';
import { giveBuffer, takeBuffer } from './buffers';
import { mayGo } from './cache';
import { CHUNK, fits, pinContents } from './chunks';
import { HOLE, isAway, memoryOf } from './contents';
import { Inode } from './inode';
import { isStored, storeFolder } from './store-folder';
import {
  awaitStore, blocksOf, FANOUT, Marks, pyramidLength, REFERENCE, STATE_DONE, STATE_IDLE, STATE_WORKING, STORE_BLOCK, Stored,
} from './stored';

const OP_STORE_COMMIT: u64 = 97;
/** Metadata: u32 signature, u32 entries; an entry is of ENTRY bytes, then name and target, padded to 8. */
const SIGNATURE: u32 = 0x314d534e;
export const HEAD: usize = 8;
export const ENTRY: usize = 104;
export const NOT_LINKED: u32 = 0xffff_ffff;
/** A plan: u32 state, i32 result, u32 items, u32 where the metadata's reference is, u64 their bytes. */
const PLAN: usize = 24;
/** u32 from, u32 bytes, u32 and u32 where the reference goes, u64 position. */
const ITEM: usize = 24;

class Entry {
  at: usize = 0;
  constructor(
    public inode: Inode,
    public parent: u32,
    public name: string,
    public linked: u32,
  ) {}
}

/** Who has a position: the last commit, the one before it (its root is there until the next one's takes its place), the one under way. */
const BY_LAST: u8 = 1;
const BY_FORMER: u8 = 2;
const BY_NEXT: u8 = 4;
/** Positions in use outside: a byte each. Position 0 is the roots'. */
let used: usize = 0;
let usedRoom: u32 = 0;
let rotor: u32 = 1;

/** Metadata as of the last commit, or as they were found. */
export let lastBlob: usize = 0;
let lastSize: usize = 0;
let metaPyramid: usize = 0;
let metaBlocks: u32 = 0;

/** The commit under way. */
let plan: usize = 0;
let items: u32 = 0;
let itemRoom: u32 = 0;
let blob: usize = 0;
let blobSize: usize = 0;
let freshMeta: usize = 0;
let freshMetaBlocks: u32 = 0;
let planned: Array<Inode> = new Array<Inode>();
let plannedPyramids: Array<usize> = new Array<usize>();
let plannedBlocks: Array<u32> = new Array<u32>();
let plannedMarks: Array<Marks> = new Array<Marks>();
/** How many commits there have been. */
export let commits: u64 = 0;

function isUsed(position: u32): bool {
  return position < usedRoom && load<u8>(used + position) !== 0;
}

function use(position: u32, by: u8): void {
  if (position >= usedRoom) {
    let room: u32 = usedRoom < 1024 ? 1024 : usedRoom;
    while (room <= position) room *= 2;
    const larger = takeBuffer(room);
    memory.copy(larger, used, usedRoom);
    memory.fill(larger + usedRoom, 0, room - usedRoom);
    giveBuffer(used);
    used = larger;
    usedRoom = room;
  }
  store<u8>(used + position, load<u8>(used + position) | by);
}

function position(): u64 {
  while (isUsed(rotor)) rotor++;
  use(rotor, BY_NEXT);
  return rotor++;
}

function usePyramid(pyramid: usize, blocks: u32): void {
  const count = pyramidLength(blocks);
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
    if (!entries[i].inode.isFile || entries[i].linked !== NOT_LINKED) continue;
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

/** What the last commit uses and, when that is a new one, what the one before it used; nothing else. */
function recount(anew: bool): void {
  for (let i: u32 = 0; i < usedRoom; i++) {
    const by = load<u8>(used + i);
    store<u8>(used + i, anew ? ((by & BY_LAST) !== 0 ? BY_FORMER : 0) : by & BY_FORMER);
  }
  rotor = 1;
  usePyramid(metaPyramid, metaBlocks);
  for (let i = 0; i < committed.length; i++) usePyramid(committed[i].pyramid, committed[i].blocks);
  for (let i = 0; i < nameless.length; i++) if (!nameless[i].gone) usePyramid(nameless[i].pyramid, nameless[i].blocks);
}

function gather(folder: Inode, parent: u32, entries: Array<Entry>, seen: Map<u64, u32>): void {
  const names = folder.entries!.keys();
  for (let i = 0; i < names.length; i++) {
    const inode = folder.entries!.get(names[i]);
    if (!inode.isFile && !inode.isDirectory && !inode.isLink) continue;
    const known = seen.has(inode.number) ? seen.get(inode.number) : NOT_LINKED;
    const index = <u32>entries.length;
    entries.push(new Entry(inode, parent, names[i], known));
    if (known === NOT_LINKED) seen.set(inode.number, index);
    if (inode.isDirectory) gather(inode, index, entries, seen);
  }
}

function all(): Array<Entry> {
  const entries = new Array<Entry>();
  entries.push(new Entry(storeFolder!, 0, '', NOT_LINKED));
  gather(storeFolder!, 0, entries, new Map<u64, u32>());
  return entries;
}

function lengthOf(entry: Entry): usize {
  return (ENTRY + entry.name.length + entry.inode.target.length + 7) & ~7;
}

/** Writes the entries; references of files that change are still those of the last commit. */
function describe(entries: Array<Entry>): void {
  blobSize = HEAD;
  for (let i = 0; i < entries.length; i++) blobSize += lengthOf(entries[i]);
  blob = takeBuffer(blobSize + 8);
  memory.fill(blob, 0, blobSize);
  store<u32>(blob, SIGNATURE);
  store<u32>(blob, entries.length, 4);
  let at = blob + HEAD;
  for (let i = 0; i < entries.length; i++) {
    const entry = entries[i];
    const inode = entry.inode;
    entry.at = at;
    store<u32>(at, entry.parent);
    store<u32>(at, entry.linked, 4);
    store<u32>(at, inode.mode, 8);
    store<u32>(at, inode.uid, 12);
    store<u32>(at, inode.gid, 16);
    store<u32>(at, entry.name.length, 20);
    store<u32>(at, inode.target.length, 24);
    store<u64>(at, inode.isFile ? inode.size : 0, 32);
    store<u64>(at, inode.modified, 40);
    store<u64>(at, inode.accessed, 48);
    store<u64>(at, inode.changed, 56);
    const stored = inode.stored;
    if (inode.isFile && entry.linked === NOT_LINKED && stored !== null && stored.blocks > 0)
      memory.copy(at + 64, stored.pyramid + <usize>(pyramidLength(stored.blocks) - 1) * REFERENCE, REFERENCE);
    stringToBytes(entry.name, at + ENTRY);
    // The target's end may be the next entry's first byte, which is written after it.
    stringToBytes(inode.target, at + ENTRY + entry.name.length);
    at += lengthOf(entry);
  }
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
  store<u64>(at, position(), 16);
}

/** Where a block of a file, or else of the metadata, lies; 0: it is zeros. */
function blockAt(file: Inode | null, data: usize, block: u32): usize {
  const from = <u64>block * STORE_BLOCK;
  if (file === null) return data + <usize>from;
  const entry = file.contents!.get(<u32>(from / CHUNK));
  if (isAway(entry)) unreachable();
  return entry === HOLE ? 0 : memoryOf(entry) + <usize>(from % CHUNK);
}

/** Blocks that are marked (all without marks), then the blocks of references above them. */
function write(file: Inode | null, data: usize, size: u64, fresh: usize, blocks: u32, marks: Marks | null, same: bool, also: usize): void {
  const dirty = takeBuffer(blocks);
  for (let i: u32 = 0; i < blocks; i++) {
    const changed = marks === null || (i < marks.marked && load<u8>(marks.marks + i) !== 0);
    store<u8>(dirty + i, changed ? 1 : 0);
    if (!changed) continue;
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
  if (!stored.dirty && blocks === stored.blocks) return;
  const count = pyramidLength(blocks);
  const fresh = takeBuffer(<usize>count * REFERENCE);
  memory.fill(fresh, 0, <usize>count * REFERENCE);
  const same = blocks === stored.blocks;
  memory.copy(fresh, stored.pyramid, <usize>(same ? count : min(blocks, stored.blocks)) * REFERENCE);
  const marks = stored.takeMarks();
  memory.fill(entry.at + 64, 0, REFERENCE);
  if (blocks === 1) memory.copy(entry.at + 64, fresh, REFERENCE);
  if (blocks > 0) write(inode, 0, inode.size, fresh, blocks, marks, same, entry.at + 64);
  planned.push(inode);
  plannedPyramids.push(fresh);
  plannedBlocks.push(blocks);
  plannedMarks.push(marks);
}

/** Memory that a commit takes at most: names and attributes, references, items (of which there are two while they grow), marks. */
function roomFor(entries: Array<Entry>): u64 {
  let names: u64 = HEAD;
  let references: u64 = 0;
  let most: u32 = 0;
  for (let i = 0; i < entries.length; i++) {
    names += lengthOf(entries[i]);
    const inode = entries[i].inode;
    if (!inode.isFile || entries[i].linked !== NOT_LINKED) continue;
    const blocks = blocksOf(inode.size);
    if (!inode.stored!.dirty && blocks === inode.stored!.blocks) continue;
    references += pyramidLength(blocks);
    most = max(most, blocks);
  }
  references += pyramidLength(blocksOf(names));
  return 2 * (names + references * REFERENCE + most) + references * 3 * ITEM + 2 * (<u64>usedRoom + references) + 65536;
}

/** 0 when there is nothing to commit, else the plan; -1: no memory for it. */
function makePlan(): i32 {
  const entries = all();
  leftMuch(8 + entries.length);
  let changed = false;
  for (let i = 0; i < entries.length && !changed; i++) {
    const inode = entries[i].inode;
    if (inode.isFile) changed = inode.stored!.dirty || blocksOf(inode.size) !== inode.stored!.blocks;
  }
  if (!fits(roomFor(entries))) return -1;
  describe(entries);
  if (!changed && blobSize === lastSize && memory.compare(blob, lastBlob, blobSize) === 0) {
    giveBuffer(blob);
    return 0;
  }
  items = 0;
  committing = hold(entries);
  for (let i = 0; i < entries.length; i++)
    if (entries[i].inode.isFile && entries[i].linked === NOT_LINKED) planFile(entries[i]);
  freshMetaBlocks = blocksOf(blobSize);
  freshMeta = takeBuffer(<usize>pyramidLength(freshMetaBlocks) * REFERENCE);
  write(null, blob, blobSize, freshMeta, freshMetaBlocks, null, false, 0);
  store<u32>(plan, STATE_WORKING);
  store<i32>(plan, 0, 4);
  store<u32>(plan, items, 8);
  store<u32>(plan, <u32>(freshMeta + <usize>(pyramidLength(freshMetaBlocks) - 1) * REFERENCE), 12);
  store<u64>(plan, blobSize, 16);
  pinContents(true);
  return 1;
}

/** Pieces that a commit has written may go, as far as they have not been changed since. */
function written(inode: Inode, marks: Marks): void {
  const each = <u32>(CHUNK / STORE_BLOCK);
  for (let block: u32 = 0; block < marks.marked; block++) {
    if (load<u8>(marks.marks + block) === 0) continue;
    mayGo(inode, block / each);
    // Once is enough for a piece.
    block |= each - 1;
  }
}

/** The commit is over: what was written is what the next one builds on; or it was not, and all of it is to be written again. */
function finish(): i64 {
  const good = load<i32>(plan, 4) === 0;
  store<u32>(plan, STATE_IDLE);
  for (let i = 0; i < planned.length; i++) {
    const inode = planned[i];
    const stored = inode.stored!;
    if (good) {
      giveBuffer(stored.pyramid);
      stored.pyramid = plannedPyramids[i];
      stored.blocks = plannedBlocks[i];
      written(inode, plannedMarks[i]);
    } else {
      giveBuffer(plannedPyramids[i]);
      stored.remark(plannedMarks[i]);
    }
    giveBuffer(plannedMarks[i].marks);
  }
  const oldBlob = good ? lastBlob : blob;
  const oldMeta = good ? metaPyramid : freshMeta;
  giveBuffer(oldBlob);
  giveBuffer(oldMeta);
  if (good) {
    lastBlob = blob;
    lastSize = blobSize;
    metaPyramid = freshMeta;
    metaBlocks = freshMetaBlocks;
  }
  if (good) commits++;
  planned = new Array<Inode>();
  plannedMarks = new Array<Marks>();
  plannedPyramids = new Array<usize>();
  plannedBlocks = new Array<u32>();
  pinContents(false);
  if (good) settle(committing, committed);
  else settle(committed, committing);
  recount(good);
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
  const made = makePlan();
  if (made <= 0) return made < 0 ? ENOSPC : 0;
  committer = current;
  current.touched = true;
  return ask(OP_STORE_COMMIT, plan, 0, 0, 0, THEN_RETRY);
}

/** Whether a commit goes on, or its end has not been noted. */
export function commitGoesOn(): bool {
  return plan !== 0 && load<u32>(plan) !== STATE_IDLE;
}

/** Notes the end of a commit, if there is one. */
export function settleCommit(): void {
  if (plan !== 0 && load<u32>(plan) === STATE_DONE) finish();
}

/** At the end of the program: where the plan of the last commit lies; 0 when there is none, 1 while another is under way, 2: no memory for it. */
export function lastPlan(): usize {
  if (!isStored()) return 0;
  if (plan !== 0 && load<u32>(plan) === STATE_WORKING) return 1;
  settleCommit();
  const made = makePlan();
  return made > 0 ? plan : made < 0 ? 2 : 0;
}

/** Room for metadata of a store that exists, and for the references above them. */
export function storeRoom(size: u64, references: bool): usize {
  if (size === 0 || size > 0x1000_0000 || !fits(size * 2)) return 0;
  if (!references) {
    lastBlob = takeBuffer(<usize>size + 8);
    lastSize = <usize>size;
    return lastBlob;
  }
  metaBlocks = blocksOf(size);
  metaPyramid = takeBuffer(<usize>pyramidLength(metaBlocks) * REFERENCE);
  return metaPyramid;
}

/** All that the last commit had is there. */
export function storeMounted(): void {
  committed = hold(all());
  recount(false);
}
