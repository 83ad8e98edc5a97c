/** The core of the library OS: what the native half calls, under its lock. It runs to completion and never waits inside. */
import { bootDevices, bootRoot } from './boot';
import { isTime } from './collection';
import { setMemoryLimit } from './fs/chunks';
import { pieceFailed, pieceRead } from './fs/inode';
import { bootProcessors } from './fs/proc';
import { call } from './generated/dispatch';
import { isProtected } from './memory/enforce';
import { isMapped, setStack } from './memory/images';
import { startMemory } from './memory/places';
import { setJit } from './memory/protect';
import { returned } from './memory/return';
import {
  OP_IO,
  OP_ROOT,
  OP_WAIT,
  PENDING,
  THEN_BEGUN,
  THEN_CLONED,
  THEN_CLOSED,
  THEN_EXECED,
  THEN_FORKED,
  THEN_IO,
  THEN_PROTECTED,
  THEN_RESULT,
  THEN_RETURNED,
} from './request';
import { closeFirst, mustClose, transferred } from './net/host';
import { departs, hasPolled } from './net/wait-first';
import { cpuCount, setCpus } from './scheduling';
import { fromHost, setMask, takeFault, takeSignal } from './signals';
import { userStack } from './shim';
import { cloneFailed } from './task/clone';
import { execFailed } from './task/exec';
import { isBack, leaves, threadTime } from './task/cpu-time';
import { endProcess, endWithout, firstProcess, lastSteps } from './task/exit';
import { startFirst } from './task/first';
import { begun, forked, forkFailed } from './task/fork';
import { outbox, setAttending } from './task/outbox';
import { comesBack, giveWay } from './task/residence';
import { current, setCurrentThread, takeWakes, threads } from './task/thread';
import { runTimers, untilTimers } from './task/timers';
import { setWindow } from './terminal';
import { setVerbose } from './unsupported';

export { lastPlan, storeRoom } from './fs/store';
export { mountStore, storeKeyAt, storeKeyBytes, storePolicy, storeWants } from './fs/store-mount';

const SIGWINCH: u32 = 28;
/** Bits of the boot page's flags (src/image/boot.ts). */
const BOOT_VERBOSE: u64 = 1;
const BOOT_NO_HOST_SIGNALS: u64 = 2;
const BOOT_JIT: u64 = 4;
let hostSignals: bool = true;

/** The request of the thread in a slot. */
export function requestAt(slot: i32): usize {
  return threads[slot]!.request;
}

export function start(
  base: u64,
  arena: u64,
  arenaSize: u64,
  stack: u64,
  stackSize: u64,
  manifestSize: u64,
  coreSize: u64,
  flags: u64,
  kinds: u32,
  window: u32,
): void {
  startFirst();
  setMemoryLimit(coreSize);
  startMemory(arena, arenaSize);
  setStack(stack, stackSize);
  setVerbose((flags & BOOT_VERBOSE) !== 0);
  setJit((flags & BOOT_JIT) !== 0);
  hostSignals = (flags & BOOT_NO_HOST_SIGNALS) === 0;
  setWindow(window);
  bootRoot(manifestSize, base);
  bootDevices(kinds);
}

/** Everything that follows is about the thread of this slot. */
@inline function select(slot: i32): void {
  if (current.slot !== slot) setCurrentThread(threads[slot]!);
}

export function syscall(slot: i32, nr: u32, a: u64, b: u64, c: u64, d: u64, e: u64, f: u64): i64 {
  // No call is on the stack here, so this is where the collector may run.
  if (isTime()) __collect();
  select(slot);
  if (current.process.exiting || current.dismissed) return last();
  const result = call(nr, a, b, c, d, e, f);
  const thread = current;
  if (result !== PENDING) return thread.touched || mustClose() ? finish(result) : result;
  thread.number = nr;
  thread.a = a;
  thread.b = b;
  thread.c = c;
  thread.d = d;
  thread.e = e;
  thread.f = f;
  leaves(thread);
  thread.stackAt = thread.process.space.group === null ? 0 : userStack();
  departs(thread);
  return PENDING;
}

/** The thread goes with its process or for another program. */
function last(): i64 {
  const result = lastSteps();
  departs(current);
  return result;
}

/** A started thread is about to run its program: 0, or PENDING as `syscall` returns it. */
export function begin(slot: i32): i64 {
  select(slot);
  current.then = THEN_BEGUN;
  return complete(slot, 0);
}

/** The thread lets another process have its place before it goes on: 0, or PENDING as `syscall` returns it. */
export function yieldPlace(slot: i32, stack: u64): i64 {
  select(slot);
  const result = giveWay(stack);
  if (result === PENDING) leaves(current);
  return result;
}

/** The result of what the thread's latest request asked for. Returns as `syscall` does. */
export function complete(slot: i32, given: i64): i64 {
  select(slot);
  const thread = current;
  isBack(thread);
  // What could not begin does not keep its parent from its place.
  let result = given;
  if (thread.then === THEN_FORKED && !thread.held && result < 0) result = forkFailed(result);
  if (comesBack(thread, result) === PENDING) {
    leaves(thread);
    return PENDING;
  }
  result = thread.heldResult;
  thread.outside = false;
  if (thread.then === THEN_PROTECTED) {
    result = isProtected(result);
    thread.then = THEN_RESULT;
  }
  if (thread.process.space.lost) return finish(endWithout());
  if (thread.polls) {
    result = hasPolled(thread, result);
    if (result === PENDING) {
      leaves(thread);
      return PENDING;
    }
  }
  if (thread.then === THEN_FORKED) return finish(forked(result));
  if (thread.then === THEN_BEGUN) return finish(begun());
  if (thread.then === THEN_RESULT) return finish(result);
  if (thread.then === THEN_IO && transferred(result)) return finish(result);
  if (thread.then === THEN_CLOSED) return finish(thread.result);
  if (thread.then === THEN_RETURNED) {
    returned();
    return finish(0);
  }
  if (thread.then === THEN_CLONED) return finish(result < 0 ? cloneFailed(result) : result);
  if (thread.then === THEN_EXECED) return finish(result < 0 ? execFailed(result) : result);
  const operation = load<u64>(thread.request);
  if (operation === OP_ROOT) {
    if (result !== 0) return finish(pieceFailed());
    pieceRead();
  }
  thread.waitResult = operation === OP_WAIT || operation >= OP_IO ? result : -1;
  thread.again = true;
  thread.unwatch();
  if (thread.process.exiting || thread.dismissed) return last();
  return finish(call(thread.number, thread.a, thread.b, thread.c, thread.d, thread.e, thread.f));
}

/** What a call leaves with its thread ends with it. */
function finish(result: i64): i64 {
  if (result === PENDING) {
    leaves(current);
    departs(current);
    return result;
  }
  const thread = current;
  thread.waitResult = -1;
  thread.again = false;
  thread.touched = false;
  thread.deadline = 0;
  thread.done = 0;
  thread.many = 0;
  thread.lookedFrom = 0;
  thread.unwatch();
  if (!mustClose()) return result;
  leaves(thread);
  const closing = closeFirst(result);
  departs(thread);
  return closing;
}

export function signal(slot: i32, stack: u64): i32 {
  select(slot);
  return takeSignal(stack);
}

export function fault(slot: i32, number: u32, stack: u64): i32 {
  select(slot);
  return takeFault(number, stack);
}

/** Whether the process has memory there, whatever it may do with it: SEGV_ACCERR, else SEGV_MAPERR. */
export function hasMemory(slot: i32, address: u64): bool {
  select(slot);
  return isMapped(address & ~4095, 4096);
}

export function mask(slot: i32, value: u64, base: u64, flags: u32, size: u64): void {
  select(slot);
  setMask(value, base, flags, size);
}

/** How many CPUs the host says there are. */
export function cpus(count: u32): void {
  setCpus(count);
  bootProcessors(cpuCount());
}

/** Where the native half looks when it gives the lock back (core/task/outbox.ts). */
export function outboxAt(): usize {
  return outbox;
}

/** Timers, and a signal of the host's with its value; nanoseconds until the next timer, or -1. */
export function attend(signal: u32, value: u32): i64 {
  setAttending(true);
  runTimers();
  if (hostSignals && signal !== 0) {
    if (signal === SIGWINCH) setWindow(value);
    const process = firstProcess();
    if (process !== null) fromHost(process, signal);
  }
  setAttending(false);
  return untilTimers();
}

/** The thread has left for good: its slot may be used again. */
export function gone(slot: i32): void {
  const thread = threads[slot]!;
  thread.process.spent += threadTime(thread);
  threads[slot]!.free();
  threads[slot] = null;
}

/** A signal ends the process of a thread: what is to be done with the thread is then in its request. */
export function end(slot: i32, signal: i32): void {
  select(slot);
  endProcess(signal);
  departs(current);
}

export function wakes(): u64 {
  return takeWakes();
}
