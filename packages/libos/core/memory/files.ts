/** Shared mappings of files in the core's memory: each file has one place for all processes (fs/mapped.ts). */
import { ENOMEM, EOVERFLOW } from '../errno';
import { Inode } from '../fs/inode';
import { Mapped, mappedFiles } from '../fs/mapped';
import { opened } from '../fs/open-file';
import { high } from './places';
import { commons, cut, insert, known, othersHave, own, Region, up } from './space';
import { takeShared, untakeShared } from './take';

/** A part of a file that processes share: the same place for all. */
export function mapFile(inode: Inode, offset: u64, length: u64, protection: u32): i64 {
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
    mapped.pull(0, mapped.length);
    mapped.inode.mapped = null;
    mappedFiles.splice(i, 1);
    untakeShared(mapped.at, mapped.length);
    opened(mapped.inode, -1);
  }
}
