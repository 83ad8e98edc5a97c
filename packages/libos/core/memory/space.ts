/** The books of memory: which regions each program has, with what protections. */
import { Inode } from '../fs/inode';
import { mappedFiles } from '../fs/mapped';
import { Copy, Group } from '../task/residence';
import { current } from '../task/thread';

export const PAGE: u64 = 4096;

@inline export function up(length: u64): u64 {
  return (length + PAGE - 1) & ~(PAGE - 1);
}

export class Region {
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
  /** The one of them that is linked for its address (task/fixed.ts). */
  fixed: Inode | null = null;
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
export const spaces = new Array<Space>();
/** Memory that belongs to no program: segments of shared memory, and bytes of processes that are not in place. */
export const commons = new Space();

/** The books of whoever makes the call. */
@inline export function own(): Space {
  return current.process.space;
}

export function known(space: Space): void {
  if (!spaces.includes(space)) spaces.push(space);
}

export function insert(region: Region, space: Space): void {
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
export function cut(from: u64, to: u64, space: Space): Array<Region> {
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

export function mapped(from: u64, to: u64): bool {
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

export function overlaps(from: u64, to: u64, space: Space): bool {
  const regions = space.regions;
  for (let i = 0; i < regions.length; i++) if (regions[i].start < to && regions[i].end > from) return true;
  return false;
}

/** Whether another space than this one has memory in a range. */
export function othersHave(from: u64, to: u64, space: Space): bool {
  for (let i = 0; i < spaces.length; i++) if (spaces[i] !== space && overlaps(from, to, spaces[i])) return true;
  return false;
}

function sharesIn(from: u64, to: u64, space: Space): bool {
  const regions = space.regions;
  for (let i = 0; i < regions.length; i++)
    if (regions[i].shared && regions[i].start < to && regions[i].end > from) return true;
  return false;
}

/** What processes that come of each other have in a range is from now on each one's own. */
export function contest(from: u64, to: u64): void {
  for (let i = 0; i < spaces.length; i++) {
    const space = spaces[i];
    if (!overlaps(from, to, space)) continue;
    const parts = cut(from, to, space);
    for (let k = 0; k < parts.length; k++) {
      parts[k].copied = true;
      insert(parts[k], space);
    }
  }
}

/** Whether one has that does not come of this one by fork, or shares it: nothing else can be put there. */
export function strangersHave(from: u64, to: u64, space: Space): bool {
  for (let i = 0; i < spaces.length; i++) {
    const other = spaces[i];
    if (other === space || !overlaps(from, to, other)) continue;
    if (other.group === null || other.group !== space.group || sharesIn(from, to, other)) return true;
  }
  return false;
}

/** Whether a word lies in memory that processes share. */
export function isShared(at: u64): bool {
  if (commons.regions.length > 0 && overlaps(at, at + 1, commons)) return true;
  const regions = own().regions;
  for (let i = 0; i < regions.length; i++) if (regions[i].start <= at && at < regions[i].end) return regions[i].shared;
  return false;
}

/** The same books for a process that comes of this one. What is not shared is from now on each one's own. */
export function copySpace(from: Space): Space {
  const to = new Space();
  to.breakStart = from.breakStart;
  to.breakEnd = from.breakEnd;
  to.breakLimit = from.breakLimit;
  to.stackStart = from.stackStart;
  to.stackEnd = from.stackEnd;
  to.fixed = from.fixed;
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
