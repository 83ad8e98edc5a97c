/**
 * MAP_SHARED of files in the core's memory: each such file has one place in the memory of all processes, which every mapping
 * of it is a part of. What is written there is read from the file, and the other way round: bytes go to and fro at calls.
 */
import { Space } from '../memory/space';
import { Inode } from './inode';

export class Mapped {
  /** Whose mappings there are, one entry for each. */
  users: Array<Space> = new Array<Space>();
  constructor(
    public inode: Inode,
    public at: u64,
    public length: u64,
  ) {}

  /** From memory to the file, as far as that goes. */
  pull(from: u64, length: u64): void {
    const end = min(min(from + length, this.length), this.inode.size);
    if (from < end) this.inode.store(from, end - from, this.at + from);
  }

  /** From the file to memory. */
  push(from: u64, length: u64): void {
    const end = min(from + length, this.length);
    if (from < end) this.inode.copyOut(this.at + from, from, end - from);
  }
}

/** Those that are mapped. */
export const mappedFiles = new Array<Mapped>();
