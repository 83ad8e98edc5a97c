/** Clocks and sleeping. */
import { EFAULT, EINTR, EINVAL, EOPNOTSUPP } from './errno';
import { copyIn, copyOut, now } from './shim';
import { deadline, deadlineAt, NEVER, park, timedOut } from './task/queue';
import { current } from './task/thread';
import { scratch, storeU64 } from './user';

const NANO: u64 = 1_000_000_000;
const MAX_SECONDS: u64 = 9_000_000_000;

/** CLOCK_PROCESS_CPUTIME_ID and CLOCK_THREAD_CPUTIME_ID: time of the processor is not counted, so they run since the start. */
const CPU_PROCESS = 2;
const CPU_THREAD = 3;
const started: u64 = now(1);

function read(clock: i32): u64 {
  return clock === CPU_PROCESS || clock === CPU_THREAD ? now(1) - started : now(clock);
}

function known(clock: u64): bool {
  return clock <= 11 && clock !== 10;
}

function storeTime(user: u64, time: u64, unit: u64): i64 {
  store<u64>(scratch, time / NANO);
  store<u64>(scratch, (time % NANO) / unit, 8);
  return copyOut(user, scratch, 16) ? 0 : EFAULT;
}

export function sysClockGettime(clock: u64, user: u64): i64 {
  return known(clock) ? storeTime(user, read(<i32>clock), 1) : EINVAL;
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
    if (absolute) deadlineAt(clock, time);
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
