/**
 * Processes that come of each other by fork have the same addresses, and there is one address space: the bytes of one of
 * them are in place, of each other one a copy is kept. A thread whose process is not in place waits before its call goes
 * on (core/index.ts) until no thread of the one that is runs; then bytes change places. So whatever the core does for a
 * thread it does while the thread's memory is there. Nothing here concerns programs that never fork.
 */
import { PENDING, requestPark } from '../request';
import { copyUser, exchange, madeFrom, madeTo, now, stackUsed, unwant, zero, zeroLazily } from '../shim';
import { look } from '../signals';
import { Inode } from '../fs/inode';
import { writableParts } from '../image-parts';
import { enforceFor } from '../memory/enforce';
import { commons, Space } from '../memory/space';
import { freeSpace, takeCopy, untake } from '../memory/take';
import { FIRST_PID } from './process';
import { isStopped } from './stops';
import { current, MAX_THREADS, Thread, threads } from './thread';

const PAGE: u64 = 4096;
/** How long a process computes while others of its group wait. */
const SLICE: u64 = 10_000_000;
const LONG: u64 = 1_000_000_000;
/** Bytes of the request that a thread keeps while it waits for its place: the operation and its arguments. */
export const HELD: usize = 56;
/** What lies below a stack pointer and is not the program's. */
const RED_ZONE: u64 = 128;
const STACK_STEP: u64 = 64 << 10;

/** Processes that came of each other and have not run other programs. */
export class Group {
  members: Array<Space> = new Array<Space>();
  /** Whose bytes are in place. */
  resident: Space | null = null;
  since: u64 = 0;
  /** Threads that want to be in place, in the order in which they came. */
  waiters: Array<Thread> = new Array<Thread>();
  /** Room of the latest copy that was brought back, for the next one. */
  spareAt: u64 = 0;
  spareBytes: u64 = 0;
  /** Since they came of each other, some have protected memory. */
  protects: bool = false;
}

/** The bytes of a process that is not in place: those of pages that are there, one run behind the other. */
export class Copy {
  starts: Array<u64> = new Array<u64>();
  lengths: Array<u64> = new Array<u64>();
  at: u64 = 0;
  bytes: u64 = 0;
  /** Below it the first stack is not in use. */
  stackLow: u64 = 0;
  /** Nobody else had what programs have at their start but the program itself. */
  alone: bool = false;
}

// ---- what is a process's own -----------------------------------------------------------------------------------------

const starts = new Array<u64>();
const ends = new Array<u64>();
/** Whether pages that are not there are zero when they are used; else they do not come. */
const cleans = new Array<bool>();

function range(start: u64, end: u64, clean: bool): void {
  if (start >= end) return;
  starts.push(start);
  ends.push(end);
  cleans.push(clean);
}

/** Without what lies between the lowest byte of the stack and those in use. */
function rangeBesides(start: u64, end: u64, clean: bool, from: u64, to: u64): void {
  if (to <= start || from >= end || from >= to) {
    range(start, end, clean);
    return;
  }
  range(start, from, clean);
  range(to, end, clean);
}

function findRanges(space: Space, stackLow: u64, alone: bool): void {
  starts.length = ends.length = cleans.length = 0;
  if (alone) {
    for (let i = 0; i < space.regions.length; i++) {
      const region = space.regions[i];
      if (region.copied && !region.shared) range(region.start, region.end, region.clean);
    }
    if (space.fixed !== null) findParts(space.fixed!);
    return;
  }
  range(space.breakStart & ~(PAGE - 1), (space.breakEnd + PAGE - 1) & ~(PAGE - 1), true);
  const regions = space.regions;
  let inRegion = false;
  for (let i = 0; i < regions.length; i++) {
    const region = regions[i];
    if (region.start <= space.stackStart && space.stackStart < region.end) inRegion = true;
    if (region.copied && !region.shared) rangeBesides(region.start, region.end, region.clean, space.stackStart, stackLow);
  }
  if (!inRegion) range(stackLow, space.stackEnd, true);
  for (let i = 0; i < space.images.length; i++) findParts(space.images[i]);
}

function findParts(image: Inode): void {
  const parts = writableParts(image);
  for (let k = 0; k < parts.length; k += 2) range(parts[k], parts[k + 1], true);
}

/** Whether no other process of its group has come of this one by fork, or this one of it: the program alone is what they share. */
function isAlone(space: Space): bool {
  const members = space.group!.members;
  for (let i = 0; i < members.length; i++)
    if (members[i] !== space && members[i].stackStart === space.stackStart && members[i].stackEnd === space.stackEnd) return false;
  return true;
}

/** From where on the first stack is in use: known when there is one thread, and it stands there. */
function stackLowOf(space: Space): u64 {
  let only: Thread | null = null;
  for (let slot = 0; slot < MAX_THREADS; slot++) {
    const thread = threads[slot];
    if (thread === null || thread.process.space !== space) continue;
    if (only !== null) return space.stackStart;
    only = thread;
  }
  if (only === null) return space.stackStart;
  const at = only.stackAt;
  if (at <= space.stackStart + PAGE || at > space.stackEnd) return space.stackStart;
  // In larger steps, so that it is mostly the same for processes that come of each other.
  return max(space.stackStart, stackUsed(space.stackStart, (at - RED_ZONE) & ~(PAGE - 1)) & ~(STACK_STEP - 1));
}

/** Which pages of a process are there. */
function survey(space: Space): Copy {
  const copy = new Copy();
  copy.alone = isAlone(space);
  copy.stackLow = copy.alone ? 0 : stackLowOf(space);
  findRanges(space, copy.stackLow, copy.alone);
  for (let i = 0; i < starts.length; i++) {
    const end = ends[i];
    for (let at = madeFrom(starts[i], end); at < end; at = madeFrom(at, end)) {
      const to = madeTo(at, end);
      copy.starts.push(at);
      copy.lengths.push(to - at);
      copy.bytes += to - at;
      at = to;
    }
  }
  return copy;
}

/** Keeps the bytes of a process. False when there is no memory for them; nothing has changed then. */
export function save(space: Space, group: Group): bool {
  return keepBytes(survey(space), space, group);
}

function keepBytes(copy: Copy, space: Space, group: Group): bool {
  if (group.spareBytes >= copy.bytes && group.spareBytes <= 2 * copy.bytes) {
    copy.at = group.spareAt;
    copy.bytes = group.spareBytes;
    group.spareBytes = 0;
  } else copy.at = copy.bytes === 0 ? 0 : takeCopy(copy.bytes);
  if (copy.at === 0 && copy.bytes > 0) return false;
  let to = copy.at;
  for (let i = 0; i < copy.starts.length; i++) {
    if (!copyUser(to, copy.starts[i], copy.lengths[i])) {
      discard(copy.at, copy.bytes);
      return false;
    }
    to += copy.lengths[i];
  }
  space.copy = copy;
  return true;
}

/** Whether two processes have pages in the same places: mostly so, as they have the same beginning. */
function sameRuns(a: Copy, b: Copy): bool {
  if (a.starts.length !== b.starts.length || a.stackLow !== b.stackLow) return false;
  for (let i = 0; i < a.starts.length; i++) if (a.starts[i] !== b.starts[i] || a.lengths[i] !== b.lengths[i]) return false;
  return true;
}

/** The bytes of one process go, and those of another take their place. False when there is no memory; nothing has changed then. */
function change(from: Space, to: Space, group: Group): bool {
  const leaving = survey(from);
  const coming = to.copy!;
  if (!sameRuns(leaving, coming) || !alike(from, to, leaving.alone, coming.alone)) {
    if (!keepBytes(leaving, from, group)) return false;
    restore(to, group);
    return true;
  }
  let at = coming.at;
  for (let i = 0; i < coming.starts.length; i++) {
    if (!exchange(coming.starts[i], at, coming.lengths[i])) unreachable();
    at += coming.lengths[i];
  }
  enforceFor(to, group);
  leaving.at = coming.at;
  leaving.bytes = coming.bytes;
  from.copy = leaving;
  to.copy = null;
  return true;
}

/** Whether the books of two processes are the same as far as bytes are each one's own, so that what is not there is not for both. */
function alike(a: Space, b: Space, aAlone: bool, bAlone: bool): bool {
  findRanges(a, a.stackEnd, aAlone);
  const count = starts.length;
  const first = starts.slice(0);
  const last = ends.slice(0);
  const clean = cleans.slice(0);
  findRanges(b, b.stackEnd, bAlone);
  if (count !== starts.length) return false;
  for (let i = 0; i < count; i++) if (first[i] !== starts[i] || last[i] !== ends[i] || clean[i] !== cleans[i]) return false;
  return true;
}

/** Puts them into their place. */
function restore(space: Space, group: Group): void {
  const copy = space.copy!;
  findRanges(space, copy.stackLow, copy.alone);
  let from = copy.at;
  let next = 0;
  for (let i = 0; i < starts.length; i++) {
    let at = starts[i];
    while (next < copy.starts.length && copy.starts[next] >= at && copy.starts[next] < ends[i]) {
      const start = copy.starts[next];
      const length = copy.lengths[next];
      untouched(at, start, cleans[i]);
      // Pages that a host takes away cannot be told from others' bytes: nothing goes on.
      if (!copyUser(start, from, length)) unreachable();
      from += length;
      at = start + length;
      next++;
    }
    untouched(at, ends[i], cleans[i]);
  }
  enforceFor(space, group);
  dropSpare(group);
  group.spareAt = copy.at;
  group.spareBytes = copy.bytes;
  space.copy = null;
}

/** What the process had not used. */
function untouched(from: u64, to: u64, clean: bool): void {
  if (from >= to) return;
  if (clean) zeroLazily(from, to - from);
  else unwant(from, to - from);
}

function dropSpare(group: Group): void {
  discard(group.spareAt, group.spareBytes);
  group.spareBytes = 0;
}

function discard(at: u64, bytes: u64): void {
  if (bytes === 0) return;
  zero(at, bytes);
  untake(at, bytes);
}

// ---- groups ----------------------------------------------------------------------------------------------------------

let latestKey: u64 = 0;
const LAST_KEY: u64 = 0xfffe;

/** A new process, whose books are those of another, joins its group. */
export function join(from: Space, space: Space): Group {
  if (from.group === null) {
    const group = new Group();
    group.members.push(from);
    group.resident = from;
    group.since = now(1);
    from.group = group;
  }
  const group = from.group!;
  group.members.push(space);
  space.group = group;
  latestKey = latestKey % LAST_KEY + 1;
  space.key = latestKey << 48;
  return group;
}

/** Room for the first bytes of a process that begins elsewhere than in its place; false when there is no memory. */
export function reserveCopy(space: Space, parts: Array<u64>): bool {
  const copy = new Copy();
  copy.alone = true;
  for (let i = 0; i < parts.length; i += 2) {
    copy.starts.push(parts[i]);
    copy.lengths.push(parts[i + 1] - parts[i]);
    copy.bytes += parts[i + 1] - parts[i];
  }
  if (copy.bytes > 0) copy.at = takeCopy(copy.bytes);
  if (copy.at === 0 && copy.bytes > 0) return false;
  space.copy = copy;
  return true;
}

/** A process whose bytes are in place already. */
export function enterPlace(space: Space): void {
  const group = space.group!;
  group.resident = space;
  group.since = now(1);
}

/** The memory of a process goes, and its place in its group. */
export function leaveSpace(space: Space): void {
  const group = space.group;
  if (group !== null) {
    space.group = null;
    group.members.splice(group.members.indexOf(space), 1);
    const copy = space.copy;
    if (copy !== null) discard(copy.at, copy.bytes);
    space.copy = null;
    if (group.resident === space) group.resident = null;
  }
  freeSpace(space);
  if (group === null) return;
  if (group.members.length === 1) dissolve(group);
  else callNext(group);
}

/** One is left: it has its place for good. */
function dissolve(group: Group): void {
  const last = group.members[0];
  if (last.copy !== null) restore(last, group);
  last.group = null;
  dropSpare(group);
  for (let i = 0; i < group.waiters.length; i++) group.waiters[i].wake();
  for (let slot = 0; slot < MAX_THREADS; slot++) {
    const thread = threads[slot];
    if (thread !== null && thread.process.space === last) thread.mustYield = false;
  }
}

/** Whether no thread of a process runs, or is about to without asking. */
function isQuiet(space: Space): bool {
  for (let slot = 0; slot < MAX_THREADS; slot++) {
    const thread = threads[slot];
    if (thread !== null && thread.process.space === space && !thread.outside) return false;
  }
  return true;
}

function callNext(group: Group): void {
  const resident = group.resident;
  if (group.waiters.length > 0 && (resident === null || isQuiet(resident))) group.waiters[0].wake();
}

/** Operations that touch no memory of the program while they are under way: waits, and what concerns the core alone. */
function isSafe(op: u64): bool {
  return op < 64 ? ((SAFE >> op) & 1) !== 0 : op >= OP_STORE_LOAD && op <= OP_STORE_WRITE;
}
/** ROOT to PARK, THREAD_EXIT, YIELD, RETURN (core/request.ts), POLL to NET (core/net/host.ts), FILES (core/fs/hostfs.ts). */
const SAFE: u64 = 0xf8 | (1 << 9) | (3 << 24) | ((<u64>0x7f) << 36) | ((<u64>1) << 60);
const OP_STORE_LOAD: u64 = 96;
const OP_STORE_WRITE: u64 = 98;

/** The calling thread leaves with its request. */
export function goesOut(thread: Thread): void {
  thread.outside = isSafe(load<u64>(thread.request));
  const group = thread.process.space.group;
  if (group !== null && thread.outside) callNext(group);
}

/**
 * The calling thread comes back with a result, which is then `heldResult`, or PENDING: it has to wait for its place first.
 */
export function comesBack(thread: Thread, result: i64): i64 {
  const group = thread.process.space.group;
  const rests = isStopped(thread);
  if (!thread.held) {
    thread.heldResult = result;
    const yields = rests || (thread.mustYield && mustGiveWay());
    if (!yields && (group === null || obtain(thread, group))) return 0;
    thread.mustYield = false;
    hold(thread);
  } else if (!rests && (group === null || obtain(thread, group))) {
    memory.copy(thread.request, thread.heldRequest, HELD);
    thread.then = thread.heldThen;
    thread.held = false;
    return 0;
  }
  return rests ? rest(thread) : wait(thread, group!);
}

/** Waits until its process is continued, and has no turn meanwhile. */
function rest(thread: Thread): i64 {
  const group = thread.process.space.group;
  if (group !== null) leaveQueue(thread, group);
  const result = requestPark(u64.MAX_VALUE);
  goesOut(thread);
  return result;
}

/** Keeps what the thread's call needs when it goes on. */
function hold(thread: Thread): void {
  memory.copy(thread.heldRequest, thread.request, HELD);
  thread.heldThen = thread.then;
  thread.held = true;
}

function wait(thread: Thread, group: Group): i64 {
  if (!group.waiters.includes(thread)) group.waiters.push(thread);
  const present = now(1);
  // The first one sees to it that there is a turn; it is the next one's when it has gone.
  const until = group.waiters[0] === thread ? max(group.since + SLICE, present + SLICE / 4) : present + LONG;
  const result = requestPark(until);
  goesOut(thread);
  return result;
}

function leaveQueue(thread: Thread, group: Group): void {
  const at = group.waiters.indexOf(thread);
  if (at < 0) return;
  group.waiters.splice(at, 1);
  if (at === 0 && group.waiters.length > 0) group.waiters[0].wake();
}

function obtain(thread: Thread, group: Group): bool {
  const space = thread.process.space;
  const resident = group.resident;
  if (resident === space || space.lost) {
    leaveQueue(thread, group);
    return true;
  }
  if (resident !== null && !isQuiet(resident)) {
    if (now(1) >= group.since + SLICE || onlyWaits(resident)) demand(resident);
    return false;
  }
  const before = group.waiters.length > 0 ? group.waiters[0] : thread;
  if (before !== thread && before.process.space !== space) {
    before.wake();
    return false;
  }
  leaveQueue(thread, group);
  // Nobody can have more memory than there is: who cannot come in is ended, but the first process is not.
  if (resident !== null && !change(resident, space, group)) {
    const loser = thread.process.pid === FIRST_PID ? resident : space;
    loser.lost = true;
    if (loser === space) return true;
    wakeAll(loser);
    restore(space, group);
  } else if (resident === null) restore(space, group);
  group.resident = space;
  group.since = now(1);
  for (let i = 0; i < group.waiters.length; i++)
    if (group.waiters[i].process.space === space) group.waiters[i].wake();
  return true;
}

/** Whether those of its threads that are not at rest wait for the host with their memory. */
function onlyWaits(space: Space): bool {
  for (let slot = 0; slot < MAX_THREADS; slot++) {
    const thread = threads[slot];
    if (thread === null || thread.process.space !== space || thread.outside) continue;
    if (thread.leftAt === 0 || load<u64>(thread.request) < 32 || load<u64>(thread.request, 32) === 0) return false;
  }
  return true;
}

function wakeAll(space: Space): void {
  for (let slot = 0; slot < MAX_THREADS; slot++) {
    const thread = threads[slot];
    if (thread !== null && thread.process.space === space) thread.wake();
  }
}

/** The threads of the process in place are to wait at their next opportunity. */
function demand(space: Space): void {
  for (let slot = 0; slot < MAX_THREADS; slot++) {
    const thread = threads[slot];
    if (thread === null || thread.process.space !== space || thread.outside) continue;
    thread.mustYield = true;
    look(thread);
    // One that waits for the host with its memory looks, too.
    if (thread.leftAt !== 0) thread.wake();
  }
}

/** Whether the calling thread is to let another process of its group have the place. */
export function mustGiveWay(): bool {
  if (!current.mustYield) return false;
  const group = current.process.space.group;
  if (group !== null)
    for (let i = 0; i < group.waiters.length; i++)
      if (group.waiters[i].process.space !== current.process.space) return true;
  current.mustYield = false;
  return false;
}

/** It does, or is stopped, between two calls or in the midst of its program: PENDING, or 0 when nothing of that is wanted any more. */
export function giveWay(stack: u64): i64 {
  const thread = current;
  const rests = isStopped(thread);
  if (!rests && !mustGiveWay()) return 0;
  thread.mustYield = false;
  thread.stackAt = stack;
  thread.then = 0;
  thread.heldResult = 0;
  hold(thread);
  return rests ? rest(thread) : wait(thread, thread.process.space.group!);
}
