/** Calls about memory that is there: advice, residence, locking. Nothing is ever paged out by the library OS. */
import { EFAULT, EINVAL, ENOMEM } from '../errno';
import { hasStored } from '../fs/mapped';
import { syncStore } from '../fs/store';
import { copyOut, zeroLazily } from '../shim';
import { scratch } from '../user';
import { enforce } from './enforce';
import { imageOf, isMapped } from './images';
import { later, onItsWay } from './return';
import { cut, insert, isShared, overlaps, own, PAGE, Region, up } from './space';

const MADV_DONTNEED: u64 = 4;
const MADV_FREE: u64 = 8;
const MADV_LAST: u64 = 25;
const MS_ASYNC: u64 = 1;
const MS_INVALIDATE: u64 = 2;
const MS_SYNC: u64 = 4;
const CHUNK: u64 = 4096;

export function sysMadvise(at: u64, given: u64, advice: u64): i64 {
  const length = up(given);
  if ((at & (PAGE - 1)) !== 0 || at + length < at) return EINVAL;
  if (advice > MADV_LAST || (advice > MADV_DONTNEED && advice < MADV_FREE)) return EINVAL;
  if (length === 0) return 0;
  if (!isMapped(at, length)) return ENOMEM;
  if (advice !== MADV_DONTNEED && advice !== MADV_FREE) return 0;
  if (imageOf(at, length) !== null) return EINVAL;
  // What is shared stays for the others.
  return isShared(at) ? 0 : forget(at, length);
}

/** Pages are zero when they are used next: those without access when they get one, others have theirs again. */
function forget(at: u64, length: u64): i64 {
  const space = own();
  if (!overlaps(at, at + length, space)) return zeroLazily(at, length) ? 0 : ENOMEM;
  if (onItsWay(at, length)) return later();
  const parts = cut(at, at + length, space);
  let sealed: Region | null = null;
  let good = true;
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i];
    if (part.protection === 0) part.clean = false;
    else good = zeroLazily(part.start, part.end - part.start) && good;
    if ((part.protection & 3) === 1) sealed = part.part(part.start, part.end);
    insert(part, space);
  }
  if (!good) return ENOMEM;
  return sealed === null ? 0 : enforce(sealed.start, sealed.end - sealed.start, sealed.protection, 0);
}

export function sysMsync(at: u64, given: u64, flags: u64): i64 {
  if ((at & (PAGE - 1)) !== 0 || (flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC)) !== 0) return EINVAL;
  if ((flags & (MS_ASYNC | MS_SYNC)) === (MS_ASYNC | MS_SYNC)) return EINVAL;
  if (!isMapped(at, up(given))) return ENOMEM;
  return (flags & MS_SYNC) !== 0 && hasStored(at, up(given)) ? syncStore() : 0;
}

export function sysMincore(at: u64, given: u64, user: u64): i64 {
  if ((at & (PAGE - 1)) !== 0) return EINVAL;
  // Programs find the ends of what is mapped with it.
  if (!isMapped(at, up(given))) return ENOMEM;
  const pages = up(given) / PAGE;
  memory.fill(scratch, 1, <usize>CHUNK);
  for (let done: u64 = 0; done < pages; done += CHUNK)
    if (!copyOut(user + done, scratch, pages - done < CHUNK ? pages - done : CHUNK)) return EFAULT;
  return 0;
}

/** mlock and its relatives: whole pages around the range. */
export function sysMlock(at: u64, length: u64): i64 {
  const start = at & ~(PAGE - 1);
  return isMapped(start, up(at + length) - start) ? 0 : ENOMEM;
}

export function sysMlock2(at: u64, length: u64, flags: u64): i64 {
  return flags > 1 ? EINVAL : sysMlock(at, length);
}

/** MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT, and the last not alone. */
export function sysMlockall(flags: u64): i64 {
  return flags === 0 || flags > 7 || flags === 4 ? EINVAL : 0;
}
