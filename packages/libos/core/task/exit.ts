/** The end of threads and of processes. */
import { closeAll } from '../fs/open-file';
import { forgetProgram } from '../fs/proc';
import { endVfork, exitProgram, exitThread } from '../request';
import { copyIn, copyOut } from '../shim';
import { dropAttachments } from '../shm';
import { look, reassign, sendTo, SI_CHILD } from '../signals';
import { scratch } from '../user';
import { processTime } from './cpu-time';
import { keyOf, wakeFutex } from './futex';
import { FIRST_PID, Process } from './process';
import { NEVER, park } from './queue';
import { leaveSpace } from './residence';
import { current, MAX_THREADS, Thread, threads } from './thread';
import { releaseOrphans } from './stops';
import { dropTimers } from './timers';
import { isVforked, resumeParent } from './vfork';

const FUTEX_WAITERS: u32 = 0x8000_0000;
const FUTEX_OWNER_DIED: u32 = 0x4000_0000;
const FUTEX_TID_MASK: u32 = 0x3fff_ffff;
const ROBUST_LIMIT = 2048;
const SIGCHLD: u64 = 17;
const SIGKILL = 9;
const SIG_IGN: u64 = 1;
const SA_NOCLDWAIT: u64 = 2;

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
  if (copyOut(at, scratch, 4) && (word & FUTEX_WAITERS) !== 0) wakeFutex(keyOf(at), 1, u32.MAX_VALUE);
}

/** What a thread leaves to others. */
function leave(thread: Thread): void {
  if (thread.leaving) return;
  thread.leaving = true;
  reassign(thread.process, u64.MAX_VALUE);
  dropTimers(thread.process, thread, true);
  // Without its memory there is nothing to leave.
  if (thread.process.space.lost) thread.robustList = thread.clearTid = 0;
  releaseRobust(thread.robustList);
  thread.robustList = 0;
  if (thread.clearTid === 0) return;
  store<u32>(scratch, 0);
  if (copyOut(thread.clearTid, scratch, 4)) wakeFutex(keyOf(thread.clearTid), 1, u32.MAX_VALUE);
  thread.clearTid = 0;
}

/** Threads of a process that are not at their end. */
function othersOf(process: Process): i32 {
  let others = 0;
  for (let slot = 0; slot < MAX_THREADS; slot++) {
    const thread = threads[slot];
    if (thread !== null && thread !== current && thread.process === process && !thread.leaving) others++;
  }
  return others;
}

/** The first thread of the process, or null. */
function leaderOf(process: Process): Thread | null {
  for (let slot = 0; slot < MAX_THREADS; slot++) {
    const thread = threads[slot];
    if (thread !== null && thread.process === process && thread.tid === process.pid) return thread;
  }
  return null;
}

/** The last that happens to a process: its parent is told. `status` is as wait4 gives it. */
export function finishProcess(process: Process, status: i32): void {
  process.ended = true;
  process.signalled.wake();
  process.status = status;
  forgetProgram(process.pid);
  dropAttachments(process.pid);
  closeAll(process.files);
  dropTimers(process, null, false);
  // A child that never ran a program of its own has its parent's memory.
  if (process.parent === null || process.space !== process.parent!.space) leaveSpace(process.space);
  const parent = process.parent;
  if (parent !== null) parent.childrenSpent += processTime(process) + process.childrenSpent;
  releaseOrphans(process.children);
  // Whoever is left alone belongs to the first process, which may wait for it or not.
  for (let i = 0; i < process.children.length; i++) {
    const orphan = process.children[i];
    orphan.parent = first;
    if (first === null) continue;
    first!.children.push(orphan);
    if (orphan.ended) first!.childEnded.wake();
  }
  process.children.length = 0;
  if (parent === null) return;
  const action = parent.actions + <usize>SIGCHLD * 32;
  if (load<u64>(action) === SIG_IGN || (load<u64>(action, 8) & SA_NOCLDWAIT) !== 0) forget(parent, process);
  const killed = (status & 0x7f) !== 0;
  if (process.exitSignal !== 0) sendTo(parent, process.exitSignal, killed ? SI_CHILD + 1 : SI_CHILD, <u64>(killed ? status & 0x7f : status >> 8), process.pid);
  parent.childEnded.wake();
}

/** The program's first process. */
let first: Process | null = null;
export function setFirst(process: Process): void {
  first = process;
}
export function firstProcess(): Process | null {
  return first;
}

/** Takes an ended child from its parent's list. */
export function forget(parent: Process, child: Process): void {
  const at = parent.children.indexOf(child);
  if (at >= 0) parent.children.splice(at, 1);
  if (child.ended) child.free();
}

/** The calling thread is at its end. The last one of a process ends that. */
export function sysExit(status: u64): i64 {
  const process = current.process;
  const code = <i32>status & 0xff;
  if (isVforked(current)) return endVforked(code << 8);
  leave(current);
  if (process.exiting) return lastSteps();
  const others = othersOf(process);
  const leader = leaderOf(process);
  if (leader === current) {
    // Its end is the process's, so it stays until the others have gone. Nothing interrupts it.
    current.blocked = u64.MAX_VALUE;
    if (others > 0) return park(NEVER);
    return sysExitGroup(status);
  }
  if (others === 0 && leader !== null) leader.wake();
  return exitThread();
}

export function sysExitGroup(status: u64): i64 {
  return endGroup((<i32>status & 0xff) << 8);
}

/** Ends the process with a status as wait4 gives it: as far as the calling thread is concerned. */
function endGroup(status: i32): i64 {
  const process = current.process;
  if (isVforked(current)) return endVforked(status);
  if (process.pid === FIRST_PID) return exitProgram((status & 0x7f) !== 0 ? 128 + (status & 0x7f) : status >> 8);
  if (!process.exiting) {
    process.exiting = true;
    process.status = status;
    // The others see it at their next call, or when they are interrupted.
    for (let slot = 0; slot < MAX_THREADS; slot++) {
      const thread = threads[slot];
      if (thread === null || thread.process !== process || thread === current) continue;
      look(thread);
      thread.wake();
    }
  }
  leave(current);
  return lastSteps();
}

/** A thread of a process that is ending goes; the last one finishes the process. */
export function lastSteps(): i64 {
  const process = current.process;
  leave(current);
  if (process.exiting && othersOf(process) === 0) finishProcess(process, process.status);
  return exitThread();
}

function endVforked(status: i32): i64 {
  const child = current.process;
  resumeParent(current);
  finishProcess(child, status);
  return endVfork(child.pid);
}

/** There is no memory for the process beside others: it ends as one that was killed. */
export function endWithout(): i64 {
  // Parents that share its thread have lost theirs with it.
  while (isVforked(current)) {
    const child = current.process;
    resumeParent(current);
    finishProcess(child, SIGKILL);
  }
  return endGroup(SIGKILL);
}

/** Ends the process of the thread as a signal does; what is to be done is then in its request. */
export function endProcess(signal: i32): void {
  if (current.process.exiting || current.dismissed) lastSteps();
  else endGroup(signal & 0x7f);
}
