/**
 * Programs that are linked for one address (ET_EXEC): measured where they are linked for, they run nowhere else. Processes that run
 * one have its addresses in common, as those that come of each other by fork have theirs: each has its own bytes of what the program
 * writes to, and they take turns (task/residence.ts).
 */
import { Inode } from '../fs/inode';
import { writableParts } from '../image-parts';
import { putWritable } from '../loader';
import { Space, spaces } from '../memory/space';
import { protect } from '../shim';
import { enterPlace, join, leaveSpace, reserveCopy } from './residence';

const READ_WRITE: u32 = 3;

/** Somebody who runs the program. */
function holderOf(program: Inode): Space | null {
  for (let i = 0; i < spaces.length; i++) if (spaces[i].fixed === program) return spaces[i];
  return null;
}

/**
 * Room for the program in a new space; `before` is what its process has now and will not have any more, if that is so. False
 * when there is no memory.
 */
export function makeRoom(space: Space, program: Inode, before: Space | null): bool {
  if (holderOf(program) === null || (before !== null && before.fixed === program)) return true;
  return reserveCopy(space, writableParts(program));
}

/** The program begins in the new space, and what its process had goes. */
export function settle(space: Space, program: Inode, before: Space | null): void {
  const parts = writableParts(program);
  // What has been protected (RELRO) is written anew.
  for (let i = 0; i < parts.length; i += 2) protect(parts[i], parts[i + 1] - parts[i], READ_WRITE);
  const waits = space.copy !== null;
  putWritable(program, waits ? space.copy!.at : 0);
  if (waits) join(holderOf(program)!, space);
  // Whoever ran the program is succeeded in place.
  else if (before !== null && before.group !== null && before.fixed === program) join(before, space);
  space.fixed = program;
  space.images.push(program);
  if (before !== null) leaveSpace(before);
  if (!waits && space.group !== null) enterPlace(space);
}
