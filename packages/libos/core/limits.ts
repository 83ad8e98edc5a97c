/** Limits of the process: kept and told; the number of descriptors, memory and stack have their own. */
import { EFAULT, EINVAL, EPERM, ESRCH } from './errno';
import { OPEN_MAX } from './fs/open-file';
import { stackBytes } from './memory/images';
import { copyIn, copyOut } from './shim';
import { current } from './task/thread';
import { scratch } from './user';

const INFINITY: u64 = u64.MAX_VALUE;
const COUNT: i32 = 16;
const STACK: i32 = 3;
const CORE: i32 = 4;
const PROCESSES: i32 = 6;
const DESCRIPTORS: i32 = 7;
const THREADS: u64 = 64;

const soft = new StaticArray<u64>(COUNT);
const hard = new StaticArray<u64>(COUNT);
let known: bool = false;

function begin(): void {
  if (known) return;
  known = true;
  for (let i = 0; i < COUNT; i++) soft[i] = hard[i] = INFINITY;
  // RLIMIT_MEMLOCK is without limit; of nice values and priorities there are none to raise.
  hard[13] = soft[13] = 0;
  hard[14] = soft[14] = 0;
  soft[CORE] = 0;
  soft[STACK] = stackBytes();
  soft[PROCESSES] = hard[PROCESSES] = THREADS;
  soft[DESCRIPTORS] = hard[DESCRIPTORS] = OPEN_MAX;
}

export function sysPrlimit(pid: u64, resource: u64, next: u64, user: u64): i64 {
  begin();
  if (resource >= <u64>COUNT) return EINVAL;
  const i = <i32>resource;
  let nextSoft: u64 = 0;
  let nextHard: u64 = 0;
  if (next !== 0) {
    if (!copyIn(scratch, next, 16)) return EFAULT;
    nextSoft = load<u64>(scratch);
    nextHard = load<u64>(scratch, 8);
  }
  if (<i32>pid !== 0 && <i32>pid !== current.process.pid) return ESRCH;
  const before = soft[i];
  const beforeHard = hard[i];
  if (next !== 0) {
    if (nextSoft > nextHard) return EINVAL;
    // The table of descriptors and the stack are as large as they are.
    if (nextHard > beforeHard) return EPERM;
    soft[i] = nextSoft;
    hard[i] = nextHard;
  }
  if (user === 0) return 0;
  store<u64>(scratch, before);
  store<u64>(scratch, beforeHard, 8);
  return copyOut(user, scratch, 16) ? 0 : EFAULT;
}

export function sysGetrlimit(resource: u64, user: u64): i64 {
  if (user === 0) return EFAULT;
  return sysPrlimit(0, resource, 0, user);
}

export function sysSetrlimit(resource: u64, user: u64): i64 {
  if (user === 0) return EFAULT;
  return sysPrlimit(0, resource, user, 0);
}

/** First descriptor that may not be used. */
export function descriptorLimit(): i32 {
  begin();
  return soft[DESCRIPTORS] < <u64>OPEN_MAX ? <i32>soft[DESCRIPTORS] : OPEN_MAX;
}
