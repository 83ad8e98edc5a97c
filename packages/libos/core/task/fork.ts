/**
 * fork, and clone without CLONE_VM: a process with the same books, whose bytes are those of the caller until one of them
 * writes (task/residence.ts). The child of a process with one thread is in place first, as most run another program at
 * once; where other threads of the caller run on, the child waits for its place.
 */
import { EAGAIN, EINVAL, ENOMEM } from '../errno';
import { leftMuch } from '../collection';
import { closeAll, copyTable } from '../fs/open-file';
import { copyProgram } from '../fs/proc';
import { copySpace, Space } from '../memory/space';
import { copyAttachments, dropAttachments } from '../shm';
import { startFork, WAITING } from '../request';
import { getFs, userStack } from '../shim';
import { look } from '../signals';
import { storeU32 } from '../user';
import { forget } from './exit';
import { interruptSlot } from './outbox';
import { nextId, Process } from './process';
import { Group, join, leaveSpace, save } from './residence';
import { current, freeSlot, MAX_THREADS, Thread, threads } from './thread';

const SIGNAL_MASK: u64 = 0xff;
const SIGNALS: u64 = 64;
const CLONE_SETTLS: u64 = 0x8_0000;
const CLONE_PARENT_SETTID: u64 = 0x10_0000;
const CLONE_CHILD_CLEARTID: u64 = 0x20_0000;
const CLONE_CHILD_SETTID: u64 = 0x100_0000;
const KNOWN: u64 = SIGNAL_MASK | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID;
const MAX_CHILDREN = 256;
/** Room for XSAVE, whose place is a multiple of 64. */
const VECTORS: usize = 4096;
/** A table of descriptors and more, in calls until they are collected. */
const GARBAGE = 256;

export function forkProcess(flags: u64, stack: u64, parentTid: u64, childTid: u64, tls: u64): i64 {
  if ((flags & ~KNOWN) !== 0 || (flags & SIGNAL_MASK) > SIGNALS) return EINVAL;
  const caller = current;
  const parent = caller.process;
  const slot = freeSlot();
  if (slot < 0 || parent.children.length >= MAX_CHILDREN) return EAGAIN;

  const from = parent.space;
  const space = copySpace(from);
  const group = join(from, space);
  caller.stackAt = userStack();
  const alone = isAlone(from);
  if (!keep(from, space, group, alone)) return ENOMEM;

  leftMuch(GARBAGE);
  const child = new Process(nextId(), parent, parent.cwd);
  child.space = space;
  child.exitSignal = flags & SIGNAL_MASK;
  child.umask = parent.umask;
  child.files = copyTable(parent.files);
  memory.copy(child.actions, parent.actions, 65 * 32);
  copyProgram(parent.pid, child.pid);
  copyAttachments(parent.pid, child.pid);
  parent.children.push(child);

  const thread = new Thread(child.pid, slot, child);
  thread.blocked = caller.blocked;
  thread.stackBase = caller.stackBase;
  thread.stackSize = caller.stackSize;
  thread.stackFlags = caller.stackFlags;
  memory.copy(thread.name, caller.name, 16);
  thread.stackAt = stack !== 0 ? stack : caller.stackAt;
  if ((flags & CLONE_CHILD_CLEARTID) !== 0) thread.clearTid = childTid;
  if ((flags & CLONE_CHILD_SETTID) !== 0) thread.setTid = childTid;
  if ((flags & CLONE_PARENT_SETTID) !== 0) caller.setTid = parentTid;
  thread.vectors = heap.alloc(VECTORS + 64);
  threads[slot] = thread;
  const vectors = (thread.vectors + 63) & ~63;
  return startFork(slot, child.pid, stack, (flags & CLONE_SETTLS) !== 0 ? tls : getFs(), vectors);
}

/** Whether one thread has this memory. */
function isAlone(space: Space): bool {
  let count = 0;
  for (let slot = 0; slot < MAX_THREADS; slot++) {
    const thread = threads[slot];
    if (thread !== null && thread.process.space === space) count++;
  }
  return count === 1;
}

/** Keeps the bytes for the one that is not in place; false when there is no memory. */
function keep(from: Space, space: Space, group: Group, alone: bool): bool {
  if (!save(from, group)) {
    leaveSpace(space);
    return false;
  }
  if (alone) group.resident = space;
  else {
    space.copy = from.copy;
    from.copy = null;
  }
  return true;
}

/** The host has no thread for it: `result` is minus one and the slot. Nothing of it stays. */
export function forkFailed(result: i64): i64 {
  const slot = <i32>(-1 - result);
  const thread = threads[slot]!;
  const child = thread.process;
  closeAll(child.files);
  dropAttachments(child.pid);
  leaveSpace(child.space);
  forget(current.process, child);
  thread.free();
  threads[slot] = null;
  current.setTid = 0;
  return EAGAIN;
}

/** The caller has its place again: it is told the number. */
export function forked(pid: i64): i64 {
  if (current.setTid !== 0 && pid > 0) storeU32(current.setTid, <u32>pid);
  current.setTid = 0;
  return pid;
}

/** The child has its place, and begins. */
export function begun(): i64 {
  if (current.setTid !== 0) storeU32(current.setTid, current.tid);
  current.setTid = 0;
  // A signal that came before is looked for when it is interrupted.
  look(current);
  if (load<u64>(current.request, WAITING) !== 0) interruptSlot(current.slot);
  return 0;
}
