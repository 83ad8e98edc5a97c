/** Names and attributes of the store's files, as they lie outside: an entry for each name, folders before what is in them. */
import { stringToBytes } from '../user';
import { giveBuffer, takeBuffer } from './buffers';
import { Inode } from './inode';
import { namesOfStore, storeFolder } from './store-folder';
import { blocksOf, pyramidLength, REFERENCE, STORE_BLOCK } from './stored';

/** u32 signature, u32 entries; an entry is of ENTRY bytes, then name and target, padded to 8. */
const SIGNATURE: u32 = 0x314d534e;
export const HEAD: usize = 8;
export const ENTRY: usize = 104;
/** Where in an entry the reference to its file's bytes is. */
export const REFERENCE_AT: usize = 64;
export const NOT_LINKED: u32 = 0xffff_ffff;

export class Entry {
  /** Where it lies. */
  offset: usize = 0;
  /** `linked`: the entry that has the same file under another name. */
  constructor(
    public inode: Inode,
    public parent: u32,
    public name: string,
    public linked: u32,
  ) {}

  get length(): usize {
    return (ENTRY + this.name.length + this.inode.target.length + 7) & ~7;
  }

  /** Whether the file's bytes belong to it. */
  get isFile(): bool {
    return this.linked === NOT_LINKED && this.inode.isFile;
  }
}

function gather(folder: Inode, parent: u32, entries: Array<Entry>, seen: Map<u64, u32>): void {
  const names = folder.entries!.keys();
  const inodes = folder.entries!.values();
  for (let i = 0; i < names.length; i++) {
    const inode = inodes[i];
    if (!inode.isFile && !inode.isDirectory && !inode.isLink) continue;
    const index = <u32>entries.length;
    let linked = NOT_LINKED;
    if (inode.links > 1 && !inode.isDirectory) {
      if (seen.has(inode.number)) linked = seen.get(inode.number);
      else seen.set(inode.number, index);
    }
    entries.push(new Entry(inode, parent, names[i], linked));
    if (inode.isDirectory) gather(inode, index, entries, seen);
  }
}

export class Metadata {
  bytes: usize = 0;
  size: usize = 0;
  /** References to its blocks, and those above. */
  pyramid: usize = 0;
  blocks: u32 = 0;
  entries: Array<Entry> = new Array<Entry>();
  /** As of which change of names they are. */
  private names: u64 = 0;

  /** What is to be described now: where no name has changed since `last`, the entries are that one's. */
  static now(last: Metadata): Metadata {
    const made = new Metadata();
    made.names = namesOfStore;
    if (last.names === namesOfStore) {
      made.entries = last.entries;
      made.size = last.size;
      return made;
    }
    made.entries.push(new Entry(storeFolder!, 0, '', NOT_LINKED));
    gather(storeFolder!, 0, made.entries, new Map<u64, u32>());
    made.size = HEAD;
    for (let i = 0; i < made.entries.length; i++) made.size += made.entries[i].length;
    return made;
  }

  /** Entries of files that are to be written. */
  changed(): Array<Entry> {
    const found = new Array<Entry>();
    for (let i = 0; i < this.entries.length; i++) {
      const entry = this.entries[i];
      if (entry.isFile && (entry.inode.stored!.dirty || blocksOf(entry.inode.size) !== entry.inode.stored!.blocks)) found.push(entry);
    }
    return found;
  }

  at(entry: Entry): usize {
    return this.bytes + entry.offset;
  }

  /** Writes the entries; references of files that change are still those of the last commit. */
  write(last: Metadata): void {
    this.bytes = takeBuffer(this.size + 8);
    const same = this.entries === last.entries;
    if (same) memory.copy(this.bytes, last.bytes, this.size);
    else this.writeNames();
    for (let i = 0; i < this.entries.length; i++) this.writeAttributes(this.entries[i]);
  }

  private writeNames(): void {
    memory.fill(this.bytes, 0, this.size);
    store<u32>(this.bytes, SIGNATURE);
    store<u32>(this.bytes, this.entries.length, 4);
    let offset = HEAD;
    for (let i = 0; i < this.entries.length; i++) {
      const entry = this.entries[i];
      entry.offset = offset;
      const at = this.bytes + offset;
      store<u32>(at, entry.parent);
      store<u32>(at, entry.linked, 4);
      store<u32>(at, entry.name.length, 20);
      store<u32>(at, entry.inode.target.length, 24);
      stringToBytes(entry.name, at + ENTRY);
      // The target's end may be the next entry's first byte, which is written after it.
      stringToBytes(entry.inode.target, at + ENTRY + entry.name.length);
      offset += entry.length;
    }
  }

  private writeAttributes(entry: Entry): void {
    const at = this.at(entry);
    const inode = entry.inode;
    store<u32>(at, inode.mode, 8);
    store<u32>(at, inode.uid, 12);
    store<u32>(at, inode.gid, 16);
    store<u64>(at, inode.isFile ? inode.size : 0, 32);
    store<u64>(at, inode.modified, 40);
    store<u64>(at, inode.accessed, 48);
    store<u64>(at, inode.changed, 56);
    if (!entry.isFile) return;
    const stored = inode.stored!;
    if (stored.blocks === 0) memory.fill(at + REFERENCE_AT, 0, REFERENCE);
    else memory.copy(at + REFERENCE_AT, stored.pyramid + <usize>(pyramidLength(stored.blocks) - 1) * REFERENCE, REFERENCE);
  }

  /** Whether it says what `last` says. */
  equals(last: Metadata): bool {
    return this.size === last.size && memory.compare(this.bytes, last.bytes, this.size) === 0;
  }

  /** Marks a block that is not as in `last`. */
  mark(marks: usize, last: Metadata): void {
    for (let at: usize = 0; at < this.size; at += <usize>STORE_BLOCK) {
      const length = min(<usize>STORE_BLOCK, this.size - at);
      const same = at < last.size && length === min(<usize>STORE_BLOCK, last.size - at) && memory.compare(this.bytes + at, last.bytes + at, length) === 0;
      if (!same) store<u8>(marks + at / <usize>STORE_BLOCK, 1);
    }
  }

  release(): void {
    giveBuffer(this.bytes);
    giveBuffer(this.pyramid);
  }
}
