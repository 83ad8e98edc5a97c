/**
 * MAP_SHARED of files in the core's memory: each part of such a file has one place in the memory of all processes, which every
 * mapping of it is a part of. What is written there is read from the file, and the other way round: bytes go to and fro at calls.
 */
import { Space } from '../memory/space';
import { copyIn } from '../shim';
import { CHUNK } from './chunks';
import { isAway, isHere, memoryOf, pieceOf } from './contents';
import { Inode } from './inode';
import { STORE_BLOCK } from './stored';

/** Where bytes of a file of the store are compared with those that it has. */
const BLOCK = memory.data(16384, 16);

export class Mapped {
  /** Whose mappings there are, one entry for each. */
  users: Array<Space> = new Array<Space>();
  constructor(
    public inode: Inode,
    /** Which part of the file it is, and where it lies. */
    public from: u64,
    public length: u64,
    public at: u64,
  ) {}

  get end(): u64 {
    return this.from + this.length;
  }

  has(from: u64, end: u64): bool {
    return from >= this.from && end <= this.end;
  }

  touches(from: u64, end: u64): bool {
    return from < this.end && end > this.from;
  }

  /** From memory to the file, as far as that goes. */
  pull(from: u64, length: u64): void {
    const start = max(from, this.from);
    const end = min(min(from + length, this.end), this.inode.size);
    if (start >= end) return;
    if (this.inode.stored === null) this.inode.store(start, end - start, this.at + start - this.from);
    else this.compare(start, end);
  }

  /** The same where it matters what has changed: such blocks are written at the next commit. */
  private compare(start: u64, end: u64): void {
    const inode = this.inode;
    for (let at = start, part: u64 = 0; at < end; at += part) {
      part = min(end - at, STORE_BLOCK - (at % STORE_BLOCK));
      const user = this.at + at - this.from;
      if (!copyIn(BLOCK, user, part)) continue;
      const entry = inode.contents!.get(pieceOf(at));
      if (isAway(entry)) unreachable();
      if (isHere(entry) ? memory.compare(memoryOf(entry) + <usize>(at % CHUNK), BLOCK, <usize>part) === 0 : isZero(<usize>part))
        continue;
      if (inode.store(at, part, user) > 0) inode.mark(at, part);
    }
  }

  /** From the file to memory. */
  push(from: u64, length: u64): void {
    const start = max(from, this.from);
    const end = min(from + length, this.end);
    if (start < end) this.inode.copyOut(this.at + start - this.from, start, end - start);
  }
}

function isZero(length: usize): bool {
  for (let i: usize = 0; i < length; i++) if (load<u8>(BLOCK + i) !== 0) return false;
  return true;
}

/** Those that are mapped. */
export const mappedFiles = new Array<Mapped>();

/** What memory has of a range goes to the file. */
export function pullAll(inode: Inode, from: u64, length: u64): void {
  const parts = inode.mapped!;
  for (let i = 0; i < parts.length; i++) parts[i].pull(from, length);
}

export function pushAll(inode: Inode, from: u64, length: u64): void {
  const parts = inode.mapped!;
  for (let i = 0; i < parts.length; i++) parts[i].push(from, length);
}

/** Files of the store get what was written to memory. */
export function pullStored(): void {
  for (let i = 0; i < mappedFiles.length; i++)
    if (mappedFiles[i].inode.stored !== null) mappedFiles[i].pull(0, mappedFiles[i].inode.size);
}

/** Whether bytes of a range of a file are mapped. */
export function isMappedPart(inode: Inode, from: u64, end: u64): bool {
  const parts = inode.mapped;
  if (parts !== null) for (let i = 0; i < parts.length; i++) if (parts[i].touches(from, end)) return true;
  return false;
}

/** Whether memory in a range is that of a file of the store. */
export function hasStored(at: u64, length: u64): bool {
  for (let i = 0; i < mappedFiles.length; i++) {
    const part = mappedFiles[i];
    if (part.inode.stored !== null && part.at < at + length && part.at + part.length > at) return true;
  }
  return false;
}
