/** Open files and the table of descriptors. */
import { EBADF, EINVAL, EMFILE } from '../errno';
import { closeLater } from '../net/closing';
import { Endpoint } from '../net/endpoint';
import { now } from '../shim';
import { Queue } from '../task/queue';
import { Inode } from './inode';
import { IN_CLOSE_NOWRITE, IN_CLOSE_WRITE, notify, notifyGone, watching } from './notify';
import { closedBy, lastClosed } from './locks';
import { Listing } from './outside';

export const O_ACCMODE: u32 = 3;
export const O_WRONLY: u32 = 1;
export const O_RDWR: u32 = 2;
export const O_CREAT: u32 = 0o100;
export const O_EXCL: u32 = 0o200;
export const O_TRUNC: u32 = 0o1000;
export const O_APPEND: u32 = 0o2000;
export const O_NONBLOCK: u32 = 0o4000;
export const O_DIRECTORY: u32 = 0o200000;
export const O_NOFOLLOW: u32 = 0o400000;
export const O_CLOEXEC: u32 = 0o2000000;
export const O_ASYNC: u32 = 0o20000;
export const O_PATH: u32 = 0o10000000;
export const O_TMPFILE: u32 = 0o20200000;

const LIMIT = 4096;
const PIPE_BYTES: u32 = 65536;

/** Bytes between the ends of a pipe. */
export class Pipe {
  data: usize = heap.alloc(PIPE_BYTES);
  start: u32 = 0;
  length: u32 = 0;
  changes: u64 = 0;
  /** Of both ends. */
  queue: Queue = new Queue();
  readers: i32 = 1;
  writers: i32 = 1;

  @inline get room(): u32 {
    return PIPE_BYTES - this.length;
  }

  /** Where bytes can be put or taken in one piece, and how many. */
  get putAt(): usize {
    return this.data + (this.start + this.length) % PIPE_BYTES;
  }

  get putLength(): u32 {
    const end = (this.start + this.length) % PIPE_BYTES;
    const straight = PIPE_BYTES - end;
    return this.room < straight ? this.room : straight;
  }

  get takeAt(): usize {
    return this.data + this.start;
  }

  get takeLength(): u32 {
    const straight = PIPE_BYTES - this.start;
    return this.length < straight ? this.length : straight;
  }

  taken(bytes: u32): void {
    this.start = (this.start + bytes) % PIPE_BYTES;
    this.length -= bytes;
    this.changes++;
    this.queue.wake();
  }
}

/** A counter that can be waited for (eventfd). */
export class EventCounter {
  value: u64 = 0;
  changes: u64 = 0;
  queue: Queue = new Queue();
  constructor(public semaphore: bool) {}
}

/** A time that can be waited for (timerfd), on the clock that only runs forward. */
export class Timer {
  /** When it expires next; 0 when it is not set. */
  next: u64 = 0;
  interval: u64 = 0;
  /** Woken when it is set. */
  queue: Queue = new Queue();
  constructor(public realtime: bool) {}

  /** How often it has expired since it was asked last. */
  expirations(): u64 {
    const present = now(1);
    if (this.next === 0 || present < this.next) return 0;
    const count: u64 = this.interval === 0 ? 1 : (present - this.next) / this.interval + 1;
    this.next = this.interval === 0 ? 0 : this.next + count * this.interval;
    return count;
  }
}

/** What watches other files (core/events.ts). */
export abstract class Poller {
  abstract any(): bool;
  /** The call under way is to be made again when one of them changes. */
  abstract watchAll(): void;
  /** The last descriptor has gone. */
  abstract closed(): void;
  /** The host's descriptor for what of it lies outside, or -1. */
  hostFd: i32 = -1;
}

/** What can be waited for, and neither read nor written. */
export abstract class Thing {
  /** Woken when its state changes. */
  abstract queue(): Queue;
  /** POLL bits. */
  abstract state(): u32;
  /** The last descriptor has gone. */
  closed(): void {}
}

/** What descriptors made by dup share. */
export class OpenFile {
  position: u64 = 0;
  references: i32 = 0;
  pipe: Pipe | null = null;
  event: EventCounter | null = null;
  timer: Timer | null = null;
  poller: Poller | null = null;
  socket: Endpoint | null = null;
  /** What of the task folder or of ipc it stands for: a process, a queue of messages. */
  thing: Thing | null = null;
  /** The signals of a signalfd; 0 when it is none. */
  signals: u64 = 0;
  /** The descriptor of a file of the host, or -1; entries of such a folder as they were when they were first asked for. */
  hostFd: i32 = -1;
  listing: Listing | null = null;
  /** Who asked to be told of changes (fs/owner.ts), and whether that is a thread, a process or a group. */
  owner: i32 = 0;
  ownerKind: i32 = 0;
  constructor(
    public inode: Inode,
    public flags: u32,
  ) {}

  /** Not 0 for what has neither bytes nor a position. */
  get special(): i32 {
    if (this.pipe !== null || this.event !== null || this.timer !== null) return 1;
    return this.poller !== null || this.socket !== null || this.thing !== null || this.signals !== 0 ? 1 : 0;
  }

  @inline get readable(): bool {
    const mode = this.flags & O_ACCMODE;
    return mode !== O_WRONLY && (this.flags & O_PATH) === 0;
  }

  @inline get writable(): bool {
    const mode = this.flags & O_ACCMODE;
    return mode !== 0 && (this.flags & O_PATH) === 0;
  }
}

/** The descriptors of a process. */
export class FileTable {
  table: StaticArray<OpenFile | null> = new StaticArray<OpenFile | null>(LIMIT);
  closeOnExec: StaticArray<bool> = new StaticArray<bool>(LIMIT);
}

/** The same open files for a child. */
export function copyTable(from: FileTable): FileTable {
  const to = new FileTable();
  for (let fd = 0; fd < LIMIT; fd++) {
    const file = from.table[fd];
    if (file === null) continue;
    to.table[fd] = file;
    to.closeOnExec[fd] = from.closeOnExec[fd];
    file.references++;
  }
  return to;
}

/** Closes all descriptors of a process, or those that do not outlive a change of program. */
export function closeAll(table: FileTable, onlyMarked: bool = false): void {
  const before = files;
  files = table;
  for (let fd = 0; fd < LIMIT; fd++)
    if (table.table[fd] !== null && (!onlyMarked || table.closeOnExec[fd])) closeDescriptor(fd);
  files = before;
}

/** Of the process whose call is served. */
let files: FileTable = new FileTable();

export function setFiles(table: FileTable): void {
  files = table;
}

export const OPEN_MAX = LIMIT;

/** The open file of a descriptor, or null (EBADF). */
@inline export function fileOf(fd: u64): OpenFile | null {
  const n = <u32>fd;
  return n < <u32>LIMIT ? unchecked(files.table[n]) : null;
}

/** The lowest free descriptor from `from` on gets the file; EMFILE. */
export function install(file: OpenFile, from: i32, cloexec: bool): i64 {
  for (let fd = from; fd < LIMIT; fd++)
    if (files.table[fd] === null) {
      place(fd, file, cloexec);
      return fd;
    }
  return EMFILE;
}

export function place(fd: i32, file: OpenFile, cloexec: bool): void {
  files.table[fd] = file;
  files.closeOnExec[fd] = cloexec;
  file.references++;
}

/** EMFILE when there is no room for so many more. */
export function roomFor(count: i32): i64 {
  let free = 0;
  for (let fd = 0; fd < LIMIT; fd++) if (files.table[fd] === null && ++free >= count) return 0;
  return EMFILE;
}

/** For files that are somewhere else than in a table: on their way to another process. */
export function hold(file: OpenFile): void {
  file.references++;
}

export function closeDescriptor(fd: u64): i64 {
  const file = fileOf(fd);
  if (file === null) return EBADF;
  files.table[<i32>fd] = null;
  closedBy(files, file);
  letGo(file);
  return 0;
}

/** One user less; the last ends what is behind the file. */
export function letGo(file: OpenFile): void {
  if (--file.references > 0) return;
  lastClosed(file);
  if (file.hostFd >= 0) {
    closeLater(file.hostFd);
    file.hostFd = -1;
  }
  const pipe = file.pipe;
  if (pipe !== null) {
    if (file.readable) pipe.readers--;
    else pipe.writers--;
    pipe.queue.wake();
    if (pipe.readers === 0 && pipe.writers === 0) heap.free(pipe.data);
  }
  if (watching > 0 && file.special === 0 && (file.flags & O_PATH) === 0)
    notify(file.inode, file.writable ? IN_CLOSE_WRITE : IN_CLOSE_NOWRITE);
  if (file.thing !== null) file.thing!.closed();
  if (file.socket !== null) file.socket!.closed();
  if (file.poller !== null) file.poller!.closed();
  opened(file.inode, -1);
}

/** Open files by inode, so that what was removed lives until its last descriptor goes. */
const users = new Map<u64, i32>();
export function opened(inode: Inode, by: i32): void {
  const count = (users.has(inode.number) ? users.get(inode.number) : 0) + by;
  if (count > 0) users.set(inode.number, count);
  else {
    users.delete(inode.number);
    if (inode.links === 0 && watching > 0) notifyGone(inode);
    if (inode.links === 0 && inode.isFile) inode.release();
  }
}

export function isOpen(inode: Inode): bool {
  return users.has(inode.number);
}

export function duplicate(fd: u64, from: i32, cloexec: bool): i64 {
  const file = fileOf(fd);
  if (file === null) return EBADF;
  if (from < 0 || from >= LIMIT) return EINVAL;
  return install(file, from, cloexec);
}

export function getCloexec(fd: u64): bool {
  return files.closeOnExec[<i32>fd];
}

export function setCloexec(fd: u64, value: bool): void {
  files.closeOnExec[<i32>fd] = value;
}
