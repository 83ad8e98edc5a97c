/** clone, clone3 and the names of threads. */
import { E2BIG, EAGAIN, EFAULT, EINVAL } from '../errno';
import { startThread } from '../request';
import { copyIn, getFs } from '../shim';
import { scratch, storeU32 } from '../user';
import { forkProcess } from './fork';
import { nextId } from './process';
import { current, freeSlot, Thread, threads } from './thread';
import { cloneShared } from './vfork';

const SIGCHLD: u64 = 17;
const CLONE_VM: u64 = 0x100;
const CLONE_THREAD: u64 = 0x1_0000;
const CLONE_SETTLS: u64 = 0x8_0000;
const CLONE_PARENT_SETTID: u64 = 0x10_0000;
const CLONE_CHILD_CLEARTID: u64 = 0x20_0000;
const CLONE_CHILD_SETTID: u64 = 0x100_0000;
/** VM, FS, FILES, SIGHAND, THREAD: what makes a thread. */
const THREAD_FLAGS: u64 = 0x1_0f00;
/** And what may be said beside: SYSVSEM, DETACHED, UNTRACED, IO. */
const HARMLESS: u64 = 0x8004_0000 | 0x40_0000 | 0x80_0000 | THREAD_FLAGS | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID;

function clone(flags: u64, stack: u64, parentTid: u64, childTid: u64, tls: u64): i64 {
  if ((flags & CLONE_THREAD) === 0)
    return (flags & CLONE_VM) !== 0 ? cloneShared(flags, stack) : forkProcess(flags, stack, parentTid, childTid, tls);
  if ((flags & THREAD_FLAGS) !== THREAD_FLAGS) return EINVAL;
  if ((flags & ~HARMLESS & ~0xff) !== 0) return EINVAL;
  const slot = freeSlot();
  if (slot < 0) return EAGAIN;
  const tid = nextId();
  if ((flags & CLONE_PARENT_SETTID) !== 0 && storeU32(parentTid, tid) !== 0) return EFAULT;
  if ((flags & CLONE_CHILD_SETTID) !== 0 && storeU32(childTid, tid) !== 0) return EFAULT;
  const thread = new Thread(tid, slot, current.process);
  thread.blocked = current.blocked;
  memory.copy(thread.name, current.name, 16);
  if ((flags & CLONE_CHILD_CLEARTID) !== 0) thread.clearTid = childTid;
  threads[slot] = thread;
  return startThread(slot, tid, stack, (flags & CLONE_SETTLS) !== 0 ? tls : getFs());
}

/** The host has no thread for it. `result` is minus one and the slot. */
export function cloneFailed(result: i64): i64 {
  const slot = <i32>(-1 - result);
  threads[slot]!.free();
  threads[slot] = null;
  return EAGAIN;
}

export function sysFork(): i64 {
  return forkProcess(SIGCHLD, 0, 0, 0, 0);
}

export function sysClone(flags: u64, stack: u64, parentTid: u64, childTid: u64, tls: u64): i64 {
  return clone(flags, stack, parentTid, childTid, tls);
}

/** struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, … */
export function sysClone3(user: u64, size: u64): i64 {
  if (size < 64) return EINVAL;
  if (size > 4096) return E2BIG;
  if (!copyIn(scratch, user, 64)) return EFAULT;
  const stack = load<u64>(scratch, 40);
  const top = stack === 0 ? 0 : stack + load<u64>(scratch, 48);
  return clone(load<u64>(scratch) | load<u64>(scratch, 32), top, load<u64>(scratch, 24), load<u64>(scratch, 16), load<u64>(scratch, 56));
}

export function sysGettid(): i64 {
  return current.tid;
}

export function sysSetTidAddress(user: u64): i64 {
  current.clearTid = user;
  return current.tid;
}
