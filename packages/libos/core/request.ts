/**
 * What the core asks to have done outside. A system call that cannot be completed inside leaves a request and returns
 * PENDING; the native half carries it out and calls `complete` with the result. Nothing of a call lives on the stack
 * meanwhile: either the result is the call's own, or the call is made again from its arguments.
 */
export const PENDING: i64 = i64.MIN_VALUE;

const OP_WRITE: u64 = 1;
const OP_READ: u64 = 2;
export const OP_ROOT: u64 = 3;
export const OP_WAIT: u64 = 4;
const OP_EXIT: u64 = 5;
const OP_NOTE: u64 = 6;

/** What becomes of the result: it is the call's own, or the call is made again. */
export const THEN_RESULT: i32 = 0;
export const THEN_RETRY: i32 = 1;

/** u64 operation and six arguments; then whether a signal waits (core/signals.ts). */
export const request: usize = memory.data(64, 8);
export let then: i32 = THEN_RESULT;

function ask(op: u64, a: u64, b: u64, c: u64, d: u64, after: i32): i64 {
  store<u64>(request, op);
  store<u64>(request, a, 8);
  store<u64>(request, b, 16);
  store<u64>(request, c, 24);
  store<u64>(request, d, 32);
  then = after;
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

export function exitProgram(status: i32): i64 {
  return ask(OP_EXIT, <u64>(<i64>status), 0, 0, 0, THEN_RESULT);
}

/** A line for whoever watches; the call under way is made again. */
export function note(text: usize, length: u32): i64 {
  return ask(OP_NOTE, text, length, 0, 0, THEN_RETRY);
}
