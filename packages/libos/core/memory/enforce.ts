/**
 * Protections of pages are what the books say. Permissions are added at once and without the host (EMODPE); what is taken
 * from pages that have come takes a call out (EMODPR, then EACCEPT), during which calls that name them are made again. Pages that
 * have not come cost nothing. Shared memory is not protected: it is in one place for several, who may differ.
 */
import { ENOMEM } from '../errno';
import { ask, THEN_PROTECTED } from '../request';
import { protect, unwant } from '../shim';
import { Group } from '../task/residence';
import { current } from '../task/thread';
import { cut, own, Space } from './space';

/** Threads have numbers below it. */
const SLOTS = 64;
const OP_PROTECT: u64 = 27;
/** What is left of a larger mapping without access is taken for a guard up to this length. */
export const GUARD: u64 = 64 << 10;

/** For each thread: the pages that are about to lose permissions, what its call says then, and whether they go if they do not. */
const starts = new StaticArray<u64>(SLOTS);
const ends = new StaticArray<u64>(SLOTS);
const results = new StaticArray<u64>(SLOTS);
const maps = new StaticArray<bool>(SLOTS);
let waiting: i32 = 0;

/** Whether some pages of a range are about to lose permissions. */
export function changes(at: u64, length: u64): bool {
  if (waiting === 0) return false;
  for (let slot = 0; slot < SLOTS; slot++) if (starts[slot] < at + length && at < ends[slot]) return true;
  return false;
}

/** Gives memory that is there a protection: the result of the call, or PENDING. A mapping goes when that cannot be done. */
export function enforce(at: u64, length: u64, protection: u32, result: u64, mapping: bool = false): i64 {
  const slot = current.slot;
  if (protect(at, length, protection) === 0) return result;
  starts[slot] = at;
  ends[slot] = at + length;
  results[slot] = result;
  maps[slot] = mapping;
  waiting++;
  return ask(OP_PROTECT, at, length, protection, 0, THEN_PROTECTED);
}

/** The host has done it, or not. */
export function isProtected(result: i64): i64 {
  const slot = current.slot;
  const at = starts[slot];
  const length = ends[slot] - at;
  starts[slot] = ends[slot] = 0;
  waiting--;
  if (result === 0) return results[slot];
  if (!maps[slot]) return ENOMEM;
  cut(at, at + length, own());
  unwant(at, length);
  return ENOMEM;
}

/** A process of a group comes into place: what another one has protected since is as its own books say, as far as that is more. */
export function enforceFor(space: Space, group: Group): void {
  if (!group.protects) return;
  const regions = space.regions;
  for (let i = 0; i < regions.length; i++) {
    const region = regions[i];
    if (region.copied && !region.shared) protect(region.start, region.end - region.start, region.protection);
  }
}
