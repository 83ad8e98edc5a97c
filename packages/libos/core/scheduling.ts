/** Scheduling: threads run as the host lets them, so values are kept, checked as Linux does, and have no effect. */
import { EFAULT, EINVAL, ESRCH } from './errno';
import { copyIn, copyOut } from './shim';
import { requestYield } from './request';
import { current, MAX_THREADS, Thread, threadOf, threads } from './task/thread';
import { scratch, storeU32 } from './user';

const SCHED_FIFO = 1;
const SCHED_RR = 2;
const SCHED_BATCH = 3;
const SCHED_IDLE = 5;
const SLICE: u64 = 100_000_000;

/** Nice value of the process, from −20 to 19. */
let nice: i32 = 0;
let policy: i32 = 0;

function exists(pid: i32): bool {
  const thread: Thread | null = threadOf(pid);
  return pid === 0 || thread !== null || pid === current.process.pid;
}

/** Not 0: why `pid` names nothing here. */
function refuse(pid: i32): i64 {
  if (pid < 0) return EINVAL;
  return exists(pid) ? 0 : ESRCH;
}

function known(which: i32): bool {
  return (which >= 0 && which <= SCHED_BATCH) || which === SCHED_IDLE;
}

/** Whether a policy takes a priority, and which: 0, or 1 to 99. */
function fits(which: i32, priority: i32): bool {
  const real = which === SCHED_FIFO || which === SCHED_RR;
  return real ? priority >= 1 && priority <= 99 : priority === 0;
}

export function sysSchedGetaffinity(pid: u64, size: u64, user: u64): i64 {
  const bytes = maskBytes();
  if (size < bytes || (size & 7) !== 0) return EINVAL;
  if (!exists(<i32>pid)) return ESRCH;
  memory.fill(scratch, 0, bytes);
  for (let cpu = 0; cpu < cpus; cpu++) store<u8>(scratch + (cpu >> 3), load<u8>(scratch + (cpu >> 3)) | (1 << <u8>(cpu & 7)));
  return copyOut(user, scratch, bytes) ? bytes : EFAULT;
}

/** The host's CPUs, as it says. */
let cpus: i32 = 1;
const MOST_CPUS: u32 = 1024;
export function setCpus(count: u32): void {
  cpus = <i32>min(max<u32>(count, 1), MOST_CPUS);
}
export function cpuCount(): i32 {
  return cpus;
}
function maskBytes(): u32 {
  return <u32>(((cpus + 63) >> 6) << 3);
}

/** One of the CPUs has to be among those that are asked for. */
export function sysSchedSetaffinity(pid: u64, size: u64, user: u64): i64 {
  const bytes = size < maskBytes() ? <u32>size : maskBytes();
  if (!copyIn(scratch, user, bytes)) return EFAULT;
  if (!exists(<i32>pid)) return ESRCH;
  for (let cpu = 0; cpu < cpus && <u32>(cpu >> 3) < bytes; cpu++)
    if ((load<u8>(scratch + (cpu >> 3)) & (1 << <u8>(cpu & 7))) !== 0) return 0;
  return EINVAL;
}

/** Where others run too they get the CPU now and then: leaving costs more than most of those who yield want to pay. */
const YIELD_EVERY: u32 = 8;
let yields: u32 = 0;
export function sysSchedYield(): i64 {
  if (current.again || ++yields % YIELD_EVERY !== 0) return 0;
  let others = false;
  for (let slot = 0; slot < MAX_THREADS && !others; slot++) {
    const thread = threads[slot];
    others = thread !== null && thread !== current && thread.leftAt === 0;
  }
  return others ? requestYield() : 0;
}

/** struct sched_attr: size, policy, flags, nice, priority, and what SCHED_DEADLINE wants. */
const ATTRIBUTES: u32 = 48;
export function sysSchedSetattr(pid: u64, user: u64, flags: u64): i64 {
  if (user === 0 || <i32>pid < 0 || flags !== 0) return EINVAL;
  if (!copyIn(scratch, user, ATTRIBUTES)) return EFAULT;
  if (!exists(<i32>pid)) return ESRCH;
  const which = load<i32>(scratch, 4);
  if (!known(which) || !fits(which, load<i32>(scratch, 20))) return EINVAL;
  policy = which;
  priority = load<i32>(scratch, 20);
  if (priority === 0) nice = min(max(load<i32>(scratch, 16), -20), 19);
  return 0;
}

export function sysSchedGetattr(pid: u64, user: u64, size: u64, flags: u64): i64 {
  if (user === 0 || <i32>pid < 0 || <u32>size < ATTRIBUTES || size > 4096 || flags !== 0) return EINVAL;
  if (!exists(<i32>pid)) return ESRCH;
  memory.fill(scratch, 0, ATTRIBUTES);
  store<u32>(scratch, ATTRIBUTES);
  store<i32>(scratch, policy, 4);
  store<i32>(scratch, priority === 0 ? nice : 0, 16);
  store<i32>(scratch, priority, 20);
  return copyOut(user, scratch, ATTRIBUTES) ? 0 : EFAULT;
}

export function sysSchedSetscheduler(pid: u64, which: u64, user: u64): i64 {
  if (<i32>which < 0) return EINVAL;
  policyAsked = <i32>which & ~0x40000000;
  return setParameter(<i32>pid, user);
}
let policyAsked: i32 = 0;

export function sysSchedSetparam(pid: u64, user: u64): i64 {
  policyAsked = policy;
  return setParameter(<i32>pid, user);
}

function setParameter(pid: i32, user: u64): i64 {
  if (user === 0 || pid < 0) return EINVAL;
  if (!copyIn(scratch, user, 4)) return EFAULT;
  if (!exists(pid)) return ESRCH;
  if (!known(policyAsked) || !fits(policyAsked, load<i32>(scratch))) return EINVAL;
  policy = policyAsked;
  priority = load<i32>(scratch);
  return 0;
}
let priority: i32 = 0;

export function sysSchedGetscheduler(pid: u64): i64 {
  const refused = refuse(<i32>pid);
  return refused !== 0 ? refused : policy;
}

export function sysSchedGetparam(pid: u64, user: u64): i64 {
  if (user === 0) return EINVAL;
  const refused = refuse(<i32>pid);
  return refused !== 0 ? refused : storeU32(user, <u32>priority);
}

export function sysSchedGetPriorityMax(which: u64): i64 {
  if (!known(<i32>which)) return EINVAL;
  return fits(<i32>which, 99) ? 99 : 0;
}

export function sysSchedGetPriorityMin(which: u64): i64 {
  if (!known(<i32>which)) return EINVAL;
  return fits(<i32>which, 1) ? 1 : 0;
}

export function sysSchedRrGetInterval(pid: u64, user: u64): i64 {
  const refused = refuse(<i32>pid);
  if (refused !== 0) return refused;
  store<u64>(scratch, 0);
  store<u64>(scratch, SLICE, 8);
  return copyOut(user, scratch, 16) ? 0 : EFAULT;
}

/** Of a process (0), its group (1) or its user (2). */
function refuseWho(which: u64, who: u64): i64 {
  if (which > 2) return EINVAL;
  if (<i32>who === 0) return 0;
  if (which === 0) return exists(<i32>who) ? 0 : ESRCH;
  return which === 1 && <i32>who === current.process.pgid ? 0 : ESRCH;
}

/** The system call’s value is 20 − nice, so that it is never negative. */
export function sysGetpriority(which: u64, who: u64): i64 {
  const refused = refuseWho(which, who);
  return refused !== 0 ? refused : 20 - nice;
}

export function sysSetpriority(which: u64, who: u64, value: u64): i64 {
  const refused = refuseWho(which, who);
  if (refused !== 0) return refused;
  nice = min(max(<i32>value, -20), 19);
  return 0;
}

/** Priorities of input and output: of a process, a group, a user. */
export function sysIoprioGet(which: u64, who: u64): i64 {
  if (which < 1 || which > 3) return EINVAL;
  return which !== 1 || exists(<i32>who) ? 0 : ESRCH;
}

/** Asked what it can (0) it says nothing: other threads cannot be made to pass a barrier. */
export function sysMembarrier(command: u64): i64 {
  return command === 0 ? 0 : EINVAL;
}

export function sysGetcpu(cpu: u64, node: u64): i64 {
  // Where the host runs a thread is not known: each has a number of its own as far as they go.
  if (cpu !== 0 && storeU32(cpu, current.slot % cpus) !== 0) return EFAULT;
  return node !== 0 ? storeU32(node, 0) : 0;
}
