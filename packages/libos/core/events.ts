/** timerfd and signalfd. */
import { EAGAIN, EBADF, EFAULT, EINVAL, EMFILE } from './errno';
import { Inode } from './fs/inode';
import {
  fileOf, install, O_ACCMODE, O_CLOEXEC, O_NONBLOCK, O_RDWR, opened, OpenFile, Timer,
} from './fs/open-file';
import { copyIn, copyOut, now } from './shim';
import { storeSignalfd, takeFrom } from './signals';
import { NEVER, park, watch } from './task/queue';
import { current } from './task/thread';
import { scratch } from './user';

const NANO: u64 = 1_000_000_000;
const SIGINFO: u64 = 128;

function give(file: OpenFile, cloexec: bool): i64 {
  const fd = install(file, 0, cloexec);
  if (fd >= 0) opened(file.inode, 1);
  return fd < 0 ? EMFILE : fd;
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
    storeSignalfd(scratch, signal);
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
