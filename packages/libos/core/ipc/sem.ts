/** Semaphores of System V (semop(2)): all operations of a call are done, or none. */
import { E2BIG, EAGAIN, EFAULT, EFBIG, EIDRM, EINVAL, ENOSPC, ERANGE } from '../errno';
import { copyIn, copyOut } from '../shim';
import { deadline, NEVER, park, Queue, timedOut, watch } from '../task/queue';
import { current } from '../task/thread';
import { scratch } from '../user';
import { commandOf, IPC_NOWAIT, IPC_RMID, IPC_SET, IPC_STAT, IpcObject, IpcTable, seconds } from './objects';

const SEMMSL: u64 = 1024;
const SEMMNI = 1024;
const SEMOPM: u64 = 500;
const SEMVMX = 32767;
const DESCRIPTION: u64 = 104;
const NANO: u64 = 1_000_000_000;
const OPERATION: u64 = 6;

class Semaphores extends IpcObject {
  values: StaticArray<i32>;
  pids: StaticArray<i32>;
  operated: u64 = 0;
  queue: Queue = new Queue();
  constructor(id: i32, key: i32, mode: u32, count: i32) {
    super(id, key, mode);
    this.values = new StaticArray<i32>(count);
    this.pids = new StaticArray<i32>(count);
  }
}

const sets = new IpcTable<Semaphores>();

export function sysSemget(key: u64, count: u64, flags: u64): i64 {
  if (<i32>count < 0 || count > SEMMSL) return EINVAL;
  const found = sets.byKey(key);
  const refused = sets.refuse(found !== null, key, flags);
  if (refused !== 0) return refused;
  if (found !== null) return <i32>count > found.values.length ? EINVAL : found.id;
  if (count === 0) return EINVAL;
  if (sets.objects.length >= SEMMNI) return ENOSPC;
  const set = new Semaphores(sets.nextId(), <i32>key, <u32>flags & 0o777, <i32>count);
  sets.objects.push(set);
  return set.id;
}

/** Does the operations at `scratch`; a positive number: one more than that of the first that has to wait. */
function operate(set: Semaphores, count: i32): i64 {
  const saved = set.values.slice<StaticArray<i32>>();
  for (let i = 0; i < count; i++) {
    const at = scratch + <usize>i * <usize>OPERATION;
    const which = load<u16>(at);
    const by = <i32>load<i16>(at, 2);
    const value = set.values[which];
    const failed: i64 = by > 0 && value + by > SEMVMX ? ERANGE : (by === 0 && value !== 0) || value + by < 0 ? i + 1 : 0;
    if (failed !== 0) {
      set.values = saved;
      return failed;
    }
    set.values[which] = value + by;
  }
  for (let i = 0; i < count; i++) set.pids[load<u16>(scratch + <usize>i * <usize>OPERATION)] = current.process.pid;
  return 0;
}

function semop(id: u64, user: u64, count: u64, until: u64): i64 {
  const set = sets.byId(id);
  if (set === null) return current.again ? EIDRM : EINVAL;
  if (count === 0) return EINVAL;
  if (count > SEMOPM) return E2BIG;
  if (!copyIn(scratch, user, count * OPERATION)) return EFAULT;
  for (let i: u64 = 0; i < count; i++)
    if (<i32>load<u16>(scratch + <usize>(i * OPERATION)) >= set.values.length) return EFBIG;
  const result = operate(set, <i32>count);
  if (result < 0) return result;
  if (result === 0) {
    set.operated = seconds();
    set.queue.wake();
    return 0;
  }
  const flags = load<u16>(scratch + <usize>(result - 1) * <usize>OPERATION, 4);
  if ((<u32>flags & IPC_NOWAIT) !== 0) return EAGAIN;
  if (timedOut()) return EAGAIN;
  watch(set.queue);
  return park(until);
}

export function sysSemop(id: u64, user: u64, count: u64): i64 {
  return semop(id, user, count, NEVER);
}

export function sysSemtimedop(id: u64, user: u64, count: u64, time: u64): i64 {
  if (time === 0) return semop(id, user, count, NEVER);
  if (!copyIn(scratch, time, 16)) return EFAULT;
  if (load<i64>(scratch) < 0 || load<u64>(scratch, 8) >= NANO) return EINVAL;
  return semop(id, user, count, deadline(load<u64>(scratch) * NANO + load<u64>(scratch, 8)));
}

const GETPID: u32 = 11;
const GETVAL: u32 = 12;
const GETALL: u32 = 13;
const GETNCNT: u32 = 14;
const GETZCNT: u32 = 15;
const SETVAL: u32 = 16;
const SETALL: u32 = 17;

export function sysSemctl(id: u64, which: u64, command64: u64, argument: u64): i64 {
  const set = sets.byId(id);
  if (set === null) return EINVAL;
  const command = commandOf(command64);
  const count = set.values.length;
  const n = <i32>which;
  if (((command >= GETPID && command <= GETVAL) || (command >= GETNCNT && command <= SETVAL)) && <u32>n >= <u32>count) return EINVAL;
  switch (command) {
    case IPC_RMID:
      sets.drop(set);
      set.queue.wake();
      return 0;
    case IPC_SET:
      if (!copyIn(scratch, argument, DESCRIPTION)) return EFAULT;
      set.mode = load<u32>(scratch, 20) & 0o777;
      set.changed = seconds();
      return 0;
    case IPC_STAT:
      memory.fill(scratch, 0, <usize>DESCRIPTION);
      set.describe(scratch);
      store<u64>(scratch, set.operated, 48);
      store<u64>(scratch, set.changed, 64);
      store<u64>(scratch, count, 80);
      return copyOut(argument, scratch, DESCRIPTION) ? 0 : EFAULT;
    case GETVAL:
      return set.values[n];
    case GETPID:
      return set.pids[n];
    // Who waits for what is not kept: all look when something changes.
    case GETNCNT:
    case GETZCNT:
      return set.queue.waiters.length;
    case SETVAL:
      if (<i32>argument < 0 || <i32>argument > SEMVMX) return ERANGE;
      set.values[n] = <i32>argument;
      set.pids[n] = current.process.pid;
      break;
    case GETALL:
      for (let i = 0; i < count; i++) store<u16>(scratch + (<usize>i << 1), <u16>set.values[i]);
      return copyOut(argument, scratch, <u64>count * 2) ? 0 : EFAULT;
    case SETALL:
      if (!copyIn(scratch, argument, <u64>count * 2)) return EFAULT;
      for (let i = 0; i < count; i++) if (load<u16>(scratch + (<usize>i << 1)) > <u16>SEMVMX) return ERANGE;
      for (let i = 0; i < count; i++) set.values[i] = load<u16>(scratch + (<usize>i << 1));
      break;
    default:
      return EINVAL;
  }
  set.changed = seconds();
  set.queue.wake();
  return 0;
}
