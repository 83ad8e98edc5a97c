/** brk(2) and mremap(2): memory that grows, shrinks and moves. */
import { EFAULT, EINVAL, ENOMEM } from '../errno';
import { copyUser } from '../shim';
import { current } from '../task/thread';
import { enforce } from './enforce';
import { high, place } from './places';
import { later, onItsWay } from './return';
import { cut, insert, isShared, mapped, othersHave, overlaps, own, PAGE, Region, up } from './space';
import { clear, drop } from './take';

const MREMAP_MAYMOVE: u64 = 1;
/** No process of Linux has memory from here on. */
const USER_END: u64 = 0x7fff_ffff_f000;

/** Programs that others started have none: their C library then asks for mappings instead. */
export function sysBrk(end: u64): i64 {
  const space = current.process.space;
  if (end < space.breakStart || end > space.breakLimit) return space.breakEnd;
  if (end > space.breakEnd && !clear(space.breakEnd, end - space.breakEnd)) return space.breakEnd;
  space.breakEnd = end;
  return end;
}

/** It grows and moves with the protection that it has, but is not code elsewhere. */
function protectionOf(at: u64): u32 {
  const regions = own().regions;
  for (let i = 0; i < regions.length; i++) if (regions[i].start <= at && at < regions[i].end) return regions[i].protection & 3;
  return 3;
}

export function sysMremap(at: u64, oldGiven: u64, newGiven: u64, flags: u64): i64 {
  const oldLength = up(oldGiven);
  const length = up(newGiven);
  if ((at & (PAGE - 1)) !== 0 || length === 0 || flags > MREMAP_MAYMOVE) return EINVAL;
  if (oldLength === 0) return EINVAL;
  if (length > USER_END || oldLength > USER_END) return EINVAL;
  if (onItsWay(at, oldLength)) return later();
  if (!mapped(at, at + oldLength)) return EFAULT;
  if (length > high) return ENOMEM;
  const space = own();
  if (length <= oldLength) {
    drop(cut(at + length, at + oldLength, space), space);
    return at;
  }
  const protection = protectionOf(at);
  // Whoever shares it would not see the new part.
  if (isShared(at)) return ENOMEM;
  const more = length - oldLength;
  if (at + length <= high && !overlaps(at + oldLength, at + length, space) && !othersHave(at + oldLength, at + length, space)) {
    if (!clear(at + oldLength, more)) return ENOMEM;
    insert(new Region(at + oldLength, at + length, protection, true), space);
    return enforce(at + oldLength, more, protection, at);
  }
  if ((flags & MREMAP_MAYMOVE) === 0) return ENOMEM;
  const to = place(length);
  if (to === 0) return ENOMEM;
  if (!clear(to, length)) return ENOMEM;
  if (!copyUser(to, at, oldLength)) return EFAULT;
  cut(at, at + oldLength, space);
  insert(new Region(to, to + length, protection, true), space);
  return enforce(to, length, protection, to);
}
