/**
 * The program's memory: brk and mmap in the arena, and the images whose segments lie in place. Protections are kept in
 * the books and not enforced; code is executable where the image was built with it and nowhere else.
 */
import { EACCES, EBADF, EEXIST, EFAULT, EINVAL, ENODEV, ENOMEM } from './errno';
import { DEVICE_NONE, DEVICE_ZERO, Inode } from './fs/inode';
import { fileOf, O_ACCMODE, O_RDWR } from './fs/open-file';
import { copyUser, zero } from './shim';

const PAGE: u64 = 4096;
const PROT_EXEC: u32 = 4;
const MAP_SHARED: u32 = 1;
const MAP_TYPE: u32 = 3;
const MAP_FIXED: u32 = 0x10;
const MAP_ANONYMOUS: u32 = 0x20;
const MAP_FIXED_NOREPLACE: u32 = 0x100000;
const MREMAP_MAYMOVE: u64 = 1;

class Region {
  constructor(
    public start: u64,
    public end: u64,
    public protection: u32,
    /** Whether its bytes are what they should be: pages without any access are cleared when they get one. */
    public clean: bool,
  ) {}
}

/** In ascending order, without overlaps. */
let regions = new Array<Region>();
let low: u64 = 0;
let high: u64 = 0;
let breakStart: u64 = 0;
let breakEnd: u64 = 0;
const images = new Array<Inode>();

export function startMemory(arena: u64, size: u64): void {
  breakStart = breakEnd = arena;
  low = arena + ((size / 4) & ~(PAGE - 1));
  high = arena + size;
}

export function addImage(file: Inode): void {
  images.push(file);
}

@inline function up(length: u64): u64 {
  return (length + PAGE - 1) & ~(PAGE - 1);
}

/** The image that a range lies in, or null. */
export function imageOf(at: u64, length: u64): Inode | null {
  for (let i = 0; i < images.length; i++) {
    const image = images[i];
    if (at >= image.imageAt && at + length <= image.imageAt + image.imageSize) return image;
  }
  return null;
}

export function sysBrk(end: u64): i64 {
  if (end < breakStart || end > low) return breakEnd;
  if (end > breakEnd && !zero(breakEnd, end - breakEnd)) return breakEnd;
  breakEnd = end;
  return end;
}

/** The highest free place of that many bytes, or 0. */
function place(length: u64): u64 {
  let top = high;
  for (let i = regions.length - 1; i >= 0; i--) {
    const region = regions[i];
    if (top - region.end >= length) return top - length;
    top = region.start;
  }
  return top >= low + length ? top - length : 0;
}

function insert(region: Region): void {
  let i = 0;
  while (i < regions.length && regions[i].start < region.start) i++;
  const before = i > 0 ? regions[i - 1] : null;
  if (before !== null && before.end === region.start && same(before, region)) {
    before.end = region.end;
    if (i < regions.length && regions[i].start === before.end && same(before, regions[i])) {
      before.end = regions[i].end;
      regions.splice(i, 1);
    }
    return;
  }
  if (i < regions.length && regions[i].start === region.end && same(region, regions[i])) {
    regions[i].start = region.start;
    return;
  }
  regions.push(region);
  for (let k = regions.length - 1; k > i; k--) regions[k] = regions[k - 1];
  regions[i] = region;
}

function same(a: Region, b: Region): bool {
  return a.protection === b.protection && a.clean === b.clean;
}

/** Takes [from, to) out of the books; returns what lay there. */
function cut(from: u64, to: u64): Array<Region> {
  const kept = new Array<Region>();
  const gone = new Array<Region>();
  for (let i = 0; i < regions.length; i++) {
    const r = regions[i];
    if (r.end <= from || r.start >= to) {
      kept.push(r);
      continue;
    }
    if (r.start < from) kept.push(new Region(r.start, from, r.protection, r.clean));
    const start = r.start > from ? r.start : from;
    const end = r.end < to ? r.end : to;
    gone.push(new Region(start, end, r.protection, r.clean));
    if (r.end > to) kept.push(new Region(to, r.end, r.protection, r.clean));
  }
  regions = kept;
  return gone;
}

function mapped(from: u64, to: u64): bool {
  let at = from;
  for (let i = 0; i < regions.length && at < to; i++) {
    const r = regions[i];
    if (r.end <= at) continue;
    if (r.start > at) return false;
    at = r.end;
  }
  return at >= to;
}

export function sysMmap(hint: u64, given: u64, prot: u64, flags64: u64, fd: u64, offset: u64): i64 {
  const flags = <u32>flags64;
  const protection = <u32>prot & 7;
  const length = up(given);
  const type = flags & MAP_TYPE;
  if (given === 0 || type === 0 || (offset & (PAGE - 1)) !== 0) return EINVAL;
  if (length === 0 || length > high) return ENOMEM;
  const fixed = (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) !== 0;
  if (fixed && (hint & (PAGE - 1)) !== 0) return EINVAL;

  let inode: Inode | null = null;
  if ((flags & MAP_ANONYMOUS) === 0) {
    const file = fileOf(fd);
    if (file === null) return EBADF;
    if (!file.readable) return EACCES;
    inode = file.inode;
    if (inode.device === DEVICE_ZERO) inode = null;
    else if (!inode.isFile || inode.device !== DEVICE_NONE || file.pipe !== null) return ENODEV;
    if (inode !== null && type === MAP_SHARED && (protection & 2) !== 0)
      return (file.flags & O_ACCMODE) !== O_RDWR ? EACCES : ENODEV;
  }
  const inImage = fixed ? imageOf(hint, length) : null;
  if (inImage !== null) {
    // The loader maps what the image builder has put there; zero pages behind the data are asked for as such.
    if (inode === inImage) return hint;
    return inode === null && zero(hint, length) ? <i64>hint : EACCES;
  }
  if (inode !== null && inode.imageAt !== 0 && !inode.imageTaken && !fixed && offset === 0 && type !== MAP_SHARED)
    if (length <= up(inode.imageSize)) {
      inode.imageTaken = true;
      return inode.imageAt;
    }
  if ((protection & PROT_EXEC) !== 0) return EACCES;
  let bytes: u64 = 0;
  if (inode !== null && offset < inode.size) {
    bytes = inode.size - offset < length ? inode.size - offset : length;
    const waiting = inode.need(offset, bytes);
    if (waiting !== 0) return waiting;
  }

  let at = hint;
  if (fixed) {
    if (hint < low || hint > high || length > high - hint) return ENOMEM;
    if ((flags & MAP_FIXED_NOREPLACE) !== 0 && overlaps(hint, hint + length)) return EEXIST;
    cut(hint, hint + length);
  } else {
    at = place(length);
    if (at === 0) return ENOMEM;
  }
  const clean = protection !== 0 || inode !== null;
  if (clean && !zero(at, length)) return ENOMEM;
  if (bytes > 0 && !inode!.copyOut(at, offset, bytes)) return EFAULT;
  insert(new Region(at, at + length, protection, clean));
  return at;
}

function overlaps(from: u64, to: u64): bool {
  for (let i = 0; i < regions.length; i++) if (regions[i].start < to && regions[i].end > from) return true;
  return false;
}

export function sysMunmap(at: u64, given: u64): i64 {
  const length = up(given);
  if ((at & (PAGE - 1)) !== 0 || length === 0 || at + length < at) return EINVAL;
  if (imageOf(at, length) === null) cut(at, at + length);
  return 0;
}

export function sysMprotect(at: u64, given: u64, prot: u64): i64 {
  const length = up(given);
  const protection = <u32>prot & 7;
  if ((at & (PAGE - 1)) !== 0) return EINVAL;
  if (length === 0 || imageOf(at, length) !== null) return 0;
  if (at >= breakStart && at + length <= up(breakEnd)) return (protection & PROT_EXEC) !== 0 ? EACCES : 0;
  if (!mapped(at, at + length)) return isStack(at, length) ? 0 : ENOMEM;
  if ((protection & PROT_EXEC) !== 0) return EACCES;
  const before = cut(at, at + length);
  for (let i = 0; i < before.length; i++) {
    const r = before[i];
    if (!r.clean && protection !== 0) {
      if (!zero(r.start, r.end - r.start)) {
        insert(r);
        for (let k = i + 1; k < before.length; k++) insert(before[k]);
        return ENOMEM;
      }
      r.clean = true;
    }
    r.protection = protection;
    insert(r);
  }
  return 0;
}

let stackStart: u64 = 0;
let stackEnd: u64 = 0;
export function setStack(start: u64, size: u64): void {
  stackStart = start;
  stackEnd = start + size;
}

function isStack(at: u64, length: u64): bool {
  return at >= stackStart && at + length <= stackEnd;
}

export function sysMremap(at: u64, oldGiven: u64, newGiven: u64, flags: u64): i64 {
  const oldLength = up(oldGiven);
  const length = up(newGiven);
  if ((at & (PAGE - 1)) !== 0 || length === 0 || flags > MREMAP_MAYMOVE) return EINVAL;
  if (oldLength === 0) return EINVAL;
  if (!mapped(at, at + oldLength)) return EFAULT;
  if (length <= oldLength) {
    cut(at + length, at + oldLength);
    return at;
  }
  const more = length - oldLength;
  if (at + length <= high && !overlaps(at + oldLength, at + length)) {
    if (!zero(at + oldLength, more)) return ENOMEM;
    insert(new Region(at + oldLength, at + length, 3, true));
    return at;
  }
  if ((flags & MREMAP_MAYMOVE) === 0) return ENOMEM;
  const to = place(length);
  if (to === 0) return ENOMEM;
  if (!zero(to, length)) return ENOMEM;
  if (!copyUser(to, at, oldLength)) return EFAULT;
  cut(at, at + oldLength);
  insert(new Region(to, to + length, 3, true));
  return to;
}

/** Whether there is memory in the whole of a range. */
export function isMapped(at: u64, length: u64): bool {
  if (at + length < at) return false;
  if (imageOf(at, length) !== null || isStack(at, length)) return true;
  return (at >= breakStart && at + length <= up(breakEnd)) || mapped(at, at + length);
}

export function arenaBytes(): u64 {
  return high - breakStart;
}

export function freeBytes(): u64 {
  let used: u64 = breakEnd - breakStart;
  for (let i = 0; i < regions.length; i++) used += regions[i].end - regions[i].start;
  return high - breakStart - used;
}

export function stackBytes(): u64 {
  return stackEnd - stackStart;
}
