/**
 * Processes that are stopped and continued: by SIGSTOP and, where nothing else is said, by the signals of job control. A thread of a
 * stopped process waits where it would otherwise go on: at the end of its call, or in the midst of its program (task/residence.ts).
 */
import { bit, dropPending, ignored, look, sendTo, takerOf } from '../signals';
import { foreground } from '../tty';
import { tellStopped } from './outbox';
import { Process } from './process';
import { current, MAX_THREADS, Thread, threads } from './thread';

const SIGHUP: u64 = 1;
const SIGKILL: u64 = 9;
const SIGCHLD: u64 = 17;
const SIGCONT: u64 = 18;
const SIGSTOP: u64 = 19;
const SIGTTIN: u64 = 21;
/** SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU. */
const STOPS: u64 = 0x3c_0000;
const SA_NOCLDSTOP: u64 = 1;
const CLD_STOPPED = 5;
const CLD_CONTINUED = 6;

export function isStop(signal: u64): bool {
  return (STOPS & bit(signal)) !== 0;
}

/** The parent is told, unless it does not want to be. */
function tellParent(process: Process, code: i32, signal: u64): void {
  const parent = process.parent;
  if (parent === null || parent.ended) return;
  if ((load<u64>(parent.actions + <usize>SIGCHLD * 32, 8) & SA_NOCLDSTOP) === 0) sendTo(parent, SIGCHLD, code, signal, process.pid);
  parent.childEnded.wake();
}

function lookAll(process: Process): void {
  for (let slot = 0; slot < MAX_THREADS; slot++) {
    const thread = threads[slot];
    if (thread === null || thread.process !== process) continue;
    look(thread);
    thread.wake();
  }
}

export function stop(process: Process, signal: u64): void {
  if (process.stopped !== 0 || process.ended || process.exiting) return;
  process.stopped = signal;
  process.stopNews = true;
  process.continueNews = false;
  lookAll(process);
  tellParent(process, CLD_STOPPED, signal);
  // Whoever runs the program is the parent of its first process.
  if (process.parent === null) tellStopped();
}

function resume(process: Process): void {
  process.stopped = 0;
  process.stopNews = false;
  lookAll(process);
}

/** Whether nobody of a group has a parent of the same session outside of it, who could continue it. */
function isOrphaned(group: i32): bool {
  for (let slot = 0; slot < MAX_THREADS; slot++) {
    const thread = threads[slot];
    if (thread === null || thread.process.pgid !== group) continue;
    const parent = thread.process.parent;
    if (parent === null || (!parent.ended && parent.pgid !== group && parent.sid === thread.process.sid)) return false;
  }
  return true;
}

/**
 * What a signal does to a process before it is anybody's to take. True: that is all.
 * @param only the thread that it is for, if it is for one
 */
export function stopsOrContinues(process: Process, signal: u64, only: Thread | null): bool {
  if (signal === SIGKILL) {
    if (process.stopped !== 0) resume(process);
    return false;
  }
  if (signal === SIGCONT) {
    dropPending(process, STOPS);
    if (process.stopped === 0) return false;
    resume(process);
    process.continueNews = true;
    tellParent(process, CLD_CONTINUED, SIGCONT);
    return false;
  }
  if (!isStop(signal)) return false;
  dropPending(process, bit(SIGCONT));
  if (signal === SIGSTOP) {
    stop(process, signal);
    return true;
  }
  if (load<u64>(process.actions + <usize>signal * 32) !== 0) return false;
  const blocked = only !== null ? (only.blocked & bit(signal)) !== 0 : takerOf(process, signal) === null;
  if (blocked) return false;
  if (!isOrphaned(process.pgid)) stop(process, signal);
  return true;
}

/** A signal of job control that was blocked until now is taken. */
export function stopNow(signal: u64): void {
  if (signal === SIGSTOP || !isOrphaned(current.process.pgid)) stop(current.process, signal);
}

/** Whether a thread waits until its process is continued. */
export function isStopped(thread: Thread): bool {
  const process = thread.process;
  return process.stopped !== 0 && !process.exiting && !thread.dismissed && !process.space.lost;
}

/** Stopped children of a process that ends, which nobody would continue: they are told, and go on. */
export function releaseOrphans(children: Array<Process>): void {
  for (let i = 0; i < children.length; i++) {
    const child = children[i];
    if (child.stopped === 0 || !isOrphaned(child.pgid)) continue;
    sendTo(child, SIGHUP, 0, 0, child.pid);
    sendTo(child, SIGCONT, 0, 0, child.pid);
  }
}

/** What becomes of the calling process's use of the terminal. */
export const TERMINAL_MAY = 0;
/** The call is made again once it is continued, or behind a handler. */
export const TERMINAL_WAITS = 1;
export const TERMINAL_NEVER = 2;

/** The calling process uses the terminal: in the background it is sent a signal, for reading SIGTTIN. */
export function usesTerminal(signal: u64): i32 {
  const process = current.process;
  if (foreground === 0 || process.pgid === foreground) return TERMINAL_MAY;
  if ((current.blocked & bit(signal)) !== 0 || ignored(process, signal)) return signal === SIGTTIN ? TERMINAL_NEVER : TERMINAL_MAY;
  if (isOrphaned(process.pgid)) return TERMINAL_NEVER;
  for (let slot = 0; slot < MAX_THREADS; slot++) {
    const thread = threads[slot];
    if (thread !== null && thread.tid === thread.process.pid && thread.process.pgid === process.pgid)
      sendTo(thread.process, signal, 0x80, 0, 0);
  }
  return TERMINAL_WAITS;
}
