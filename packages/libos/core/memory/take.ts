/** Memory that is given out and taken back, for programs and for the library OS itself. */
import { Inode } from '../fs/inode';
import { mappedFiles } from '../fs/mapped';
import { bring, executable, unwant, zero, zeroLazily } from '../shim';
import { unmapFiles } from './files';
import { place } from './places';
import { commons, cut, insert, known, othersHave, Region, Space, spaces, up } from './space';

/** From so many bytes on memory comes when it is used. */
const LAZY: u64 = 256 << 10;

/** Zero memory for a program: much of it only as it is used. */
export function clear(at: u64, length: u64): bool {
  return length >= LAZY ? zeroLazily(at, length) : zero(at, length);
}

/** A place for that many bytes that belong to a space, zero and writable; 0 when there is none. */
export function take(length: u64, space: Space): u64 {
  const at = place(length);
  if (at === 0 || !clear(at, length)) return 0;
  known(space);
  insert(new Region(at, at + length, 3, true), space);
  return at;
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

/** Whether a file is part of what was measured: such code may be executed. */
export function isMeasured(inode: Inode): bool {
  return inode.digests !== 0;
}

/** What calls of a binary jump to, at the end of its mapping. */
export function putCode(at: u64, length: u64, inode: Inode, space: Space): bool {
  if (!zero(at, length) || !inode.copyOut(at, inode.size, inode.codeBytes) || !executable(at, length)) return false;
  cut(at, at + length, space);
  insert(new Region(at, at + length, 5, true, true), space);
  return true;
}

/** Memory that is nobody's any more does not come. Returns its length. */
export function drop(gone: Array<Region>, space: Space): u64 {
  let length: u64 = 0;
  for (let i = 0; i < gone.length; i++) {
    const region = gone[i];
    if (othersHave(region.start, region.end, space)) continue;
    unwant(region.start, region.end - region.start);
    length += region.end - region.start;
  }
  return length;
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
