/** Files, folders and what else has a name. Their bytes lie in the core's memory, or come there when they are needed. */
import { EFAULT, EFBIG, EIO, ENOMEM, ENOSPC } from '../errno';
import { rootRead } from '../request';
import { copyIn, copyOut, now, zero } from '../shim';
import { current } from '../task/thread';
import { freshOrEvicted, leaveRoom, makeRoom } from './cache';
import { CHUNK } from './chunks';
import { CLEAN, Contents, HOLE, isAway, isHere, memoryOf, pieceOf, USED } from './contents';
import { bring } from './loading';
import { Outside } from './outside';
import { Mapped, pullAll, pushAll } from './mapped';
import { namesChanged } from './store-folder';
import { Stored } from './stored';
import { hasChanged } from './write-out';

export const S_IFMT: u32 = 0o170000;
export const S_IFIFO: u32 = 0o010000;
export const S_IFCHR: u32 = 0o020000;
export const S_IFDIR: u32 = 0o040000;
export const S_IFREG: u32 = 0o100000;
export const S_IFSOCK: u32 = 0o140000;
export const S_IFLNK: u32 = 0o120000;

/** So much a file can be long: its table and references have to fit the core's memory. */
const FILE_LIMIT: u64 = 16 << 30;

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
  /** Of a file. */
  contents: Contents | null = null;
  /** Of a folder. */
  entries: Map<string, Inode> | null = null;
  parent: Inode | null = null;
  /** Of a symbolic link. */
  target: string = '';
  device: i32 = DEVICE_NONE;
  /** Of a file of the root: where its bytes lie outside, and its digests. */
  rootOffset: u64 = 0;
  digests: usize = 0;
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
  /** Where processes share parts of its bytes. */
  mapped: Array<Mapped> | null = null;
  /** Where the image has this file's segments in place, 0 if nowhere; how far they reach; whether they were given out. */
  imageAt: u64 = 0;
  imageSize: u64 = 0;
  imageTaken: bool = false;
  /** Of a binary of the root: code that belongs behind so many of its pages; it follows the contents. */
  codePages: u32 = 0;
  codeBytes: u32 = 0;

  constructor(public mode: u32) {
    this.created = this.changed;
    if (this.isFile) this.contents = new Contents();
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
    if (this.mapped !== null) pullAll(this, from, length);
    if (length === 0) return 0;
    const contents = this.contents!;
    const first = pieceOf(from);
    const last = pieceOf(from + length - 1);
    for (let piece = first; piece <= last; ) {
      const entry = contents.get(piece);
      if (isAway(entry)) {
        const waiting = this.digests !== 0 ? this.bring(piece) : bring(this, piece, first, last);
        if (waiting !== 0) return waiting;
        // It had come meanwhile, with others perhaps, and some may have gone for them.
        piece = first;
        continue;
      }
      if ((entry & CLEAN) !== 0) contents.set(piece, entry | USED);
      piece++;
    }
    return 0;
  }

  /** Asks for a piece of the root. */
  private bring(piece: u32): i64 {
    const at = <u64>piece * CHUNK;
    const bytes = <u32>min(this.size + this.codeBytes - at, CHUNK);
    const to = freshOrEvicted(this.contents!, piece, bytes);
    if (to === 0) return ENOMEM;
    current.asked = this;
    current.askedPiece = piece;
    current.askedMemory = to;
    current.askedBytes = bytes;
    return rootRead(this.rootOffset + at, bytes, to, this.digests + <usize>piece * 32);
  }

  /** Pieces of [from, from + length) that keep something of what they have: 0, PENDING, or an error. */
  private needEnds(from: u64, length: u64): i64 {
    const contents = this.contents!;
    const end = from + length;
    const first = pieceOf(from);
    const last = pieceOf(end - 1);
    for (let i = 0; i < 2; i++) {
      const piece = i === 0 ? first : last;
      const base = <u64>piece * CHUNK;
      if (!isAway(contents.get(piece)) || (from <= base && end >= min(base + CHUNK, this.size))) continue;
      const waiting = this.need(base, 1);
      if (waiting !== 0) return waiting;
    }
    return 0;
  }

  /** Bytes have been changed. */
  @inline wrote(from: u64, length: u64): void {
    if (this.mapped !== null) pushAll(this, from, length);
    if (this.stored !== null) this.mark(from, length);
  }

  /** What differs from what is outside. */
  mark(from: u64, length: u64): void {
    this.stored!.mark(from, length);
    hasChanged(this);
  }

  /** Makes an inode one of the store's, with all that it has. */
  keep(): void {
    if (this.stored !== null) return;
    this.stored = new Stored();
    if (!this.isFile) return;
    this.stored!.reach(this.size);
    this.mark(0, this.size);
  }

  /** Copies present bytes to the program. */
  copyOut(user: u64, at: u64, length: u64): bool {
    const contents = this.contents!;
    for (let done: u64 = 0; done < length; ) {
      const from = at + done;
      const inside = from % CHUNK;
      const part = min(length - done, CHUNK - inside);
      const entry = contents.get(pieceOf(from));
      if (isAway(entry)) return false;
      if (!(entry === HOLE ? zero(user + done, part) : copyOut(user + done, memoryOf(entry) + <usize>inside, part))) return false;
      done += part;
    }
    return true;
  }

  /** Copies present bytes within the core. */
  copyTo(to: usize, at: u64, length: u64): void {
    const contents = this.contents!;
    for (let done: u64 = 0; done < length; ) {
      const from = at + done;
      const inside = from % CHUNK;
      const part = min(length - done, CHUNK - inside);
      const entry = contents.get(pieceOf(from));
      if (isAway(entry)) unreachable();
      if (entry === HOLE) memory.fill(to + <usize>done, 0, <usize>part);
      else memory.copy(to + <usize>done, memoryOf(entry) + <usize>inside, <usize>part);
      done += part;
    }
  }

  /**
   * Bytes of the program, or present ones of another file, to [at, at + length), and the file longer where it has to be:
   * how many, which is fewer where memory ends; PENDING, with nothing done; or an error.
   */
  write(at: u64, length: u64, from: u64, file: Inode | null = null): i64 {
    const end = at + length;
    if (length === 0) return 0;
    if (end < at || end > FILE_LIMIT) return EFBIG;
    let waiting = this.stored === null ? 0 : leaveRoom();
    if (waiting === 0) waiting = this.needEnds(at, length);
    if (waiting !== 0) return waiting;
    const contents = this.contents!;
    if (this.stored !== null && !this.stored!.reach(end)) return ENOSPC;
    if (end > this.size && isHere(contents.get(0)) && contents.widen(<u32>min(end, CHUNK)) === 0) return ENOSPC;
    if (at > this.size) contents.clear(this.size, at);
    let done = this.store(at, length, from, file);
    if (done === ENOSPC && this.stored !== null) {
      const made = makeRoom();
      if (made !== 0) return made;
      done = this.store(at, length, from, file);
    }
    if (done <= 0) return done;
    if (at + done > this.size) this.size = at + done;
    this.wrote(at, done);
    this.modified = this.changed = now(0);
    return done;
  }

  /** The bytes alone: how many, or an error. */
  store(at: u64, length: u64, from: u64, file: Inode | null = null): i64 {
    for (let done: u64 = 0; done < length; ) {
      const part = min(length - done, CHUNK - (at + done) % CHUNK);
      const failed = this.put(at + done, part, from + done, file);
      if (failed !== 0) return done > 0 ? done : failed;
      done += part;
    }
    return length;
  }

  /** The same within one piece: 0, or an error. */
  private put(at: u64, part: u64, from: u64, file: Inode | null): i64 {
    const contents = this.contents!;
    const piece = pieceOf(at);
    const inside = <u32>(at % CHUNK);
    const stop = inside + <u32>part;
    const entry = contents.get(piece);
    if (isHere(entry)) {
      return copyOf(memoryOf(entry) + inside, part, from, file) ? 0 : EFAULT;
    }
    // What the file has of this piece besides.
    const base = at - inside;
    const rest = this.size > base ? <u32>min(this.size - base, CHUNK) : 0;
    const bytes = max(stop, rest);
    const to = freshOrEvicted(contents, piece, bytes, file, from);
    if (to === 0) return ENOSPC;
    if (!copyOf(to + inside, part, from, file)) {
      Contents.giveBack(piece, to, bytes);
      return EFAULT;
    }
    memory.fill(to, 0, inside);
    if (rest > stop) memory.fill(to + stop, 0, rest - stop);
    contents.own(piece, to, bytes, 0);
    return 0;
  }

  /** Where the bytes of a small file lie, for which there is room. */
  get data(): usize {
    return memoryOf(this.contents!.get(0));
  }

  /** Bytes of the core become all that the file has: 0, or ENOSPC. */
  fill(from: usize, length: u64): i64 {
    const failed = this.reserve(length);
    if (failed !== 0) return failed;
    for (let at: u64 = 0; at < length; at += CHUNK)
      memory.copy(memoryOf(this.contents!.get(pieceOf(at))), from + <usize>at, <usize>min(length - at, CHUNK));
    this.size = length;
    return 0;
  }

  /** Memory for [0, size), so that writes there do not fail for want of it: 0, or ENOSPC. */
  reserve(size: u64): i64 {
    if (size > FILE_LIMIT) return EFBIG;
    const contents = this.contents!;
    for (let at: u64 = 0; at < size; at += CHUNK) {
      const piece = pieceOf(at);
      const bytes = <u32>min(size - at, CHUNK);
      const entry = contents.get(piece);
      if (isAway(entry)) continue;
      if (isHere(entry)) {
        if (piece === 0 && contents.widen(bytes) === 0) return ENOSPC;
        continue;
      }
      const to = freshOrEvicted(contents, piece, bytes);
      if (to === 0) return ENOSPC;
      if (this.size > at) memory.fill(to, 0, <usize>min(this.size - at, <u64>bytes));
      contents.own(piece, to, bytes, 0);
    }
    return 0;
  }

  resize(size: u64): i64 {
    const contents = this.contents!;
    if (size > FILE_LIMIT) return EFBIG;
    if (size < this.size) {
      // The piece with the new end stays, and the store's block there is written again.
      const waiting = this.needEnds(size, this.size - size);
      if (waiting !== 0) return waiting;
      // Who has mapped it sees zeros behind the end.
      if (this.mapped !== null) contents.clear(size, this.size);
      this.wrote(size, this.size - size);
      if (this.stored !== null && size % CHUNK !== 0) this.mark(size - 1, 1);
      contents.dropFrom(pieceOf(size + CHUNK - 1));
    } else {
      if (this.stored !== null && !this.stored!.reach(size)) return ENOSPC;
      if (isHere(contents.get(0)) && contents.widen(<u32>min(size, CHUNK)) === 0) return ENOSPC;
      contents.clear(this.size, size);
    }
    this.size = size;
    this.modified = this.changed = now(0);
    return 0;
  }

  /** [from, end), within the file, becomes zero: 0, PENDING, or an error. */
  clear(from: u64, end: u64): i64 {
    if (from >= end) return 0;
    const waiting = this.needEnds(from, end - from);
    if (waiting !== 0) return waiting;
    const contents = this.contents!;
    contents.clear(from, end);
    for (let piece = pieceOf(from + CHUNK - 1); <u64>piece * CHUNK < end; piece++)
      if (end >= min(<u64>(piece + 1) * CHUNK, this.size)) contents.drop(piece, HOLE);
    this.wrote(from, end - from);
    return 0;
  }

  /** Gives the memory back once nobody can reach the file any more. */
  release(): void {
    const contents = this.contents!;
    // Keys do not stay.
    if (this.made !== 0) contents.clear(0, this.size);
    contents.release();
    if (this.stored !== null) this.stored!.release();
    namesChanged(this);
    this.size = 0;
  }
}

function copyOf(to: usize, length: u64, from: u64, file: Inode | null): bool {
  if (file === null) return copyIn(to, from, length);
  file.copyTo(to, from, length);
  return true;
}

/** The piece that the thread asked for is there. Another thread may have brought it as well. */
export function pieceRead(): void {
  const contents = current.asked!.contents!;
  if (isAway(contents.get(current.askedPiece))) contents.own(current.askedPiece, current.askedMemory, current.askedBytes, 0);
  else Contents.giveBack(current.askedPiece, current.askedMemory, current.askedBytes);
  current.asked = null;
}

/** Called when a request for a piece failed. */
export function pieceFailed(): i64 {
  current.asked = null;
  Contents.giveBack(current.askedPiece, current.askedMemory, current.askedBytes);
  return EIO;
}
