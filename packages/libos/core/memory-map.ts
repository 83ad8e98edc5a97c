/**
 * The program's memory: brk and mmap in the arena, and the images whose segments lie in place. Protections are kept in
 * the books and not enforced; code is executable where the image was built with it and nowhere else.
 */
import { EACCES, EBADF, EEXIST, EFAULT, EINVAL, ENODEV, ENOMEM, EOVERFLOW } from './errno';
import { transfer } from './fs/host-data';
import { look } from './fs/hostfs';
import { DEVICE_NONE, DEVICE_ZERO, Inode } from './fs/inode';
import { Mapped, mappedFiles } from './fs/mapped';
import { fileOf, O_ACCMODE, O_RDWR, opened } from './fs/open-file';
import { bring, copyUser, executable, unwant, zero, zeroLazily } from './shim';
import { freed, later, onItsWay } from './memory-return';
import { PENDING } from './request';
import { Copy, Group } from './task/residence';
import { current } from './task/thread';

const PAGE: u64 = 4096;
/** What brk can have at most; C libraries take mappings beyond. */
const MAX_BREAK: u64 = 64 << 20;
/** From so many bytes on memory comes when it is used. */
const LAZY: u64 = 256 << 10;
const PROT_EXEC: u32 = 4;
const MAP_SHARED: u32 = 1;
const MAP_TYPE: u32 = 3;
const MAP_FIXED: u32 = 0x10;
const MAP_ANONYMOUS: u32 = 0x20;
const MAP_FIXED_NOREPLACE: u32 = 0x100000;
const MREMAP_MAYMOVE: u64 = 1;
/** No process of Linux has memory from here on. */
const USER_END: u64 = 0x7fff_ffff_f000;

class Region {
  constructor(
    public start: u64,
    public end: u64,
    public protection: u32,
    /** Whether its bytes are what they should be: pages without any access are cleared when they get one. */
    public clean: bool,
    /** Whether its pages can be executed already. */
    public code: bool = false,
    /** MAP_SHARED: processes that come of each other see the same bytes. */
    public shared: bool = false,
    /** Others may have memory of their own in the same place (task/residence.ts). */
    public copied: bool = false,
  ) {}

  part(start: u64, end: u64): Region {
    return new Region(start, end, this.protection, this.clean, this.code, this.shared, this.copied);
  }
}

/** Memory of one program: threads share it, and a child of vfork until it runs a program of its own. */
export class Space {
  breakStart: u64 = 0;
  breakEnd: u64 = 0;
  breakLimit: u64 = 0;
  /** In ascending order, without overlaps; those of several spaces overlap only where they come of each other. */
  regions: Array<Region> = new Array<Region>();
  /** Binaries of the image that it uses where they lie. */
  images: Array<Inode> = new Array<Inode>();
  stackStart: u64 = 0;
  stackEnd: u64 = 0;
  /** Those that came of each other by fork. */
  group: Group | null = null;
  /** What is in its place belongs to another one of its group: these are its bytes. */
  copy: Copy | null = null;
  /** There was no memory for its bytes and those of others. */
  lost: bool = false;
  /** Tells its futexes from those of others in the same place. */
  key: u64 = 0;
}

/** All that have regions. */
const spaces = new Array<Space>();
/** Memory that belongs to no program: segments of shared memory, and bytes of processes that are not in place. */
export const commons = new Space();
let low: u64 = 0;
let high: u64 = 0;
/** Where the arena begins. */
let first: u64 = 0;
/** All that the image has in place, used or not. */
const images = new Array<Inode>();

/** The books of whoever makes the call. */
@inline function own(): Space {
  return current.process.space;
}

function known(space: Space): void {
  if (!spaces.includes(space)) spaces.push(space);
}

export function startMemory(arena: u64, size: u64): void {
  const space = current.process.space;
  space.breakStart = space.breakEnd = first = arena;
  low = space.breakLimit = arena + min<u64>(MAX_BREAK, (size / 4) & ~(PAGE - 1));
  high = arena + size;
  known(space);
  known(commons);
}

export function addImage(file: Inode): void {
  images.push(file);
  if (file.imageTaken) own().images.push(file);
}

/** Zero memory for a program: much of it only as it is used. */
function clear(at: u64, length: u64): bool {
  return length >= LAZY ? zeroLazily(at, length) : zero(at, length);
}

@inline function up(length: u64): u64 {
  return (length + PAGE - 1) & ~(PAGE - 1);
}

/** The image that a range lies in, or null. */
export function imageOf(at: u64, length: u64): Inode | null {
  if (at + length < at) return null;
  for (let i = 0; i < images.length; i++) {
    const image = images[i];
    if (at >= image.imageAt && at + length <= image.imageAt + image.imageSize) return image;
  }
  return null;
}

/** Programs that others started have none: their C library then asks for mappings instead. */
export function sysBrk(end: u64): i64 {
  const space = current.process.space;
  if (end < space.breakStart || end > space.breakLimit) return space.breakEnd;
  if (end > space.breakEnd && !clear(space.breakEnd, end - space.breakEnd)) return space.breakEnd;
  space.breakEnd = end;
  return end;
}

/** Goes over the regions of all spaces, those that end last first. */
const cursors = new Array<i32>();
function startFromTop(): void {
  cursors.length = spaces.length;
  for (let i = 0; i < spaces.length; i++) cursors[i] = spaces[i].regions.length - 1;
}
function nextBelow(): Region | null {
  let found: Region | null = null;
  let whose = 0;
  for (let i = 0; i < cursors.length; i++) {
    if (cursors[i] < 0) continue;
    const region = spaces[i].regions[cursors[i]];
    if (found !== null && region.end <= found.end) continue;
    found = region;
    whose = i;
  }
  if (found !== null) cursors[whose]--;
  return found;
}

/** The highest free place of that many bytes, or 0. */
function place(length: u64): u64 {
  let top = high;
  startFromTop();
  for (let region = nextBelow(); region !== null; region = nextBelow()) {
    if (top > region.end && top - region.end >= length) return top - length;
    top = min(top, region.start);
  }
  return top >= low + length ? top - length : 0;
}

function insert(region: Region, space: Space): void {
  const regions = space.regions;
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
  return a.protection === b.protection && a.clean === b.clean && a.code === b.code && a.shared === b.shared && a.copied === b.copied;
}

/** Takes [from, to) out of a space's books; returns what lay there. */
function cut(from: u64, to: u64, space: Space): Array<Region> {
  const regions = space.regions;
  const kept = new Array<Region>();
  const gone = new Array<Region>();
  for (let i = 0; i < regions.length; i++) {
    const r = regions[i];
    if (r.end <= from || r.start >= to) {
      kept.push(r);
      continue;
    }
    if (r.start < from) kept.push(r.part(r.start, from));
    gone.push(r.part(max(r.start, from), min(r.end, to)));
    if (r.end > to) kept.push(r.part(to, r.end));
  }
  space.regions = kept;
  return gone;
}

function mapped(from: u64, to: u64): bool {
  return mappedIn(from, to, own()) || mappedIn(from, to, commons);
}

function mappedIn(from: u64, to: u64, space: Space): bool {
  // Lengths that programs give may reach around the end of all addresses.
  if (to < from) return false;
  const regions = space.regions;
  let at = from;
  for (let i = 0; i < regions.length && at < to; i++) {
    const r = regions[i];
    if (r.end <= at) continue;
    if (r.start > at) return false;
    at = r.end;
  }
  return at >= to;
}

/** Whether another space than this one has memory in a range. */
function othersHave(from: u64, to: u64, space: Space): bool {
  for (let i = 0; i < spaces.length; i++) if (spaces[i] !== space && overlaps(from, to, spaces[i])) return true;
  return false;
}

function sharesIn(from: u64, to: u64, space: Space): bool {
  const regions = space.regions;
  for (let i = 0; i < regions.length; i++)
    if (regions[i].shared && regions[i].start < to && regions[i].end > from) return true;
  return false;
}

/** Whether one has that does not come of this one by fork, or shares it: nothing else can be put there. */
function strangersHave(from: u64, to: u64, space: Space): bool {
  for (let i = 0; i < spaces.length; i++) {
    const other = spaces[i];
    if (other === space || !overlaps(from, to, other)) continue;
    if (other.group === null || other.group !== space.group || sharesIn(from, to, other)) return true;
  }
  return false;
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

  if (current.filling !== 0) return fill(fd, current.filling, current.fillingBytes, length, offset);
  let inode: Inode | null = null;
  if ((flags & MAP_ANONYMOUS) === 0) {
    const file = fileOf(fd);
    if (file === null) return EBADF;
    if (!file.readable) return EACCES;
    inode = file.inode;
    if (inode.device === DEVICE_ZERO) inode = null;
    else if (!inode.isFile || inode.device !== DEVICE_NONE || file.pipe !== null) return ENODEV;
    if (inode !== null && type === MAP_SHARED) {
      const writes = (protection & 2) !== 0;
      if (writes && (file.flags & O_ACCMODE) !== O_RDWR) return EACCES;
      if (inode.blocks === null && inode.outside === null && inode.stored === null && inode.made === 0 && !inode.readOnly)
        return fixed || (protection & PROT_EXEC) !== 0 ? ENODEV : mapFile(inode, offset, length, protection);
      if (writes) return ENODEV;
    }
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
      own().images.push(inode);
      return inode.imageAt;
    }
  const code = inode !== null && type !== MAP_SHARED && isMeasured(inode);
  if ((protection & PROT_EXEC) !== 0 && !code && !(jit && inode === null)) return EACCES;
  let bytes: u64 = 0;
  if (inode !== null && inode.outside !== null) {
    const waiting = look(inode, fileOf(fd)!.hostFd);
    if (waiting !== 0) return waiting;
  }
  if (inode !== null && offset < inode.size) {
    bytes = inode.size - offset < length ? inode.size - offset : length;
    const waiting = inode.need(offset, bytes);
    if (waiting !== 0) return waiting;
  }

  // The first mapping of a binary, as loaders make it, spans all of it: room for what its calls jump to is taken behind.
  let behind: u64 = 0;
  if (code && !fixed && offset === 0 && length === <u64>inode!.codePages * PAGE) {
    behind = up(inode!.codeBytes);
    const waiting = inode!.need(inode!.size, inode!.codeBytes);
    if (waiting !== 0) return waiting;
  }

  let at = hint;
  let copied = false;
  const space = own();
  if (fixed) {
    if (hint < low || hint > high || length > high - hint) return ENOMEM;
    if (onItsWay(hint, length)) return later();
    if ((flags & MAP_FIXED_NOREPLACE) !== 0 && overlaps(hint, hint + length, space)) return EEXIST;
    if (strangersHave(hint, hint + length, space)) return ENOMEM;
    copied = othersHave(hint, hint + length, space);
    if (copied && type === MAP_SHARED) return ENOMEM;
    cut(hint, hint + length, space);
  } else {
    at = place(length + behind);
    if (at === 0) return ENOMEM;
    if (behind > 0 && !putCode(at + length, behind, inode!, space)) return ENOMEM;
  }
  const clean = protection !== 0 || inode !== null;
  if (clean && !(bytes > 0 ? zero(at, length) : clear(at, length))) return ENOMEM;
  if (!clean) unwant(at, length);
  if (bytes > 0 && inode!.outside !== null) {
    insert(new Region(at, at + length, protection, true, false, false, copied), space);
    return fill(fd, at, bytes, length, offset);
  }
  if (bytes > 0 && !inode!.copyOut(at, offset, bytes)) return EFAULT;
  const runs = (protection & PROT_EXEC) !== 0;
  if (runs && !executable(at, length)) return ENOMEM;
  insert(new Region(at, at + length, protection, clean, runs, inode === null && type === MAP_SHARED, copied), space);
  return at;
}

/** Brings the bytes of a file of the host to a mapping that is there: its address, PENDING, or an errno and no mapping. */
function fill(fd: u64, at: u64, bytes: u64, length: u64, offset: u64): i64 {
  const file = fileOf(fd);
  const got: i64 = file === null || file.hostFd < 0 ? EBADF : transfer(file, false, at, bytes, false, offset);
  if (got === PENDING) {
    current.filling = at;
    current.fillingBytes = bytes;
    return PENDING;
  }
  current.filling = 0;
  if (got >= 0) return at;
  cut(at, at + length, own());
  return got;
}

/** A part of a file that processes share: the same place for all. */
function mapFile(inode: Inode, offset: u64, length: u64, protection: u32): i64 {
  let mapped = inode.mapped;
  if (offset + length < offset) return EOVERFLOW;
  if (mapped === null) {
    const all = max(up(inode.size), offset + length);
    const place = all > high ? 0 : takeShared(0, all);
    if (place === 0) return ENOMEM;
    mapped = new Mapped(inode, place, all);
    mapped.push(0, inode.size);
    inode.mapped = mapped;
    mappedFiles.push(mapped);
    opened(inode, 1);
  }
  // It cannot be made longer where it is.
  if (offset + length > mapped.length) return ENOMEM;
  const at = mapped.at + offset;
  mapped.users.push(own());
  cut(at, at + length, own());
  known(own());
  insert(new Region(at, at + length, protection, true, false, true), own());
  return at;
}

/** Whether a process that gives a part of a file back has it once more: all its mappings of the file are in one place. */
function isMappedAgain(at: u64, length: u64): bool {
  for (let i = 0; i < mappedFiles.length; i++) {
    const mapped = mappedFiles[i];
    if (at < mapped.at || at + length > mapped.at + mapped.length) continue;
    const first = mapped.users.indexOf(own());
    if (first < 0) return false;
    mapped.users.splice(first, 1);
    return mapped.users.includes(own());
  }
  return false;
}

/** Files that nobody has mapped any more are files alone again. */
function unmapFiles(): void {
  for (let i = mappedFiles.length - 1; i >= 0; i--) {
    const mapped = mappedFiles[i];
    if (othersHave(mapped.at, mapped.at + mapped.length, commons)) continue;
    mapped.pull(0, mapped.length);
    mapped.inode.mapped = null;
    mappedFiles.splice(i, 1);
    untakeShared(mapped.at, mapped.length);
    opened(mapped.inode, -1);
  }
}

/** Whether a file is part of what was measured: such code may be executed. */
export function isMeasured(inode: Inode): bool {
  return inode.digests !== 0 && inode.blocks !== null;
}

/** What calls of a binary jump to, at the end of its mapping. */
export function putCode(at: u64, length: u64, inode: Inode, space: Space): bool {
  if (!zero(at, length) || !inode.copyOut(at, inode.size, inode.codeBytes) || !executable(at, length)) return false;
  cut(at, at + length, space);
  insert(new Region(at, at + length, 5, true, true), space);
  return true;
}

/** A place for that many bytes that belong to a space, zero and writable; 0 when there is none. */
export function take(length: u64, space: Space): u64 {
  const at = place(length);
  if (at === 0 || !clear(at, length)) return 0;
  known(space);
  insert(new Region(at, at + length, 3, true), space);
  return at;
}

/** Whether nobody has memory in a range that programs may have. */
export function isFree(at: u64, given: u64): bool {
  const length = up(given);
  return at >= low && at <= high && length <= high - at && !othersHave(at, at + length, commons) && !overlaps(at, at + length, commons);
}

/** Memory for all: at an address that is free, or anywhere. 0 when there is none. */
export function takeShared(hint: u64, given: u64): u64 {
  const length = up(given);
  const at = hint !== 0 ? hint : place(length);
  if (at === 0 || !clear(at, length)) return 0;
  insert(new Region(at, at + length, 3, true, false, true), commons);
  return at;
}

export function untakeShared(at: u64, given: u64): void {
  drop(cut(at, at + up(given), commons), commons);
}

/** A place for bytes of a process that is not in its own, and for them alone; 0 when there is none. */
export function takeCopy(length: u64): u64 {
  const at = place(length);
  if (at === 0 || !bring(at, length)) return 0;
  insert(new Region(at, at + length, 0, true), commons);
  return at;
}

/** Gives back what `take` gave the commons, or `takeCopy`. */
export function untake(at: u64, length: u64): void {
  cut(at, at + length, commons);
}

/** Memory that is nobody's any more does not come. Returns its length. */
function drop(gone: Array<Region>, space: Space): u64 {
  let length: u64 = 0;
  for (let i = 0; i < gone.length; i++) {
    const region = gone[i];
    if (othersHave(region.start, region.end, space)) continue;
    unwant(region.start, region.end - region.start);
    length += region.end - region.start;
  }
  return length;
}

/** The next place without a mapping from an address on. */
export let gapStart: u64 = 0;
export let gapEnd: u64 = 0;
export function nextGap(from: u64): bool {
  let at = max(from, low);
  for (let moved = true; moved; ) {
    moved = false;
    gapEnd = high;
    for (let k = 0; k < spaces.length; k++) {
      const regions = spaces[k].regions;
      for (let i = 0; i < regions.length; i++) {
        const r = regions[i];
        if (r.end <= at) continue;
        if (r.start > at) {
          gapEnd = min(gapEnd, r.start);
          break;
        }
        at = r.end;
        moved = true;
      }
    }
  }
  gapStart = at;
  return at < high;
}

/** Keeps a place without a mapping from being given out: it is on its way to the host. */
export function reserve(from: u64, to: u64): void {
  insert(new Region(from, to, 0, true), commons);
}

export function release(from: u64, to: u64): void {
  cut(from, to, commons);
}

/** Gives all memory of a space back. */
export function freeSpace(space: Space): void {
  const gone = space.regions;
  space.regions = new Array<Region>();
  drop(gone, space);
  const at = spaces.indexOf(space);
  if (at >= 0) spaces.splice(at, 1);
  for (let i = 0; i < mappedFiles.length; i++) {
    const users = mappedFiles[i].users;
    for (let k = users.length - 1; k >= 0; k--) if (users[k] === space) users.splice(k, 1);
  }
  if (mappedFiles.length > 0) unmapFiles();
}

/** The same books for a process that comes of this one. What is not shared is from now on each one's own. */
export function copySpace(from: Space): Space {
  const to = new Space();
  to.breakStart = from.breakStart;
  to.breakEnd = from.breakEnd;
  to.breakLimit = from.breakLimit;
  to.stackStart = from.stackStart;
  to.stackEnd = from.stackEnd;
  for (let i = 0; i < from.images.length; i++) to.images.push(from.images[i]);
  for (let i = 0; i < from.regions.length; i++) {
    const region = from.regions[i];
    if (!region.shared) region.copied = true;
    to.regions.push(region.part(region.start, region.end));
  }
  known(to);
  for (let i = 0; i < mappedFiles.length; i++) {
    const users = mappedFiles[i].users;
    for (let k = users.length - 1; k >= 0; k--) if (users[k] === from) users.push(to);
  }
  return to;
}

/** Whether a word lies in memory that processes share. */
export function isShared(at: u64): bool {
  if (commons.regions.length > 0 && overlaps(at, at + 1, commons)) return true;
  const regions = own().regions;
  for (let i = 0; i < regions.length; i++) if (regions[i].start <= at && at < regions[i].end) return regions[i].shared;
  return false;
}

/** Whether all of a range was executable before. */
function isCode(from: u64, to: u64): bool {
  const regions = own().regions;
  for (let i = 0; i < regions.length; i++)
    if (regions[i].start < to && regions[i].end > from && !regions[i].code) return false;
  return true;
}

/** Whether programs may execute what they write: the image says it. */
let jit: bool = false;
export function setJit(on: bool): void {
  jit = on;
}

function overlaps(from: u64, to: u64, space: Space): bool {
  const regions = space.regions;
  for (let i = 0; i < regions.length; i++) if (regions[i].start < to && regions[i].end > from) return true;
  return false;
}

export function sysMunmap(at: u64, given: u64): i64 {
  const length = up(given);
  if ((at & (PAGE - 1)) !== 0 || length === 0 || at + length < at) return EINVAL;
  if (imageOf(at, length) !== null) return 0;
  if (onItsWay(at, length)) return later();
  if (mappedFiles.length > 0 && isMappedAgain(at, length)) return 0;
  const gone = drop(cut(at, at + length, own()), own());
  if (mappedFiles.length > 0) unmapFiles();
  return freed(gone);
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

let stackStart: u64 = 0;
let stackEnd: u64 = 0;
export function setStack(start: u64, size: u64): void {
  stackStart = own().stackStart = start;
  stackEnd = own().stackEnd = start + size;
}

function isStack(at: u64, length: u64): bool {
  return at >= stackStart && at + length <= stackEnd;
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
  // Whoever shares it would not see the new part.
  if (isShared(at)) return ENOMEM;
  const more = length - oldLength;
  if (at + length <= high && !overlaps(at + oldLength, at + length, space) && !othersHave(at + oldLength, at + length, space)) {
    if (!clear(at + oldLength, more)) return ENOMEM;
    insert(new Region(at + oldLength, at + length, 3, true), space);
    return at;
  }
  if ((flags & MREMAP_MAYMOVE) === 0) return ENOMEM;
  const to = place(length);
  if (to === 0) return ENOMEM;
  if (!clear(to, length)) return ENOMEM;
  if (!copyUser(to, at, oldLength)) return EFAULT;
  cut(at, at + oldLength, space);
  insert(new Region(to, to + length, 3, true), space);
  return to;
}

/** Whether there is memory in the whole of a range. */
export function isMapped(at: u64, length: u64): bool {
  if (at + length < at) return false;
  if (imageOf(at, length) !== null || isStack(at, length)) return true;
  const space = current.process.space;
  return (at >= space.breakStart && at + length <= up(space.breakEnd)) || mapped(at, at + length);
}

export function arenaBytes(): u64 {
  return high - first;
}

export function freeBytes(): u64 {
  let free: u64 = max(low, own().breakEnd) - own().breakEnd;
  if (own().breakEnd === 0) free = low - first;
  let top = high;
  startFromTop();
  for (let region = nextBelow(); region !== null; region = nextBelow()) {
    if (top > region.end) free += top - region.end;
    top = min(top, region.start);
  }
  return free + (top > low ? top - low : 0);
}

export function stackBytes(): u64 {
  return stackEnd - stackStart;
}

/** /proc/self/maps: what is mapped, the image's parts in place, and the stack. */
export function mapsText(): string {
  let text = '';
  const space = current.process.space;
  if (space.breakEnd > space.breakStart) text += line(space.breakStart, space.breakEnd, 3, '[heap]');
  const images = space.images;
  const regions = space.regions;
  for (let i = 0; i < images.length; i++)
    text += line(images[i].imageAt, images[i].imageAt + up(images[i].imageSize), 7, '');
  for (let i = 0; i < regions.length; i++) text += line(regions[i].start, regions[i].end, regions[i].protection, '');
  return space.stackStart === stackStart ? text + line(stackStart, stackEnd, 3, '[stack]') : text;
}

function line(start: u64, end: u64, protection: u32, name: string): string {
  const access = `${(protection & 1) !== 0 ? 'r' : '-'}${(protection & 2) !== 0 ? 'w' : '-'}${(protection & 4) !== 0 ? 'x' : '-'}p`;
  const head = `${start.toString(16)}-${end.toString(16)} ${access} 00000000 00:00 0`;
  return name === '' ? `${head}\n` : `${head.padEnd(73, ' ')}${name}\n`;
}
