/** mprotect(2). */
import { EACCES, EINVAL, ENOMEM, ENOSPC } from '../errno';
import { Inode } from '../fs/inode';
import { writableParts } from '../image-parts';
import { executable, made, protect } from '../shim';
import { current } from '../task/thread';
import { enforce, GUARD } from './enforce';
import { imageOf, isStack } from './images';
import { later, onItsWay } from './return';
import { cut, insert, mapped, own, PAGE, up } from './space';
import { clear } from './take';

const PROT_WRITE: u32 = 2;
const PROT_EXEC: u32 = 4;
/** Whether programs may execute what they write: the image says it. */
export let jit: bool = false;

export function setJit(on: bool): void {
  jit = on;
}

/** Whether all of a range was executable before. */
function isCode(from: u64, to: u64): bool {
  const regions = own().regions;
  for (let i = 0; i < regions.length; i++)
    if (regions[i].start < to && regions[i].end > from && !regions[i].code) return false;
  return true;
}

/** There are no keys: none can be had, and minus one means none. */
export function sysPkeyAlloc(flags: u64, rights: u64): i64 {
  return flags !== 0 || rights > 3 ? EINVAL : ENOSPC;
}

export function sysPkeyFree(): i64 {
  return EINVAL;
}

export function sysPkeyMprotect(at: u64, given: u64, prot: u64, key: u64): i64 {
  return <i32>key === -1 ? sysMprotect(at, given, prot) : EINVAL;
}

export function sysMprotect(at: u64, given: u64, prot: u64): i64 {
  const length = up(given);
  const protection = <u32>prot & 7;
  if ((at & (PAGE - 1)) !== 0) return EINVAL;
  if (given === 0) return 0;
  if (at + length <= at) return ENOMEM;
  if (onItsWay(at, length)) return later();
  const runs = (protection & PROT_EXEC) !== 0;
  const space = own();
  const image = imageOf(at, length);
  if (image !== null) return protectImage(image, at, length, protection);
  if (at >= space.breakStart && at + length <= up(space.breakEnd)) return runs ? EACCES : protectAlone(at, length, protection);
  if (!mapped(at, at + length)) return !isStack(at, length) ? ENOMEM : runs ? 0 : protectAlone(at, length, protection);
  if (runs && !jit && ((protection & PROT_WRITE) !== 0 || !isCode(at, at + length))) return EACCES;
  if (space.group !== null) space.group!.protects = true;
  let shares = false;
  const before = cut(at, at + length, space);
  for (let i = 0; i < before.length; i++) {
    const r = before[i];
    if (!r.clean && protection !== 0) {
      if (!clear(r.start, r.end - r.start)) {
        insert(r, space);
        for (let k = i + 1; k < before.length; k++) insert(before[k], space);
        return ENOMEM;
      }
      r.clean = true;
    }
    if (runs && !r.code) r.code = executable(r.start, r.end - r.start);
    if (!runs && !r.shared) r.code = false;
    if (r.shared) shares = true;
    r.protection = protection;
    insert(r, space);
  }
  if (shares || before.length === 0) return 0;
  if ((protection & PROT_WRITE) === 0) return enforce(at, length, protection, 0);
  const result = enforce(at, length, protection, 0);
  return result === 0 ? guard(at, length) : result;
}

/** What is left without access on either side of memory that was reserved and is now used guards it, also if it was used before. */
function guard(at: u64, length: u64): i64 {
  const regions = own().regions;
  for (let i = 0; i < regions.length; i++) {
    const r = regions[i];
    if (r.protection !== 0 || r.clean || r.end - r.start > GUARD) continue;
    if ((r.end === at || r.start === at + length) && made(r.start, r.end - r.start) > 0)
      return enforce(r.start, r.end - r.start, 0, 0);
  }
  return 0;
}

/** Memory that is not in the books: what processes that come of each other protect there is not kept for each. */
function protectAlone(at: u64, length: u64, protection: u32): i64 {
  if (own().group === null) return enforce(at, length, protection, 0);
  if ((protection & PROT_WRITE) !== 0) protect(at, length, protection);
  return 0;
}

/** Binaries in place: what they write to can be protected, the rest stays as it was measured. */
function protectImage(image: Inode, at: u64, length: u64, protection: u32): i64 {
  const parts = writableParts(image);
  for (let i = 0; i < parts.length; i += 2)
    if (at >= parts[i] && at + length <= parts[i + 1])
      return (protection & PROT_EXEC) !== 0 && !jit ? EACCES : protectAlone(at, length, protection);
  return (protection & PROT_WRITE) !== 0 ? EACCES : 0;
}
