/**
 * Child processes that share their parent's memory until they run another program: vfork, and clone with CLONE_VM and
 * CLONE_VFORK (posix_spawn). Until then one is the thread of its parent, whose registers the native half keeps; exec gives it
 * a thread of its own, and the parent goes on.
 */
import { EAGAIN, ENOSYS } from '../errno';
import { copyTable, setFiles } from '../fs/open-file';
import { startVfork } from '../request';
import { look } from '../signals';
import { nextId, Process } from './process';
import { current, Thread } from './thread';

const CLONE_VM: u64 = 0x100;
const CLONE_FILES: u64 = 0x400;
const CLONE_VFORK: u64 = 0x4000;
const CLONE_SETTLS: u64 = 0x8_0000;
const CLONE_PARENT_SETTID: u64 = 0x10_0000;
const CLONE_CHILD_SETTID: u64 = 0x100_0000;
/** Children of children that have not run a program; the native half keeps as many sets of registers. */
const MAX_DEPTH = 4;
const MAX_CHILDREN = 256;

/** A parent that waits for its child to run a program or to end. */
export class Suspended {
  constructor(
    public process: Process,
    public tid: i32,
    public blocked: u64,
    public clearTid: u64,
    public robustList: u64,
  ) {}
}

/** clone without CLONE_THREAD and with CLONE_VM: only where the parent waits. */
export function cloneShared(flags: u64, stack: u64): i64 {
  const shared = CLONE_VM | CLONE_VFORK;
  if ((flags & shared) !== shared || (flags & (CLONE_SETTLS | CLONE_FILES | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID)) !== 0)
    return ENOSYS;
  const thread = current;
  const parent = thread.process;
  if (thread.parents.length >= MAX_DEPTH || parent.children.length >= MAX_CHILDREN) return EAGAIN;
  const child = new Process(nextId(), parent, parent.cwd);
  child.umask = parent.umask;
  child.files = copyTable(parent.files);
  memory.copy(child.actions, parent.actions, 65 * 32);
  parent.children.push(child);
  thread.parents.push(new Suspended(parent, thread.tid, thread.blocked, thread.clearTid, thread.robustList));
  become(thread, child, child.pid);
  thread.clearTid = 0;
  thread.robustList = 0;
  return startVfork(stack);
}

export function sysVfork(): i64 {
  return cloneShared(CLONE_VM | CLONE_VFORK, 0);
}

function become(thread: Thread, process: Process, tid: i32): void {
  thread.process = process;
  thread.tid = tid;
  setFiles(process.files);
  look(thread);
}

/** Whether the thread stands in for a child of its own process. */
export function isVforked(thread: Thread): bool {
  return thread.parents.length > 0;
}

/** The thread is its parent's again; the native half brings the registers back. */
export function resumeParent(thread: Thread): void {
  const before = thread.parents.pop();
  become(thread, before.process, before.tid);
  thread.blocked = before.blocked;
  thread.clearTid = before.clearTid;
  thread.robustList = before.robustList;
}
