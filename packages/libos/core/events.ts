/** epoll, timerfd and signalfd. */
import { EAGAIN, EBADF, EEXIST, EFAULT, EINVAL, EMFILE, ENOENT, EPERM } from './errno';
import { Inode } from './fs/inode';
import {
  fileOf, install, O_ACCMODE, O_CLOEXEC, O_NONBLOCK, O_RDWR, opened, OpenFile, Poller, Timer,
} from './fs/open-file';
import { activity, deadlineOf, inputOf, parkFor, ready, watchFile } from './poll';
import { hostWait, THEN_RETRY } from './request';
import { copyIn, copyOut, now } from './shim';
import { takeFrom } from './signals';
import { NEVER, park, watch } from './task/queue';
import { current } from './task/thread';
import { scratch } from './user';
import { waitResult } from './wait';

const NANO: u64 = 1_000_000_000;
const EPOLLONESHOT: u32 = 1 << 30;
const EPOLLET: u32 = 1 << 31;
const REPORTED: u32 = 0x201f;
const MAX_EVENTS: i32 = 4096;
const SIGINFO: u64 = 128;

/** What an epoll watches of one descriptor. */
export class Watch {
  lastActivity: u64 = u64.MAX_VALUE;
  lastState: u32 = 0;
  constructor(
    public file: OpenFile,
    public events: u32,
    public data: u64,
  ) {}
}

export class Epoll extends Poller {
  watches: Map<i32, Watch> = new Map<i32, Watch>();

  /** Whether something is ready, for an epoll in another's list. */
  any(): bool {
    const fds = this.watches.keys();
    for (let i = 0; i < fds.length; i++) {
      const watch = this.watches.get(fds[i]);
      if (ready(watch.file, watch.events & REPORTED) !== 0) return true;
    }
    return false;
  }

  watchAll(): void {
    const fds = this.watches.keys();
    for (let i = 0; i < fds.length; i++) watchFile(this.watches.get(fds[i]).file);
  }
}

function give(file: OpenFile, cloexec: bool): i64 {
  const fd = install(file, 0, cloexec);
  if (fd >= 0) opened(file.inode, 1);
  return fd < 0 ? EMFILE : fd;
}

export function sysEpollCreate1(flags: u64): i64 {
  if ((<u32>flags & ~O_CLOEXEC) !== 0) return EINVAL;
  const file = new OpenFile(new Inode(0o600), O_RDWR);
  file.poller = new Epoll();
  return give(file, flags !== 0);
}

export function sysEpollCreate(size: u64): i64 {
  return <i32>size <= 0 ? EINVAL : sysEpollCreate1(0);
}

function epollOf(fd: u64): Epoll | null {
  const file = fileOf(fd);
  return file === null || file.poller === null ? null : <Epoll>file.poller!;
}

export function sysEpollCtl(epoll: u64, operation: u64, fd: u64, event: u64): i64 {
  const file = fileOf(fd);
  if (fileOf(epoll) === null || file === null) return EBADF;
  const set = epollOf(epoll);
  if (set === null || file === fileOf(epoll)) return EINVAL;
  if (<u32>operation !== 2 && !copyIn(scratch, event, 12)) return EFAULT;
  const events = load<u32>(scratch) | 0x18;
  const data = load<u64>(scratch, 4);
  const key = <i32>fd;
  // Files and folders are always ready, and cannot be watched.
  if (file.inode.isFile && file.pipe === null && file.inode.device === 0 && file.special === 0) return EPERM;
  if (file.inode.isDirectory) return EPERM;
  const known = set.watches.has(key) && set.watches.get(key).file === file;
  switch (<u32>operation) {
    case 1:
      if (known) return EEXIST;
      set.watches.set(key, new Watch(file, events, data));
      return 0;
    case 2:
      if (!known) return ENOENT;
      set.watches.delete(key);
      return 0;
    case 3:
      if (!known) return ENOENT;
      set.watches.set(key, new Watch(file, events, data));
      return 0;
    default:
      return EINVAL;
  }
}

function wait(epoll: u64, user: u64, most: u64, milliseconds: i64): i64 {
  if (fileOf(epoll) === null) return EBADF;
  const set = epollOf(epoll);
  const limit = <i32>most;
  if (set === null || limit <= 0) return EINVAL;
  let hosts: u32 = 0;
  let found = 0;
  let until: u64 = u64.MAX_VALUE;
  const fds = set.watches.keys();
  for (let i = 0; i < fds.length && found < limit && found < MAX_EVENTS; i++) {
    const watch = set.watches.get(fds[i]);
    // A descriptor that was closed is watched no more.
    if (watch.file.references === 0) {
      set.watches.delete(fds[i]);
      continue;
    }
    const wanted = watch.events & REPORTED;
    if (wanted === 0) continue;
    const input = inputOf(watch.file);
    if (input >= 0 && (wanted & 1) !== 0) hosts |= 1 << input;
    until = min(until, deadlineOf(watch.file));
    const state = ready(watch.file, wanted);
    if (state === 0) {
      watch.lastState = 0;
      continue;
    }
    if ((watch.events & EPOLLET) !== 0) {
      const moved = activity(watch.file);
      if ((state & ~watch.lastState) === 0 && moved === watch.lastActivity) continue;
      watch.lastActivity = moved;
      watch.lastState = state;
    }
    store<u32>(scratch, state);
    store<u64>(scratch, watch.data, 4);
    if (!copyOut(user + <u64>found * 12, scratch, 12)) return found > 0 ? found : EFAULT;
    if ((watch.events & EPOLLONESHOT) !== 0) watch.events &= ~REPORTED;
    found++;
  }
  if (found > 0 || waitResult() >= 0 || (milliseconds === 0 && hosts === 0)) return found;
  if (hosts === 0) {
    for (let i = 0; i < fds.length; i++) watchFile(set.watches.get(fds[i]).file);
    return parkFor(milliseconds, until);
  }
  return hostWait(hosts, sooner(milliseconds, until), THEN_RETRY);
}

/** Milliseconds until a time or a deadline, whichever is first; -1 is never. */
export function sooner(milliseconds: i64, until: u64): i64 {
  if (until === u64.MAX_VALUE) return milliseconds;
  const present = now(1);
  const left = until <= present ? 0 : <i64>((until - present + 999_999) / 1_000_000);
  return milliseconds < 0 || left < milliseconds ? left : milliseconds;
}

export function sysEpollWait(epoll: u64, user: u64, most: u64, timeout: u64): i64 {
  const milliseconds = <i64>(<i32>timeout);
  return wait(epoll, user, most, milliseconds < 0 ? -1 : milliseconds);
}

export function sysEpollPwait2(epoll: u64, user: u64, most: u64, time: u64): i64 {
  if (time === 0) return wait(epoll, user, most, -1);
  if (!copyIn(scratch, time, 16)) return EFAULT;
  return wait(epoll, user, most, load<i64>(scratch) * 1000 + (load<i64>(scratch, 8) + 999_999) / 1_000_000);
}

// ---- timers ---------------------------------------------------------------------------------------------------------

export function sysTimerfdCreate(clock: u64, flags64: u64): i64 {
  const flags = <u32>flags64;
  if ((clock > 1 && clock !== 7 && clock !== 8 && clock !== 9) || (flags & ~(O_CLOEXEC | O_NONBLOCK)) !== 0) return EINVAL;
  const file = new OpenFile(new Inode(0o600), O_RDWR | (flags & O_NONBLOCK));
  file.timer = new Timer(clock === 0 || clock === 8);
  return give(file, (flags & O_CLOEXEC) !== 0);
}

function storeSetting(timer: Timer, user: u64): bool {
  const present = now(1);
  const left = timer.next === 0 ? 0 : timer.next > present ? timer.next - present : 1;
  store<u64>(scratch, timer.interval / NANO);
  store<u64>(scratch, timer.interval % NANO, 8);
  store<u64>(scratch, left / NANO, 16);
  store<u64>(scratch, left % NANO, 24);
  return copyOut(user, scratch, 32);
}

export function sysTimerfdSettime(fd: u64, flags: u64, next: u64, before: u64): i64 {
  const file = fileOf(fd);
  if (file === null) return EBADF;
  const timer = file.timer;
  if (timer === null || (flags & ~3) !== 0) return EINVAL;
  if (!copyIn(scratch, next, 32)) return EFAULT;
  const interval = load<u64>(scratch) * NANO + load<u64>(scratch, 8);
  const value = load<u64>(scratch, 16) * NANO + load<u64>(scratch, 24);
  if (load<u64>(scratch, 8) >= NANO || load<u64>(scratch, 24) >= NANO) return EINVAL;
  if (before !== 0 && !storeSetting(timer, before)) return EFAULT;
  timer.interval = interval;
  // All is counted on the clock that only runs forward.
  if (value === 0) timer.next = 0;
  else if ((flags & 1) === 0) timer.next = now(1) + value;
  else timer.next = timer.realtime ? max<u64>(1, now(1) + value - now(0)) : value;
  timer.queue.wake();
  return 0;
}

export function sysTimerfdGettime(fd: u64, user: u64): i64 {
  const file = fileOf(fd);
  if (file === null) return EBADF;
  if (file.timer === null) return EINVAL;
  file.timer!.expirations();
  return storeSetting(file.timer!, user) ? 0 : EFAULT;
}

// ---- signals as files -----------------------------------------------------------------------------------------------

export function sysSignalfd4(fd: u64, set: u64, size: u64, flags64: u64): i64 {
  const flags = <u32>flags64;
  if (size !== 8 || (flags & ~(O_CLOEXEC | O_NONBLOCK)) !== 0) return EINVAL;
  if (!copyIn(scratch, set, 8)) return EFAULT;
  const mask = load<u64>(scratch);
  if (<i32>fd !== -1) {
    const file = fileOf(fd);
    if (file === null) return EBADF;
    if (file.signals === 0) return EINVAL;
    file.signals = mask | SIGNALFD;
    return <i32>fd;
  }
  const file = new OpenFile(new Inode(0o600), flags & O_NONBLOCK & ~O_ACCMODE);
  file.signals = mask | SIGNALFD;
  return give(file, (flags & O_CLOEXEC) !== 0);
}

/** A bit that no signal that can be waited for has (SIGKILL's), so that an empty set is not none. */
const SIGNALFD: u64 = 1 << 8;

export function sysSignalfd(fd: u64, set: u64, size: u64): i64 {
  return sysSignalfd4(fd, set, size, 0);
}

export function readSignals(file: OpenFile, user: u64, length: u64): i64 {
  if (length < SIGINFO) return EINVAL;
  let done: u64 = 0;
  while (done + SIGINFO <= length) {
    const signal = takeFrom(file.signals);
    if (signal === 0) break;
    memory.fill(scratch, 0, 128);
    store<u32>(scratch, signal);
    store<i32>(scratch, -6, 8);
    store<u32>(scratch, 2, 12);
    if (!copyOut(user + done, scratch, SIGINFO)) return EFAULT;
    done += SIGINFO;
  }
  if (done > 0 || (file.flags & O_NONBLOCK) !== 0) return done > 0 ? done : EAGAIN;
  watch(current.process.signalled);
  return park(NEVER, true);
}

export function readTimer(file: OpenFile, user: u64, length: u64): i64 {
  const timer = file.timer!;
  if (length < 8) return EINVAL;
  const count = timer.expirations();
  if (count === 0) {
    if ((file.flags & O_NONBLOCK) !== 0) return EAGAIN;
    watch(timer.queue);
    return park(timer.next === 0 ? NEVER : timer.next, true);
  }
  store<u64>(scratch, count);
  return copyOut(user, scratch, 8) ? 8 : EFAULT;
}
