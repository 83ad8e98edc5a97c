/**
 * Locks of files: those of POSIX, which belong to a process and go with any descriptor of the file that it closes, and
 * those of an open file (flock, F_OFD_SETLK). All of them are advice among programs here; the host knows nothing of them.
 */
import { EAGAIN, EBADF, EDEADLK, EFAULT, EINVAL, ENOLCK, EOVERFLOW } from '../errno';
import { copyIn, copyOut } from '../shim';
import { NEVER, park, Queue, watch } from '../task/queue';
import { current, Thread } from '../task/thread';
import { scratch } from '../user';
import { fileOf, FileTable, O_PATH, OpenFile } from './open-file';

const F_GETLK = 5;
const F_SETLKW = 7;
export const F_OFD_GETLK = 36;
const F_OFD_SETLKW = 38;
const F_RDLCK: u16 = 0;
const F_WRLCK: u16 = 1;
const F_UNLCK: u16 = 2;
const LOCK_SH: u32 = 1;
const LOCK_EX: u32 = 2;
const LOCK_NB: u32 = 4;
const LOCK_UN: u32 = 8;
const LAST: i64 = i64.MAX_VALUE;
/** Ranges of one file at most, and processes that a search for a circle of waits looks at. */
const MOST = 4096;
const CIRCLE = 64;

/** Bytes [start, end] that somebody has: a table of descriptors, or an open file. */
class Range {
  constructor(
    public table: FileTable | null,
    public file: OpenFile | null,
    public pid: i32,
    public start: i64,
    public end: i64,
    public write: bool,
  ) {}

  mine(table: FileTable | null, file: OpenFile | null): bool {
    return this.table === table && this.file === file;
  }

  conflicts(other: Range): bool {
    if (this.mine(other.table, other.file) || !(this.write || other.write)) return false;
    return this.start <= other.end && other.start <= this.end;
  }
}

/** Of one file. */
class Locks {
  ranges: Array<Range> = new Array<Range>();
  /** Who has it by flock, and whether alone. */
  holders: Array<OpenFile> = new Array<OpenFile>();
  alone: bool = false;
  queue: Queue = new Queue();
  flockQueue: Queue = new Queue();

  get empty(): bool {
    const waited = this.queue.waiters.length + this.flockQueue.waiters.length;
    return this.ranges.length === 0 && this.holders.length === 0 && waited === 0;
  }

  conflict(wanted: Range): Range | null {
    for (let i = 0; i < this.ranges.length; i++) if (this.ranges[i].conflicts(wanted)) return this.ranges[i];
    return null;
  }

  /** The owner has these bytes as `wanted` says, or not at all; its ranges stay in order, and touching ones are one. */
  put(wanted: Range, unlock: bool): bool {
    const own = new Array<Range>();
    const next = new Array<Range>();
    let at = -1;
    for (let i = 0; i < this.ranges.length; i++) {
      const range = this.ranges[i];
      if (!range.mine(wanted.table, wanted.file)) {
        next.push(range);
        continue;
      }
      if (at < 0) at = next.length;
      if (range.start < wanted.start)
        own.push(new Range(range.table, range.file, range.pid, range.start, min(range.end, wanted.start - 1), range.write));
      if (range.end > wanted.end)
        own.push(new Range(range.table, range.file, range.pid, max(range.start, wanted.end + 1), range.end, range.write));
    }
    if (!unlock) {
      let k = own.length;
      own.push(wanted);
      for (; k > 0 && own[k - 1].start > wanted.start; k--) own[k] = own[k - 1];
      own[k] = wanted;
    }
    const joined = new Array<Range>();
    for (let i = 0; i < own.length; i++) {
      const before = joined.length > 0 ? joined[joined.length - 1] : null;
      if (before !== null && before.write === own[i].write && before.end !== LAST && before.end + 1 >= own[i].start)
        before.end = max(before.end, own[i].end);
      else joined.push(own[i]);
    }
    if (next.length + joined.length > MOST) return false;
    const result = new Array<Range>();
    if (at < 0) at = next.length;
    for (let i = 0; i < at; i++) result.push(next[i]);
    for (let i = 0; i < joined.length; i++) result.push(joined[i]);
    for (let i = at; i < next.length; i++) result.push(next[i]);
    this.ranges = result;
    this.queue.wake();
    return true;
  }
}

/** By the number of the file: those that have or had locks. */
const locked = new Map<u64, Locks>();

/** A thread that waits for a lock of POSIX: it does as long as it is in the queue. */
class Wait {
  constructor(
    public thread: Thread,
    public locks: Locks,
    public wanted: Range,
  ) {}
}
let waits = new Array<Wait>();

function forgetWait(thread: Thread): void {
  const kept = new Array<Wait>();
  for (let i = 0; i < waits.length; i++) {
    const wait = waits[i];
    if (wait.thread !== thread && wait.locks.queue.waiters.includes(wait.thread)) kept.push(wait);
  }
  waits = kept;
}

/** Whether `table` waits, by way of others, for what `target` has. */
function waitsFor(table: FileTable, target: FileTable, seen: Array<FileTable>): bool {
  if (seen.includes(table) || seen.length >= CIRCLE) return false;
  seen.push(table);
  for (let i = 0; i < waits.length; i++) {
    const wait = waits[i];
    if (wait.wanted.table !== table) continue;
    const ranges = wait.locks.ranges;
    for (let k = 0; k < ranges.length; k++) {
      const holder = ranges[k].table;
      if (holder === null || !ranges[k].conflicts(wait.wanted)) continue;
      if (holder === target || waitsFor(holder, target, seen)) return true;
    }
  }
  return false;
}

function locksOf(file: OpenFile): Locks {
  const number = file.inode.number;
  if (!locked.has(number)) locked.set(number, new Locks());
  return locked.get(number);
}

function forgetEmpty(file: OpenFile, locks: Locks): void {
  if (locks.empty) locked.delete(file.inode.number);
}

/** What struct flock in `scratch` names, from `base` on for offsets; the failure is in `failed`. */
let failed: i64 = 0;
function rangeOf(file: OpenFile, ofd: bool): Range | null {
  const whence = load<u16>(scratch, 2);
  let start = load<i64>(scratch, 8);
  const length = load<i64>(scratch, 16);
  failed = EINVAL;
  if (whence > 2) return null;
  const base: i64 = whence === 0 ? 0 : whence === 1 ? file.position : file.inode.size;
  failed = EOVERFLOW;
  if (start > LAST - base) return null;
  start += base;
  failed = EINVAL;
  if (start < 0) return null;
  let end = LAST;
  if (length > 0) {
    failed = EOVERFLOW;
    if (length - 1 > LAST - start) return null;
    end = start + length - 1;
  } else if (length < 0) {
    if (start + length < 0) return null;
    end = start - 1;
    start += length;
  }
  failed = EINVAL;
  if (load<u16>(scratch) > F_UNLCK) return null;
  if (ofd && load<i32>(scratch, 24) !== 0) return null;
  failed = 0;
  const table: FileTable | null = ofd ? null : current.process.files;
  const write = load<u16>(scratch) === F_WRLCK;
  return new Range(table, ofd ? file : null, ofd ? -1 : current.process.pid, start, end, write);
}

function tell(file: OpenFile, ofd: bool, user: u64): i64 {
  const type = load<u16>(scratch);
  const wanted = rangeOf(file, ofd);
  if (wanted === null) return failed;
  if (!ofd && type === F_UNLCK) return EINVAL;
  const number = file.inode.number;
  const found: Range | null = locked.has(number) ? locked.get(number).conflict(wanted) : null;
  if (found === null) {
    store<u16>(scratch, F_UNLCK);
  } else {
    store<u16>(scratch, found.write ? F_WRLCK : F_RDLCK);
    store<u16>(scratch, 0, 2);
    store<i64>(scratch, found.start, 8);
    store<i64>(scratch, found.end === LAST ? 0 : found.end - found.start + 1, 16);
    store<i32>(scratch, found.pid, 24);
  }
  return copyOut(user, scratch, 32) ? 0 : EFAULT;
}

/** fcntl's commands for locks: F_GETLK to F_SETLKW, and the same for open files. */
export function lockRange(file: OpenFile, command: i32, user: u64): i64 {
  if (!copyIn(scratch, user, 32)) return EFAULT;
  const ofd = command >= F_OFD_GETLK;
  if (command === F_GETLK || command === F_OFD_GETLK) return tell(file, ofd, user);
  const type = load<u16>(scratch);
  const wanted = rangeOf(file, ofd);
  if (wanted === null) return failed;
  if ((type === F_RDLCK && !file.readable) || (type === F_WRLCK && !file.writable)) return EBADF;
  if (waits.length > 0) forgetWait(current);
  const unlock = type === F_UNLCK;
  if (unlock && !locked.has(file.inode.number)) return 0;
  const locks = locksOf(file);
  const found: Range | null = unlock ? null : locks.conflict(wanted);
  if (found === null) {
    const done = locks.put(wanted, unlock);
    forgetEmpty(file, locks);
    return done ? 0 : ENOLCK;
  }
  if (command !== F_SETLKW && command !== F_OFD_SETLKW) return EAGAIN;
  watch(locks.queue);
  if (!ofd) {
    waits.push(new Wait(current, locks, wanted));
    if (waitsFor(wanted.table!, wanted.table!, new Array<FileTable>())) {
      forgetWait(current);
      return EDEADLK;
    }
  }
  return park(NEVER, true);
}

export function sysFlock(fd: u64, operation: u64): i64 {
  const how = <u32>operation & ~LOCK_NB;
  if (how !== LOCK_SH && how !== LOCK_EX && how !== LOCK_UN) return EINVAL;
  const file = fileOf(fd);
  if (file === null || (file.flags & O_PATH) !== 0) return EBADF;
  if (how === LOCK_UN && !locked.has(file.inode.number)) return 0;
  const locks = locksOf(file);
  const at = locks.holders.indexOf(file);
  const alone = how === LOCK_EX;
  if (at >= 0 && how !== LOCK_UN && locks.alone === alone) return 0;
  // What is to become another kind of lock is given up first, as Linux does it.
  if (at >= 0) {
    locks.holders.splice(at, 1);
    locks.alone = false;
    locks.flockQueue.wake();
  }
  if (how === LOCK_UN) {
    forgetEmpty(file, locks);
    return 0;
  }
  if (locks.holders.length > 0 && (alone || locks.alone)) {
    if ((<u32>operation & LOCK_NB) !== 0) return EAGAIN;
    watch(locks.flockQueue);
    return park(NEVER, true);
  }
  locks.holders.push(file);
  locks.alone = alone;
  return 0;
}

/** A process closes a descriptor: all locks of POSIX that it has of the file are gone. */
export function closedBy(table: FileTable, file: OpenFile): void {
  if (locked.size === 0 || !locked.has(file.inode.number) || (file.flags & O_PATH) !== 0) return;
  const locks = locked.get(file.inode.number);
  locks.put(new Range(table, null, 0, 0, LAST, true), true);
  forgetEmpty(file, locks);
}

/** The last descriptor of an open file is gone, and with it its locks. */
export function lastClosed(file: OpenFile): void {
  if (locked.size === 0 || !locked.has(file.inode.number)) return;
  const locks = locked.get(file.inode.number);
  locks.put(new Range(null, file, 0, 0, LAST, true), true);
  const at = locks.holders.indexOf(file);
  if (at >= 0) {
    locks.holders.splice(at, 1);
    locks.alone = false;
    locks.flockQueue.wake();
  }
  forgetEmpty(file, locks);
}
