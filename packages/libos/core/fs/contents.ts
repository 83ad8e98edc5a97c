/**
 * The bytes of a file, piece by piece. A piece is a hole (zeros), memory of the core, outside, or on its way in. What lies in
 * memory behind the end of the file means nothing; who makes the file longer clears it.
 */
import { giveBuffer, takeBuffer } from './buffers';
import { CHUNK, fits, freeChunk, freeLater, takeChunk } from './chunks';

export const HOLE: usize = 0;
/** Its bytes are those of the root, or of the store's last commit. */
export const OUTSIDE: usize = 4;
/** A thread brings them; above this bit stands the number of its load. */
export const COMING: usize = 8;
const AWAY: usize = OUTSIDE | COMING;
/** It has been used since somebody looked (cache.ts). */
export const USED: usize = 1;
/** It may go again, as it is outside too; where it is away: it was here before. */
export const CLEAN: usize = 2;
export const BEEN: usize = CLEAN;
const FLAGS: usize = 15;

const SMALLEST: u32 = 512;

export function isAway(entry: usize): bool {
  return (entry & AWAY) !== 0;
}

export function isHere(entry: usize): bool {
  return entry !== HOLE && (entry & AWAY) === 0;
}

export function memoryOf(entry: usize): usize {
  return entry & ~FLAGS;
}

export function pieceOf(at: u64): u32 {
  return <u32>(at / CHUNK);
}

/** Memory for the first piece of a small file: a power of two. */
function roomFor(bytes: u32): u32 {
  let room = SMALLEST;
  while (room < bytes) room *= 2;
  return room;
}

export class Contents {
  /** Entries, and how many there is room for. */
  private table: usize = 0;
  private count: u32 = 0;
  /** Bytes of the first piece, which is smaller than the others in small files. */
  private first: u32 = 0;

  /** Entries that there are; those behind are holes. */
  get length(): u32 {
    return this.count;
  }

  @inline get(piece: u32): usize {
    return piece < this.count ? load<usize>(this.table + (<usize>piece << 2)) : HOLE;
  }

  set(piece: u32, entry: usize): void {
    if (piece >= this.count) this.grow(piece + 1);
    store<usize>(this.table + (<usize>piece << 2), entry);
  }

  private grow(least: u32): void {
    let count: u32 = this.count < 4 ? 4 : this.count;
    while (count < least) count *= 2;
    const table = takeBuffer(<usize>count << 2);
    memory.copy(table, this.table, <usize>this.count << 2);
    memory.fill(table + (<usize>this.count << 2), 0, <usize>(count - this.count) << 2);
    giveBuffer(this.table);
    this.table = table;
    this.count = count;
  }

  /** Bytes of a piece that is here. */
  roomOf(piece: u32): u32 {
    return piece === 0 ? this.first : <u32>CHUNK;
  }

  /** Memory for a piece, which is not its own yet; 0 when there is none. `bytes` are what it needs if it is the first. */
  fresh(piece: u32, bytes: u32): usize {
    // The entry has a place from here on.
    if (piece >= this.count && !fits((<u64>piece + 1) << 3)) return 0;
    if (piece >= this.count) this.grow(piece + 1);
    if (piece === 0 && !fits(CHUNK)) return 0;
    return piece > 0 || bytes > <u32>CHUNK / 2 ? takeChunk() : takeBuffer(roomFor(bytes));
  }

  /** Takes memory that `fresh` gave for as many bytes. */
  own(piece: u32, data: usize, bytes: u32, flags: usize): void {
    if (piece === 0) this.first = bytes > <u32>CHUNK / 2 ? <u32>CHUNK : roomFor(bytes);
    this.set(piece, data | flags);
  }

  /** Gives back what `fresh` gave. */
  static giveBack(piece: u32, data: usize, bytes: u32): void {
    if (piece > 0 || bytes > <u32>CHUNK / 2) freeChunk(data);
    else freeLater(data);
  }

  /** The first piece, which is here, gets room for `bytes`; what it had not is zero. 0: no memory. */
  widen(bytes: u32): usize {
    const entry = this.get(0);
    const old = memoryOf(entry);
    const had = this.first;
    if (bytes <= had) return old;
    const data = this.fresh(0, bytes);
    if (data === 0) return 0;
    this.own(0, data, bytes, entry & FLAGS);
    memory.copy(data, old, had);
    memory.fill(data + had, 0, this.first - had);
    Contents.giveBack(0, old, had);
    return data;
  }

  /** A piece becomes a hole, or lies outside. */
  drop(piece: u32, entry: usize): void {
    const old = this.get(piece);
    if (isHere(old)) Contents.giveBack(piece, memoryOf(old), this.roomOf(piece));
    if (piece === 0) this.first = 0;
    if (piece < this.count) this.set(piece, entry);
  }

  /** All of it, from a piece on. */
  dropFrom(piece: u32): void {
    for (; piece < this.count; piece++) if (this.get(piece) !== HOLE) this.drop(piece, HOLE);
  }

  release(): void {
    this.dropFrom(0);
    giveBuffer(this.table);
    this.table = 0;
    this.count = 0;
  }

  /** Zeros in what is here of [from, to). */
  clear(from: u64, to: u64): void {
    for (let at = from; at < to; ) {
      const piece = pieceOf(at);
      const base = <u64>piece * CHUNK;
      const end = min(to, base + CHUNK);
      const entry = this.get(piece);
      const stop = min(end - base, <u64>this.roomOf(piece));
      if (isHere(entry) && at - base < stop) memory.fill(memoryOf(entry) + <usize>(at - base), 0, <usize>(stop - (at - base)));
      at = end;
      // Behind the table there are only holes.
      if (piece >= this.count) return;
    }
  }
}
