/** The end of threads and of processes. */
import { exitProgram, exitThread } from '../request';
import { copyIn, copyOut } from '../shim';
import { scratch } from '../user';
import { wakeFutex } from './futex';
import { NEVER, park } from './queue';
import { current, MAX_THREADS, Thread, threads } from './thread';

const FUTEX_WAITERS: u32 = 0x8000_0000;
const FUTEX_OWNER_DIED: u32 = 0x4000_0000;
const FUTEX_TID_MASK: u32 = 0x3fff_ffff;
const ROBUST_LIMIT = 2048;

/** Locks of a thread that ends are marked as such, and one waiter of each is woken (Documentation/locking/robust-futexes.rst). */
function releaseRobust(head: u64): void {
  if (head === 0 || !copyIn(scratch, head, 24)) return;
  const offset = load<u64>(scratch, 8);
  const pending = load<u64>(scratch, 16);
  let entry = load<u64>(scratch);
  for (let i = 0; i < ROBUST_LIMIT && entry !== head; i++) {
    if (!copyIn(scratch, entry, 8)) return;
    const next = load<u64>(scratch);
    if (entry !== pending) releaseLock((entry & ~1) + offset);
    entry = next;
  }
  if (pending !== 0) releaseLock((pending & ~1) + offset);
}

function releaseLock(at: u64): void {
  if (!copyIn(scratch, at, 4)) return;
  const word = load<u32>(scratch);
  if ((word & FUTEX_TID_MASK) !== <u32>current.tid) return;
  store<u32>(scratch, (word & FUTEX_WAITERS) | FUTEX_OWNER_DIED);
  if (copyOut(at, scratch, 4) && (word & FUTEX_WAITERS) !== 0) wakeFutex(at, 1, u32.MAX_VALUE);
}

/** What a thread leaves to others. */
function leave(thread: Thread): void {
  releaseRobust(thread.robustList);
  thread.robustList = 0;
  if (thread.clearTid === 0) return;
  store<u32>(scratch, 0);
  if (copyOut(thread.clearTid, scratch, 4)) wakeFutex(thread.clearTid, 1, u32.MAX_VALUE);
  thread.clearTid = 0;
}

/** The first thread of the process, or null. */
function leader(): Thread | null {
  for (let slot = 0; slot < MAX_THREADS; slot++) {
    const thread = threads[slot];
    if (thread !== null && thread.tid === current.process.pid) return thread;
  }
  return null;
}

export function sysExit(status: u64): i64 {
  if (!current.again) {
    leave(current);
    current.leaving = true;
  }
  let others = 0;
  for (let slot = 0; slot < MAX_THREADS; slot++) {
    const thread = threads[slot];
    if (thread !== null && thread !== current && thread.process === current.process && !thread.leaving) others++;
  }
  const first = leader();
  if (first === current) {
    // Its end is the process's, so it stays until the others have gone. Nothing interrupts it.
    current.blocked = u64.MAX_VALUE;
    return others > 0 ? park(NEVER) : exitProgram(<i32>status & 0xff);
  }
  if (others === 0 && first !== null) first.wake();
  return exitThread();
}

export function sysExitGroup(status: u64): i64 {
  return exitProgram(<i32>status & 0xff);
}

/** Ends the process of the thread; whether the program is over with it. */
export function endProcess(status: i32): bool {
  return true;
}
