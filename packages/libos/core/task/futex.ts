/**
 * futex (futex(2)): words of the program's memory that threads wait for. What names one is its address, with the process
 * where others may have theirs in the same place.
 */
import { EAGAIN, EFAULT, EINVAL, ENOSYS, ESRCH, ETIMEDOUT } from '../errno';
import { isShared } from '../memory/space';
import { copyIn, copyOut } from '../shim';
import { scratch, storeU64 } from '../user';
import { deadline, deadlineAt, NEVER, park, Queue, timedOut, watch } from './queue';
import { current, Thread, threadOf } from './thread';

const PRIVATE: u32 = 128;
const REALTIME: u32 = 256;
const WAIT: u32 = 0;
const WAKE: u32 = 1;
const REQUEUE: u32 = 3;
const CMP_REQUEUE: u32 = 4;
const WAKE_OP: u32 = 5;
const WAIT_BITSET: u32 = 9;
const WAKE_BITSET: u32 = 10;
const NANO: u64 = 1_000_000_000;

const queues = new Map<u64, Queue>();

const SHARED_KEY: u64 = 0xffff << 48;

/** The name of the futex at an address of the calling thread. */
export function keyOf(at: u64, own: bool = false): u64 {
  const space = current.process.space;
  if (!own && isShared(at)) return at | SHARED_KEY;
  return at | space.key;
}

function queueOf(at: u64): Queue {
  if (queues.has(at)) return queues.get(at);
  const queue = new Queue();
  queues.set(at, queue);
  return queue;
}

/** Wakes up to `count` threads that wait for a word with one of these bits; how many. */
export function wakeFutex(at: u64, count: i32, bits: u32): i32 {
  if (!queues.has(at)) return 0;
  const waiters = queues.get(at).waiters;
  let woken = 0;
  for (let i = 0; i < waiters.length && woken < count; ) {
    const thread = waiters[i];
    if ((thread.futexBits & bits) === 0) {
      i++;
      continue;
    }
    waiters.splice(i, 1);
    thread.futex = null;
    thread.futexAt = at;
    thread.futexWoken = true;
    thread.wake();
    woken++;
  }
  if (waiters.length === 0) queues.delete(at);
  return woken;
}

/** Moves up to `count` waiters to another word. */
function requeue(from: u64, to: u64, count: i32): i32 {
  if (from === to || !queues.has(from)) return 0;
  const waiters = queues.get(from).waiters;
  const target = queueOf(to);
  let moved = 0;
  while (waiters.length > 0 && moved < count) {
    const thread = waiters.shift();
    thread.futex = target;
    thread.futexAt = to;
    target.waiters.push(thread);
    moved++;
  }
  if (waiters.length === 0) queues.delete(from);
  if (target.waiters.length === 0) queues.delete(to);
  return moved;
}

/** Takes the calling thread from where it waits. */
function stopWaiting(): void {
  const queue = current.futex;
  if (queue === null) return;
  queue.remove(current);
  if (queue.waiters.length === 0) queues.delete(current.futexAt);
  current.futex = null;
}

function wait(at: u64, expected: u32, timeout: u64, operation: u32, bits: u32): i64 {
  if (bits === 0 || (at & 3) !== 0) return EINVAL;
  if (!current.again) {
    if (!copyIn(scratch, at, 4)) return EFAULT;
    if (load<u32>(scratch) !== expected) return EAGAIN;
    if (timeout !== 0) {
      if (!copyIn(scratch, timeout, 16)) return EFAULT;
      if (load<i64>(scratch) < 0 || load<u64>(scratch, 8) >= NANO) return EINVAL;
      const time = load<u64>(scratch) * NANO + load<u64>(scratch, 8);
      if ((operation & 0x7f) === WAIT) deadline(time);
      else deadlineAt((operation & REALTIME) !== 0 ? 0 : 1, time);
    } else deadline(NEVER);
    const key = keyOf(at, (operation & PRIVATE) !== 0);
    const queue = queueOf(key);
    queue.waiters.push(current);
    current.futex = queue;
    current.futexAt = key;
    current.futexBits = bits;
    current.futexWoken = false;
  }
  if (current.futexWoken) return 0;
  if (timedOut()) {
    stopWaiting();
    return ETIMEDOUT;
  }
  const result = park(current.deadline, timeout === 0);
  if (result < 0 && result !== i64.MIN_VALUE) stopWaiting();
  return result;
}

/** FUTEX_WAKE_OP: changes the second word, wakes waiters of the first, and those of the second if it had been so. */
function wakeOperation(at: u64, count: i32, second: u64, secondCount: i32, code: u32, own: bool): i64 {
  if (((at | second) & 3) !== 0) return EINVAL;
  if (!copyIn(scratch, second, 4)) return EFAULT;
  const before = load<i32>(scratch);
  let operand = <i32>(code << 8) >> 20;
  const comparand = <i32>(code << 20) >> 20;
  if (((code >> 28) & 8) !== 0) operand = 1 << (operand & 31);
  let after = before;
  switch ((code >> 28) & 7) {
    case 0:
      after = operand;
      break;
    case 1:
      after = before + operand;
      break;
    case 2:
      after = before | operand;
      break;
    case 3:
      after = before & ~operand;
      break;
    case 4:
      after = before ^ operand;
      break;
    default:
      return ENOSYS;
  }
  store<i32>(scratch, after);
  if (!copyOut(second, scratch, 4)) return EFAULT;
  let also: bool;
  switch ((code >> 24) & 15) {
    case 0:
      also = before === comparand;
      break;
    case 1:
      also = before !== comparand;
      break;
    case 2:
      also = before < comparand;
      break;
    case 3:
      also = before <= comparand;
      break;
    case 4:
      also = before > comparand;
      break;
    case 5:
      also = before >= comparand;
      break;
    default:
      return ENOSYS;
  }
  return wakeFutex(keyOf(at, own), count, u32.MAX_VALUE) + (also ? wakeFutex(keyOf(second, own), secondCount, u32.MAX_VALUE) : 0);
}

export function sysFutex(at: u64, operation64: u64, value: u64, fourth: u64, second: u64, sixth: u64): i64 {
  const operation = <u32>operation64;
  const count = <i32>value < 0 ? i32.MAX_VALUE : <i32>value;
  const own = (operation & PRIVATE) !== 0;
  switch (operation & ~(PRIVATE | REALTIME)) {
    case WAIT:
      return wait(at, <u32>value, fourth, operation, u32.MAX_VALUE);
    case WAIT_BITSET:
      return wait(at, <u32>value, fourth, operation, <u32>sixth);
    case WAKE:
      return (at & 3) !== 0 ? EINVAL : wakeFutex(keyOf(at, own), count, u32.MAX_VALUE);
    case WAKE_BITSET:
      return <u32>sixth === 0 || (at & 3) !== 0 ? EINVAL : wakeFutex(keyOf(at, own), count, <u32>sixth);
    case REQUEUE:
    case CMP_REQUEUE: {
      if (((at | second) & 3) !== 0 || <i32>value < 0 || <i32>fourth < 0) return EINVAL;
      if (!copyIn(scratch, at, 4)) return EFAULT;
      if ((operation & 0x7f) === CMP_REQUEUE && load<u32>(scratch) !== <u32>sixth) return EAGAIN;
      const woken = wakeFutex(keyOf(at, own), count, u32.MAX_VALUE);
      const moved = requeue(keyOf(at, own), keyOf(second, own), <i32>fourth);
      return woken + ((operation & 0x7f) === CMP_REQUEUE ? moved : 0);
    }
    case WAKE_OP:
      return wakeOperation(at, count, second, <i32>fourth, <u32>sixth, own);
    default:
      return ENOSYS;
  }
}

// ---- futex_waitv, and the calls that futex was divided into ------------------------------------------------------------

const FLAG_U32: u32 = 2;
const FLAGS_KNOWN: u32 = FLAG_U32 | PRIVATE;
const MAX_WAITERS: u64 = 128;
/** struct futex_waitv: value, address, flags. */
const WAITER: u64 = 24;
const NUMBER: u64 = u32.MAX_VALUE;

function waiterKey(at: usize): u64 {
  return keyOf(load<u64>(at, 8), (load<u32>(at, 16) & PRIVATE) !== 0);
}

function deadlineOn(clock: u64, timeout: u64): i64 {
  if (timeout === 0) {
    deadline(NEVER);
    return 0;
  }
  if (clock > 1) return EINVAL;
  if (!copyIn(scratch, timeout, 16)) return EFAULT;
  if (load<i64>(scratch) < 0 || load<u64>(scratch, 8) >= NANO) return EINVAL;
  deadlineAt(<i32>clock, load<u64>(scratch) * NANO + load<u64>(scratch, 8));
  return 0;
}

/** Waits for one of several words: the position of one that was woken. */
export function sysFutexWaitv(user: u64, count: u64, flags: u64, timeout: u64, clock: u64): i64 {
  if (flags !== 0 || count === 0 || count > MAX_WAITERS) return EINVAL;
  if (!current.again) {
    const failed = deadlineOn(clock, timeout);
    if (failed !== 0) return failed;
    current.futexWoken = false;
    current.futexBits = u32.MAX_VALUE;
  }
  const list = scratch + 1024;
  if (!copyIn(list, user, count * WAITER)) return EFAULT;
  for (let i: u64 = 0; i < count; i++) {
    const at = list + <usize>(i * WAITER);
    const word = load<u64>(at, 8);
    if (load<u32>(at, 16) === 0 || (load<u32>(at, 16) & ~FLAGS_KNOWN) !== 0 || load<u32>(at, 20) !== 0 || (word & 3) !== 0) return EINVAL;
    if (!current.futexWoken) continue;
    if (waiterKey(at) === current.futexAt) return <i64>i;
  }
  if (timedOut()) return ETIMEDOUT;
  for (let i: u64 = 0; i < count; i++) {
    const at = list + <usize>(i * WAITER);
    const word = load<u64>(at, 8);
    if (!copyIn(scratch, word, 4)) return EFAULT;
    if (load<u32>(scratch) !== load<u32>(at)) return EAGAIN;
  }
  const result = park(current.deadline);
  if (result !== i64.MIN_VALUE) return result;
  for (let i: u64 = 0; i < count; i++) watch(queueOf(waiterKey(list + <usize>(i * WAITER))));
  return result;
}

export function sysFutexWait(at: u64, value: u64, mask: u64, flags: u64, timeout: u64, clock: u64): i64 {
  if ((flags & ~(<u64>FLAGS_KNOWN)) !== 0 || (flags & 3) !== FLAG_U32 || value > NUMBER || mask > NUMBER) return EINVAL;
  if (timeout !== 0 && clock > 1) return EINVAL;
  return wait(at, <u32>value, timeout, WAIT_BITSET | (clock === 0 ? REALTIME : 0) | (<u32>flags & PRIVATE), <u32>mask);
}

export function sysFutexWake(at: u64, mask: u64, count: u64, flags: u64): i64 {
  if ((flags & ~(<u64>FLAGS_KNOWN)) !== 0 || (flags & 3) !== FLAG_U32 || mask > NUMBER) return EINVAL;
  return <u32>mask === 0 || (at & 3) !== 0 ? EINVAL : wakeFutex(keyOf(at, (flags & PRIVATE) !== 0), <i32>count, <u32>mask);
}

export function sysFutexRequeue(user: u64, flags: u64, wake: u64, move: u64): i64 {
  if (flags !== 0) return EINVAL;
  if (!copyIn(scratch, user, 2 * WAITER)) return EFAULT;
  if ((load<u32>(scratch, 16) & 3) !== FLAG_U32 || (load<u32>(scratch, 40) & 3) !== FLAG_U32) return EINVAL;
  const from = load<u64>(scratch, 8);
  const to = load<u64>(scratch, 32);
  return sysFutex(from, CMP_REQUEUE | (load<u32>(scratch, 16) & PRIVATE), wake, move, to, load<u64>(scratch));
}

export function sysSetRobustList(head: u64, size: u64): i64 {
  if (size !== 24) return EINVAL;
  current.robustList = head;
  return 0;
}

export function sysGetRobustList(tid: u64, head: u64, size: u64): i64 {
  const thread: Thread | null = <i32>tid === 0 ? current : threadOf(<i32>tid);
  if (thread === null) return ESRCH;
  return storeU64(head, thread.robustList) | storeU64(size, 24);
}
