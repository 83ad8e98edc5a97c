/** Clocks and sleeping. */
import { EFAULT, EINTR, EINVAL, EOPNOTSUPP } from './errno';
import { copyIn, copyOut, now } from './shim';
import { deadline, NEVER, park, timedOut } from './task/queue';
import { processTime, threadTime } from './task/cpu-time';
import { processOf } from './task/session';
import { current, Thread, threadOf } from './task/thread';
import { scratch, storeU64 } from './user';

const NANO: u64 = 1_000_000_000;
const MAX_SECONDS: u64 = 9_000_000_000;

const CPU_PROCESS = 2;
const CPU_THREAD = 3;
/** In the numbers of clocks of processes and threads: ~number << 3, whether of a thread, and what is counted (3: nothing). */
const PER_THREAD = 4;
const COUNTED = 3;

export function clockNow(clock: i32): u64 {
  if (clock < 0) return readOther(clock);
  if (clock === CPU_PROCESS) return processTime(current.process);
  return clock === CPU_THREAD ? threadTime(current) : now(clock);
}

/** The clock of a process or thread by its number. */
function readOther(clock: i32): u64 {
  const id = ~(clock >> 3);
  if ((clock & PER_THREAD) !== 0) return threadTime(id === 0 ? current : threadOf(id)!);
  return processTime(processOf(id)!);
}

export function known(clock64: u64): bool {
  const clock = <i32>clock64;
  if (clock >= 0) return clock <= 11 && clock !== 10;
  if ((clock & COUNTED) === COUNTED) return false;
  const id = ~(clock >> 3);
  if ((clock & PER_THREAD) === 0) return processOf(id) !== null;
  const thread: Thread | null = id === 0 ? current : threadOf(id);
  return thread !== null && thread.process === current.process;
}

function storeTime(user: u64, time: u64, unit: u64): i64 {
  store<u64>(scratch, time / NANO);
  store<u64>(scratch, (time % NANO) / unit, 8);
  return copyOut(user, scratch, 16) ? 0 : EFAULT;
}

export function sysClockGettime(clock: u64, user: u64): i64 {
  return known(clock) ? storeTime(user, clockNow(<i32>clock), 1) : EINVAL;
}

export function sysClockGetres(clock: u64, user: u64): i64 {
  if (!known(clock)) return EINVAL;
  return user === 0 ? 0 : storeTime(user, 1, 1);
}

export function sysGettimeofday(user: u64, zone: u64): i64 {
  if (user !== 0 && storeTime(user, now(0), 1000) !== 0) return EFAULT;
  // Minutes west of Greenwich, and what nobody uses any more.
  return zone === 0 ? 0 : storeU64(zone, 0);
}

export function sysTime(user: u64): i64 {
  const seconds = now(0) / NANO;
  if (user !== 0 && storeU64(user, seconds) !== 0) return EFAULT;
  return seconds;
}

/** Sleeps; a relative one that a signal ends says how long it would have gone on. */
function sleep(request: u64, clock: i32, absolute: bool, remainder: u64): i64 {
  if (!current.again) {
    if (!copyIn(scratch, request, 16)) return EFAULT;
    const seconds = load<i64>(scratch);
    const rest = load<u64>(scratch, 8);
    if (seconds < 0 || rest >= NANO) return EINVAL;
    const time = <u64>seconds > MAX_SECONDS ? NEVER : seconds * NANO + rest;
    const present = absolute ? clockNow(clock) : 0;
    if (absolute) deadline(time > present ? time - present : 0);
    else deadline(time);
  }
  if (timedOut()) return 0;
  const result = park(current.deadline, absolute);
  if (result === EINTR && !absolute && remainder !== 0) {
    const present = now(1);
    const left = current.deadline > present ? current.deadline - present : 0;
    if (storeTime(remainder, left, 1) !== 0) return EFAULT;
  }
  return result;
}

export function sysNanosleep(request: u64, remainder: u64): i64 {
  return sleep(request, 1, false, remainder);
}

export function sysClockNanosleep(clock: u64, flags: u64, request: u64, remainder: u64): i64 {
  if (!known(clock)) return EINVAL;
  if (clock === CPU_THREAD) return EOPNOTSUPP;
  return sleep(request, <i32>clock, (flags & 1) !== 0, remainder);
}
