/**
 * What the core asks to have done outside. A system call that cannot be completed inside leaves a request with its thread
 * and returns PENDING; the native half carries it out and calls `complete` with the result. Nothing of a call lives on the
 * stack meanwhile: either the result is the call's own, or the call is made again from its arguments.
 */
import { current } from './task/thread';

export const PENDING: i64 = i64.MIN_VALUE;

const OP_WRITE: u64 = 1;
const OP_READ: u64 = 2;
export const OP_ROOT: u64 = 3;
export const OP_WAIT: u64 = 4;
const OP_EXIT: u64 = 5;
const OP_NOTE: u64 = 6;
const OP_PARK: u64 = 7;
const OP_CLONE: u64 = 8;
const OP_THREAD_EXIT: u64 = 9;
const OP_VFORK: u64 = 10;
const OP_YIELD: u64 = 24;
const OP_FORK: u64 = 26;
const OP_END_VFORK: u64 = 11;
const OP_EXEC_CHILD: u64 = 12;
const OP_EXEC: u64 = 13;

/** What becomes of the result: it is the call's own, or the call is made again. */
export const THEN_RESULT: i32 = 0;
export const THEN_RETRY: i32 = 1;
/** A thread that could not be started has to go again. */
export const THEN_CLONED: i32 = 2;
/** A transfer of the host's: it may have to go on (core/net/host.ts). */
export const THEN_IO: i32 = 3;
/** A descriptor of the host has been closed: the call's own result follows. */
export const THEN_CLOSED: i32 = 16;
/** Memory has gone back to the host (memory/return.ts). */
export const THEN_RETURNED: i32 = 17;
/** Pages have lost permissions (memory/protect.ts). */
export const THEN_PROTECTED: i32 = 20;
/** A process that could not be started has to go again; a thread begins. */
export const THEN_FORKED: i32 = 18;
export const THEN_BEGUN: i32 = 19;
/** From here on operations are core/net/host.ts's. */
export const OP_IO: u64 = 32;
/** A child whose thread could not be started has ended. */
export const THEN_EXECED: i32 = 4;

/** Behind the operation (u64) and its six arguments: whether a signal waits (core/signals.ts). */
export const WAITING: usize = 56;

export function ask(op: u64, a: u64, b: u64, c: u64, d: u64, after: i32): i64 {
  const request = current.request;
  store<u64>(request, op);
  store<u64>(request, a, 8);
  store<u64>(request, b, 16);
  store<u64>(request, c, 24);
  store<u64>(request, d, 32);
  current.then = after;
  return PENDING;
}

export function hostWrite(fd: u32, user: u64, length: u64, after: i32 = THEN_RESULT): i64 {
  return ask(OP_WRITE, fd, user, length, 0, after);
}

export function hostRead(fd: u32, user: u64, length: u64, after: i32 = THEN_RESULT): i64 {
  return ask(OP_READ, fd, user, length, 0, after);
}

/** A block of the root into the core's memory; the call that needs it is made again. */
export function rootRead(offset: u64, length: u32, to: usize, digest: usize): i64 {
  return ask(OP_ROOT, offset, length, to, digest, THEN_RETRY);
}

/** Waits until one of three host descriptors (bits) is readable or the time is over; -1 is for ever. */
export function hostWait(fds: u32, milliseconds: i64, after: i32): i64 {
  return ask(OP_WAIT, fds, <u64>milliseconds, 0, 0, after);
}

/** Sleeps until woken or until a time on clock 1; the call is made again. Use `park` of task/queue.ts. */
export function requestPark(until: u64): i64 {
  return ask(OP_PARK, until, 0, 0, 0, THEN_RETRY);
}

/** Lets others run; the call is made again. */
export function requestYield(): i64 {
  return ask(OP_YIELD, 0, 0, 0, 0, THEN_RETRY);
}

/** Starts the thread of a slot with the registers of the caller, but for these. */
export function startThread(slot: i32, tid: i32, stack: u64, fs: u64): i64 {
  return ask(OP_CLONE, slot, tid, stack, fs, THEN_CLONED);
}

/** The same for the thread of another process, with the caller's vector registers by way of the core's memory. */
export function startFork(slot: i32, pid: i32, stack: u64, fs: u64, vectors: usize): i64 {
  store<u64>(current.request, vectors, 40);
  return ask(OP_FORK, slot, pid, stack, fs, THEN_FORKED);
}

/** The thread goes on as a child, on another stack if that is not 0; its registers are kept for the parent. */
export function startVfork(stack: u64): i64 {
  return ask(OP_VFORK, stack, 0, 0, 0, THEN_RESULT);
}

/** The thread goes on as the parent that it was, behind the call that made the child. */
export function endVfork(pid: i32): i64 {
  return ask(OP_END_VFORK, pid, 0, 0, 0, THEN_RESULT);
}

/** A child's program starts in a thread of its own slot; the calling thread goes on as the parent that it was. */
export function startProgram(slot: i32, pid: i32, entry: u64, stack: u64): i64 {
  return ask(OP_EXEC_CHILD, slot, pid, entry, stack, THEN_EXECED);
}

/** The calling thread goes on at the beginning of a program. */
export function execSelf(entry: u64, stack: u64): i64 {
  return ask(OP_EXEC, entry, stack, 0, 0, THEN_RESULT);
}

/** The program is over. */
export function exitProgram(status: i32): i64 {
  return ask(OP_EXIT, <u64>(<i64>status), 0, 0, 0, THEN_RESULT);
}

/** The calling thread is over. */
export function exitThread(): i64 {
  return ask(OP_THREAD_EXIT, 0, 0, 0, 0, THEN_RESULT);
}

/** A line for whoever watches; the call under way is made again. */
export function note(text: usize, length: u32): i64 {
  return ask(OP_NOTE, text, length, 0, 0, THEN_RETRY);
}
