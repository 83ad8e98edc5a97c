/** Clocks and sleeping. */
import { EFAULT, EINVAL } from './errno';
import { hostWait, THEN_RETRY } from './request';
import { copyIn, copyOut, now } from './shim';
import { scratch, storeU64 } from './user';
import { waitResult } from './wait';

const NANO: u64 = 1_000_000_000;

function known(clock: u64): bool {
  return clock <= 11 && clock !== 10;
}

function storeTime(user: u64, time: u64, unit: u64): i64 {
  store<u64>(scratch, time / NANO);
  store<u64>(scratch, (time % NANO) / unit, 8);
  return copyOut(user, scratch, 16) ? 0 : EFAULT;
}

export function sysClockGettime(clock: u64, user: u64): i64 {
  return known(clock) ? storeTime(user, now(<i32>clock), 1) : EINVAL;
}

export function sysClockGetres(clock: u64, user: u64): i64 {
  if (!known(clock)) return EINVAL;
  return user === 0 ? 0 : storeTime(user, 1, 1);
}

export function sysGettimeofday(user: u64): i64 {
  return user === 0 ? 0 : storeTime(user, now(0), 1000);
}

export function sysTime(user: u64): i64 {
  const seconds = now(0) / NANO;
  if (user !== 0 && storeU64(user, seconds) !== 0) return EFAULT;
  return seconds;
}

function sleep(request: u64, clock: i32, absolute: bool): i64 {
  if (waitResult >= 0) return 0;
  if (!copyIn(scratch, request, 16)) return EFAULT;
  const seconds = load<i64>(scratch);
  const rest = load<u64>(scratch, 8);
  if (seconds < 0 || rest >= NANO) return EINVAL;
  let wait = seconds * <i64>NANO + <i64>rest;
  if (absolute) wait -= <i64>now(clock);
  return wait <= 0 ? 0 : hostWait(0, (wait + 999_999) / 1_000_000, THEN_RETRY);
}

export function sysNanosleep(request: u64): i64 {
  return sleep(request, 1, false);
}

export function sysClockNanosleep(clock: u64, flags: u64, request: u64): i64 {
  return known(clock) ? sleep(request, <i32>clock, (flags & 1) !== 0) : EINVAL;
}
