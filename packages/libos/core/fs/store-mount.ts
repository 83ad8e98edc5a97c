/** Where a store begins: its metadata, as native/src/store.c reads them, become folders, files and links. */
import { bytesToString } from '../user';
import { takeBuffer } from './buffers';
import { CHUNK } from './chunks';
import { OUTSIDE } from './contents';
import { Inode } from './inode';
import { link } from './path';
import { ENTRY, HEAD, NOT_LINKED } from './metadata';
import { last, storeMounted } from './store';
import { storeFolder, storeKeySource, storeKeySourceBytes, storePolicyValue } from './store-folder';
import { blocksOf, pyramidLength, REFERENCE, Stored } from './stored';

/** Files whose references are to be read. */
let wanting: Array<Stored> = new Array<Stored>();
const want: usize = memory.data(8);

/** 0: the image has no store; 1: its key is the measurement's; 2: the signer's; 3: a key server's. */
export function storePolicy(): u32 {
  return storeFolder === null ? 0 : storePolicyValue;
}

/** Where the key server's point and the name of the key are; how many bytes. */
export function storeKeyAt(): usize {
  return storeKeySource;
}
export function storeKeyBytes(): u32 {
  return storeKeySourceBytes;
}

/** The folder becomes the store's, with what the metadata say, or empty without them. */
export function mountStore(): void {
  const folder = storeFolder!;
  // What the root has there is hidden, as under any mount.
  folder.entries = new Map<string, Inode>();
  folder.stored = new Stored();
  if (last.bytes === 0) return;
  const count = load<u32>(last.bytes, 4);
  const inodes = new Array<Inode>();
  let at = last.bytes + HEAD;
  for (let i: u32 = 0; i < count; i++) at = mountEntry(at, inodes);
}

function mountEntry(at: usize, inodes: Array<Inode>): usize {
  const linked = load<u32>(at, 4);
  const mode = load<u32>(at, 8);
  const nameLength = load<u32>(at, 20);
  const targetLength = load<u32>(at, 24);
  const first = inodes.length === 0;
  const inode = first ? storeFolder! : linked !== NOT_LINKED ? inodes[linked] : new Inode(mode);
  if (!first) link(inodes[load<u32>(at)], bytesToString(at + ENTRY, nameLength), inode);
  if (linked !== NOT_LINKED) inode.links++;
  else {
    inode.mode = mode;
    inode.uid = load<u32>(at, 12);
    inode.gid = load<u32>(at, 16);
    inode.target = bytesToString(at + ENTRY + nameLength, targetLength);
    inode.size = inode.isLink ? targetLength : load<u64>(at, 32);
    inode.modified = load<u64>(at, 40);
    inode.accessed = load<u64>(at, 48);
    inode.changed = load<u64>(at, 56);
    if (inode.isFile && inode.size > 0) mountFile(inode, at + 64);
  }
  inodes.push(inode);
  return at + ((ENTRY + nameLength + targetLength + 7) & ~7);
}

function mountFile(inode: Inode, reference: usize): void {
  const stored = inode.stored!;
  stored.unmark();
  // Without memory for it the next commit says so.
  stored.reach(inode.size);
  stored.blocks = blocksOf(inode.size);
  const count = pyramidLength(stored.blocks);
  stored.pyramid = takeBuffer(<usize>count * REFERENCE);
  memory.fill(stored.pyramid, 0, <usize>count * REFERENCE);
  memory.copy(stored.pyramid + <usize>(count - 1) * REFERENCE, reference, REFERENCE);
  for (let piece: u32 = 0; <u64>piece * CHUNK < inode.size; piece++) inode.contents!.set(piece, OUTSIDE);
  if (stored.blocks > 1) wanting.push(stored);
}

/** A file whose references are still to be read: u32 where they go, u32 its blocks; 0 when there is none. Then the store is mounted. */
export function storeWants(): usize {
  if (wanting.length === 0) {
    storeMounted();
    return 0;
  }
  const stored = wanting.pop();
  store<u32>(want, <u32>stored.pyramid);
  store<u32>(want, stored.blocks, 4);
  return want;
}
