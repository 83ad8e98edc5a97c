/** Files, folders and what else has a name. All of it lies in the core's memory; the root's blocks come when needed. */
import { EIO, ENOMEM, ENOSPC } from '../errno';
import { rootRead } from '../request';
import { copyOut, now } from '../shim';
import { current } from '../task/thread';
import { Outside } from './outside';
import { Mapped } from './mapped';
import { Stored } from './stored';

export const S_IFMT: u32 = 0o170000;
export const S_IFIFO: u32 = 0o010000;
export const S_IFCHR: u32 = 0o020000;
export const S_IFDIR: u32 = 0o040000;
export const S_IFREG: u32 = 0o100000;
export const S_IFSOCK: u32 = 0o140000;
export const S_IFLNK: u32 = 0o120000;

/** Bytes under one digest of the root's description (src/image/manifest.ts). */
const BLOCK: u64 = 65536;
const FILE_LIMIT: u64 = 0x7000_0000;

/** What a character device is. */
export const DEVICE_NONE = 0;
export const DEVICE_NULL = 1;
export const DEVICE_ZERO = 2;
export const DEVICE_RANDOM = 3;
/** Three of them: the host's stdin, stdout and stderr. */
export const DEVICE_HOST = 4;
export const DEVICE_TTY = 7;

let lastNumber: u64 = 0;

export class Inode {
  number: u64 = ++lastNumber;
  links: u32 = 1;
  uid: u32 = 0;
  gid: u32 = 0;
  size: u64 = 0;
  modified: u64 = now(0);
  accessed: u64 = now(0);
  changed: u64 = now(0);
  /** Contents of a file, and the bytes there is room for. */
  data: usize = 0;
  room: u64 = 0;
  /** Of a folder. */
  entries: Map<string, Inode> | null = null;
  parent: Inode | null = null;
  /** Of a symbolic link. */
  target: string = '';
  device: i32 = DEVICE_NONE;
  /** Of a file of the root: where its bytes lie outside, and its digests. */
  rootOffset: u64 = 0;
  digests: usize = 0;
  /** Memory of each block that has been brought; 0 for the others. */
  blocks: StaticArray<usize> | null = null;
  readOnly: bool = false;
  /** Which text it has (core/fs/proc.ts), and where a link leads whatever its text says. */
  made: i32 = 0;
  jump: Inode | null = null;
  /** It is another one for each process. */
  own: bool = false;
  /** Its device takes nothing. */
  full: bool = false;
  /** Of what lies below the store's folder. */
  stored: Stored | null = null;
  created: u64 = 0;
  /** Extended attributes (core/fs/attributes.ts). */
  attributes: Map<string, string> | null = null;
  /** It has no name yet, and may get one (O_TMPFILE). */
  nameless: bool = false;
  /** Of what stands for a file or folder of the host. */
  outside: Outside | null = null;
  /** Where processes share its bytes. */
  mapped: Mapped | null = null;
  /** Where the image has this file's segments in place, 0 if nowhere; how far they reach; whether they were given out. */
  imageAt: u64 = 0;
  imageSize: u64 = 0;
  imageTaken: bool = false;
  /** Of a binary of the root: code that belongs behind so many of its pages; it follows the contents. */
  codePages: u32 = 0;
  codeBytes: u32 = 0;

  constructor(public mode: u32) {
    this.created = this.changed;
    if ((mode & S_IFMT) === S_IFDIR) {
      this.entries = new Map<string, Inode>();
      this.links = 2;
    }
  }

  @inline get isDirectory(): bool {
    return (this.mode & S_IFMT) === S_IFDIR;
  }

  @inline get isFile(): bool {
    return (this.mode & S_IFMT) === S_IFREG;
  }

  @inline get isLink(): bool {
    return (this.mode & S_IFMT) === S_IFLNK;
  }

  /** Makes the bytes [from, from + length) present: 0, PENDING, or an error. */
  need(from: u64, length: u64): i64 {
    if (this.mapped !== null) this.mapped!.pull(from, length);
    const blocks = this.blocks;
    const stored = this.stored;
    if (stored !== null && stored.outside !== 0) return stored.load(this);
    if (blocks === null || length === 0) return 0;
    const last = <i32>((from + length - 1) / BLOCK);
    for (let block = <i32>(from / BLOCK); block <= last; block++) {
      if (blocks[block] !== 0) continue;
      const at = <u64>block * BLOCK;
      const left = this.size + this.codeBytes - at;
      const bytes = left < BLOCK ? <u32>left : <u32>BLOCK;
      const to = allocate(bytes);
      if (to === 0) return ENOMEM;
      current.asked = this;
      current.askedBlock = block;
      current.askedMemory = to;
      return rootRead(this.rootOffset + at, bytes, to, this.digests + <usize>block * 32);
    }
    return 0;
  }

  /** Bytes have been changed. */
  @inline wrote(from: u64, length: u64): void {
    if (this.mapped !== null) this.mapped!.push(from, length);
    if (this.stored !== null) this.stored!.mark(from, length);
  }

  /** Makes an inode one of the store's, with all that it has. */
  keep(): void {
    if (this.stored !== null) return;
    this.stored = new Stored();
    if (this.isFile) this.stored!.mark(0, this.size);
  }

  /** Copies present bytes to the program. */
  copyOut(user: u64, at: u64, length: u64): bool {
    const blocks = this.blocks;
    if (blocks === null) return copyOut(user, this.data + <usize>at, length);
    for (let done: u64 = 0; done < length; ) {
      const from = at + done;
      const inside = from % BLOCK;
      const part = min(length - done, BLOCK - inside);
      if (!copyOut(user + done, blocks[<i32>(from / BLOCK)] + <usize>inside, part)) return false;
      done += part;
    }
    return true;
  }

  /** Copies present bytes within the core. */
  copyTo(to: usize, at: u64, length: u64): void {
    const blocks = this.blocks;
    if (blocks === null) {
      memory.copy(to, this.data + <usize>at, <usize>length);
      return;
    }
    for (let done: u64 = 0; done < length; ) {
      const from = at + done;
      const inside = from % BLOCK;
      const part = min(length - done, BLOCK - inside);
      memory.copy(to + <usize>done, blocks[<i32>(from / BLOCK)] + <usize>inside, <usize>part);
      done += part;
    }
  }

  /** Room for `size` bytes; those beyond the present size are zero. */
  reserve(size: u64): i64 {
    if (size <= this.room) return 0;
    if (size > FILE_LIMIT) return ENOSPC;
    let room = this.room < 4096 ? 4096 : this.room;
    while (room < size) room *= 2;
    const data = allocate(room);
    if (data === 0) return ENOSPC;
    memory.copy(data, this.data, <usize>this.size);
    memory.fill(data + <usize>this.size, 0, <usize>(room - this.size));
    freeLater(this.data);
    this.data = data;
    this.room = room;
    return 0;
  }

  resize(size: u64): i64 {
    if (size === 0 && this.stored !== null && this.stored!.outside !== 0) {
      this.stored!.forget(this);
      if (this.stored!.outside === 0) this.size = 0;
    }
    const waiting = this.need(0, this.size);
    if (waiting !== 0) return waiting;
    const failed = this.reserve(size);
    if (failed !== 0) return failed;
    if (size < this.size) {
      memory.fill(this.data + <usize>size, 0, <usize>(this.size - size));
      this.wrote(size, this.size - size);
    }
    this.size = size;
    this.modified = this.changed = now(0);
    return 0;
  }

  /** Gives the memory back once nobody can reach the file any more. */
  release(): void {
    // Keys do not stay.
    if (this.made !== 0) memory.fill(this.data, 0, <usize>this.room);
    if (this.stored === null || !this.stored!.leave(this.data)) freeLater(this.data);
    if (this.stored !== null) this.stored!.release();
    this.data = 0;
    this.room = 0;
    this.size = 0;
  }
}

/** While a commit goes on outside of the lock, contents that it may read stay where they are. */
let pinned: bool = false;
let later: Array<usize> = new Array<usize>();

export function pinContents(on: bool): void {
  pinned = on;
  if (on) return;
  for (let i = 0; i < later.length; i++) heap.free(later[i]);
  later = new Array<usize>();
}

export function freeLater(data: usize): void {
  if (data === 0) return;
  if (pinned) later.push(data);
  else heap.free(data);
}

/** The block that the thread asked for is there. Another thread may have brought it as well. */
export function blockRead(): void {
  const blocks = current.asked!.blocks!;
  if (blocks[current.askedBlock] === 0) blocks[current.askedBlock] = current.askedMemory;
  else heap.free(current.askedMemory);
  current.asked = null;
}

/** Called when a request for a block failed. */
export function blockFailed(): i64 {
  current.asked = null;
  heap.free(current.askedMemory);
  return EIO;
}

/** Memory that is not the collector's; 0 when there is none. The allocator traps when memory cannot grow, so ask first. */
function allocate(size: u64): usize {
  const used = <u64>memory.size() << 16;
  if (used + size + 65536 > limit) {
    // It may still fit what was freed, but the allocator cannot tell: stay below the limit.
    return 0;
  }
  return heap.alloc(<usize>(size === 0 ? 1 : size));
}

/** Whether so many bytes fit the core's memory still, by a large margin. */
export function fits(size: u64): bool {
  return (<u64>memory.size() << 16) + size + 65536 <= limit;
}

let limit: u64 = 0;
export function setMemoryLimit(bytes: u64): void {
  limit = bytes;
}
