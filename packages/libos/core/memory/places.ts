/** Places in the arena: where it lies, what of it is free, and what is on its way to the host. */
import { current } from '../task/thread';
import { commons, cut, insert, known, othersHave, overlaps, own, PAGE, Region, spaces, up } from './space';

/** What brk can have at most; C libraries take mappings beyond. */
const MAX_BREAK: u64 = 64 << 20;
export let low: u64 = 0;
export let high: u64 = 0;
/** Where the arena begins. */
let first: u64 = 0;

export function startMemory(arena: u64, size: u64): void {
  const space = current.process.space;
  space.breakStart = space.breakEnd = first = arena;
  low = space.breakLimit = arena + min<u64>(MAX_BREAK, (size / 4) & ~(PAGE - 1));
  high = arena + size;
  known(space);
  known(commons);
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
export function place(length: u64): u64 {
  let top = high;
  startFromTop();
  for (let region = nextBelow(); region !== null; region = nextBelow()) {
    if (top > region.end && top - region.end >= length) return top - length;
    top = min(top, region.start);
  }
  return top >= low + length ? top - length : 0;
}

/** Whether nobody has memory in a range that programs may have. */
export function isFree(at: u64, given: u64): bool {
  const length = up(given);
  return at >= low && at <= high && length <= high - at && !othersHave(at, at + length, commons) && !overlaps(at, at + length, commons);
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
