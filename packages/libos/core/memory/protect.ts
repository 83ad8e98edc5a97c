/** mprotect(2). */
import { EACCES, EINVAL, ENOMEM } from '../errno';
import { executable } from '../shim';
import { current } from '../task/thread';
import { imageOf, isStack } from './images';
import { later, onItsWay } from './return';
import { cut, insert, mapped, own, PAGE, up } from './space';
import { clear } from './take';

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

export function sysMprotect(at: u64, given: u64, prot: u64): i64 {
  const length = up(given);
  const protection = <u32>prot & 7;
  if ((at & (PAGE - 1)) !== 0) return EINVAL;
  if (given === 0) return 0;
  if (at + length <= at) return ENOMEM;
  if (imageOf(at, length) !== null) return 0;
  if (onItsWay(at, length)) return later();
  if (at >= current.process.space.breakStart && at + length <= up(current.process.space.breakEnd)) return (protection & PROT_EXEC) !== 0 ? EACCES : 0;
  if (!mapped(at, at + length)) return isStack(at, length) ? 0 : ENOMEM;
  const runs = (protection & PROT_EXEC) !== 0;
  if (runs && !jit && !isCode(at, at + length)) return EACCES;
  const space = own();
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
    r.protection = protection;
    insert(r, space);
  }
  return 0;
}
