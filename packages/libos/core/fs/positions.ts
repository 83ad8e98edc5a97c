/** Positions of blocks outside, and who has them: a byte each. Position 0 is the roots'. */
import { giveBuffer, takeBuffer } from './buffers';

/** The last commit; the one before it, whose root is there until the next one's takes its place; the one under way. */
export const BY_LAST: u8 = 1;
const BY_FORMER: u8 = 2;
export const BY_NEXT: u8 = 4;
/** A file, since the last commit: no root knows of it (write-out.ts). */
export const BY_FILE: u8 = 8;
/** The last commit has it, but what is there now went elsewhere. */
const LEFT: u8 = 16;

let used: usize = 0;
let room: u32 = 0;
let rotor: u32 = 1;

/** How often blocks have moved: who reads by an older reference may find another's. */
export let moves: u64 = 0;

/** Bytes that all this takes. */
export function positionsRoom(): u32 {
  return room;
}

export function use(position: u32, by: u8): void {
  if (position >= room) {
    let more: u32 = room < 1024 ? 1024 : room;
    while (more <= position) more *= 2;
    const larger = takeBuffer(more);
    memory.copy(larger, used, room);
    memory.fill(larger + room, 0, more - room);
    giveBuffer(used);
    used = larger;
    room = more;
  }
  store<u8>(used + position, load<u8>(used + position) | by);
}

/** One that nobody has. */
export function takePosition(by: u8): u64 {
  while (rotor < room && load<u8>(used + rotor) !== 0) rotor++;
  use(rotor, by);
  return rotor++;
}

/** A file has it no more; whoever else has it still does. */
export function giveUp(position: u32): void {
  if (position === 0 || position >= room) return;
  const by = load<u8>(used + position);
  store<u8>(used + position, (by & ~BY_FILE) | ((by & BY_LAST) !== 0 ? LEFT : 0));
  if (by === BY_FILE && position < rotor) rotor = position;
}

export function moved(): void {
  moves++;
}

/**
 * There is a new commit. What only the one before the last one had is free. With `all`, whatever the last one had is the
 * former one's now, and what the new one has is to be told by `use`; else only what is known to be elsewhere now.
 */
export function commitMade(all: bool): void {
  for (let i: u32 = 0; i < room; i++) {
    const by = load<u8>(used + i);
    if (by === 0) continue;
    const former = (by & LEFT) !== 0 || (all && (by & BY_LAST) !== 0);
    store<u8>(used + i, former ? (by & BY_FILE) | BY_FORMER : by & (BY_FILE | BY_LAST));
  }
  rotor = 1;
  moves++;
}

/** The last commit had it, the new one has another in its place. */
export function leave(position: u32): void {
  const by = load<u8>(used + position);
  if ((by & BY_LAST) !== 0) store<u8>(used + position, (by & ~(BY_LAST | LEFT)) | BY_FORMER);
}

export function commitFailed(): void {
  for (let i: u32 = 0; i < room; i++) store<u8>(used + i, load<u8>(used + i) & ~BY_NEXT);
  rotor = 1;
}
