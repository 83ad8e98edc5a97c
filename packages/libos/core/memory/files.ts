/** Shared mappings of files in the core's memory: each file has one place for all processes (fs/mapped.ts). */
import { ENOMEM, EOVERFLOW } from '../errno';
import { Inode } from '../fs/inode';
import { isMappedPart, Mapped, mappedFiles } from '../fs/mapped';
import { opened } from '../fs/open-file';
import { high } from './places';
import { commons, cut, insert, known, othersHave, own, Region, up } from './space';
import { takeShared, untakeShared } from './take';

/** Of files up to this size all is mapped at once, so that parts of it that are mapped later fit. */
const WHOLE: u64 = 64 << 20;

/** The part of a file that has a range, or null where there is none. */
function partWith(inode: Inode, from: u64, end: u64): Mapped | null {
  const parts = inode.mapped;
  if (parts !== null) for (let i = 0; i < parts.length; i++) if (parts[i].has(from, end)) return parts[i];
  return null;
}

/** A part of a file in the core's memory; null where there is no memory. */
function newPart(inode: Inode, from: u64, length: u64): Mapped | null {
  const place = length > high ? 0 : takeShared(0, length);
  if (place === 0) return null;
  const part = new Mapped(inode, from, length, place);
  if (from < inode.size) part.push(from, min(length, inode.size - from));
  if (inode.mapped === null) inode.mapped = new Array<Mapped>();
  inode.mapped!.push(part);
  mappedFiles.push(part);
  opened(inode, 1);
  return part;
}

/** Bytes of a file that are to be mapped get memory of their own, as writes there cannot fail: 0, PENDING, or an error. */
function prepare(inode: Inode, from: u64, end: u64): i64 {
  if (inode.stored === null || from >= inode.size) return 0;
  if (!inode.stored!.reach(inode.size)) return ENOMEM;
  return inode.need(from, min(end, inode.size) - from);
}

/** A part of a file that processes share: the same place for all. */
export function mapFile(inode: Inode, offset: u64, length: u64, protection: u32): i64 {
  if (offset + length < offset) return EOVERFLOW;
  const end = offset + length;
  let part = partWith(inode, offset, end);
  if (part === null) {
    // It cannot be made longer where it is.
    if (isMappedPart(inode, offset, end)) return ENOMEM;
    const whole = inode.mapped === null && inode.size <= WHOLE;
    const from = whole ? 0 : offset;
    const stop = whole ? max(up(inode.size), end) : end;
    const waiting = prepare(inode, from, stop);
    if (waiting !== 0) return waiting;
    part = newPart(inode, from, stop - from);
    if (part === null && whole) part = newPart(inode, offset, length);
    if (part === null) return ENOMEM;
  }
  const at = part.at + offset - part.from;
  part.users.push(own());
  cut(at, at + length, own());
  known(own());
  insert(new Region(at, at + length, protection, true, false, true), own());
  return at;
}

/** Whether a process that gives a part of a file back has it once more: all its mappings of the file are in one place. */
export function isMappedAgain(at: u64, length: u64): bool {
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
export function unmapFiles(): void {
  for (let i = mappedFiles.length - 1; i >= 0; i--) {
    const mapped = mappedFiles[i];
    if (othersHave(mapped.at, mapped.at + mapped.length, commons)) continue;
    mapped.pull(mapped.from, mapped.length);
    forgetPart(mapped);
    mappedFiles.splice(i, 1);
    untakeShared(mapped.at, mapped.length);
    opened(mapped.inode, -1);
  }
}

function forgetPart(part: Mapped): void {
  const parts = part.inode.mapped!;
  parts.splice(parts.indexOf(part), 1);
  if (parts.length === 0) part.inode.mapped = null;
}
