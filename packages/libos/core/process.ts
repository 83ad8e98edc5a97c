/** Numbers and limits of a process. It is root of its own world. */
import { EFAULT, EINVAL, EPERM, ESRCH } from './errno';
import { OPEN_MAX } from './fs/open-file';
import { arenaBytes, freeBytes, stackBytes } from './memory-map';
import { copyIn, copyOut, getFs, now, random, setFs } from './shim';
import { processTime, threadTime } from './task/cpu-time';
import { current } from './task/thread';
import { scratch, storeU32, storeU64 } from './user';

const INFINITY: u64 = u64.MAX_VALUE;
const NANO: u64 = 1_000_000_000;

export function sysGetpid(): i64 {
  return current.process.pid;
}

export function sysZero(): i64 {
  return 0;
}

/** The one set of names that there is: 0 stays 0. */
export function sysSetId(id: u64): i64 {
  return <i32>id === 0 || <i32>id === -1 ? 0 : EPERM;
}

export function sysGetresuid(a: u64, b: u64, c: u64): i64 {
  return storeU32(a, 0) | storeU32(b, 0) | storeU32(c, 0);
}

export function sysGetgroups(): i64 {
  return 0;
}

export function sysSetgroups(count: u64): i64 {
  return count === 0 ? 0 : EPERM;
}

function put(text: string, at: usize): void {
  for (let i = 0; i < text.length; i++) store<u8>(at + i, <u8>text.charCodeAt(i));
}

export function sysUname(user: u64): i64 {
  memory.fill(scratch, 0, 390);
  put('Linux', scratch);
  put('nestedsgx', scratch + 65);
  put('6.1.0', scratch + 130);
  put('#1 NestedSGX library OS', scratch + 195);
  put('x86_64', scratch + 260);
  put('(none)', scratch + 325);
  return copyOut(user, scratch, 390) ? 0 : EFAULT;
}

function limitOf(resource: u64): u64 {
  switch (<i32>resource) {
    case 3:
      return stackBytes();
    case 4:
      return 0;
    case 7:
      return OPEN_MAX;
    case 6:
      return 1;
    case 8:
    case 13:
    case 14:
      return 0;
    default:
      return INFINITY;
  }
}

export function sysPrlimit(pid: u64, resource: u64, next: u64, user: u64): i64 {
  if (<i32>pid !== 0 && <i32>pid !== current.process.pid) return ESRCH;
  if (resource > 15) return EINVAL;
  const limit = limitOf(resource);
  if (next !== 0) {
    // Limits are what they are: setting one to its own value or below does nothing, raising it is refused.
    if (!copyIn(scratch, next, 16)) return EFAULT;
    if (load<u64>(scratch) > load<u64>(scratch, 8)) return EINVAL;
    if (load<u64>(scratch, 8) > limit) return EPERM;
  }
  if (user === 0) return 0;
  store<u64>(scratch, limit);
  store<u64>(scratch, limit, 8);
  return copyOut(user, scratch, 16) ? 0 : EFAULT;
}

export function sysGetrlimit(resource: u64, user: u64): i64 {
  return sysPrlimit(0, resource, 0, user);
}

export function sysSetrlimit(resource: u64, user: u64): i64 {
  return sysPrlimit(0, resource, user, 0);
}

const started: u64 = now(1);

export function sysGetrusage(who: u64, user: u64): i64 {
  if (<i32>who < -1 || <i32>who > 1) return EINVAL;
  memory.fill(scratch, 0, 144);
  const spent = <i32>who === -1 ? current.process.childrenSpent : <i32>who === 1 ? threadTime(current) : processTime(current.process);
  store<u64>(scratch, spent / NANO);
  store<u64>(scratch, (spent % NANO) / 1000, 8);
  store<u64>(scratch, (arenaBytes() - freeBytes()) / 1024, 32);
  return copyOut(user, scratch, 144) ? 0 : EFAULT;
}

export function sysTimes(user: u64): i64 {
  const ticks = processTime(current.process) / (NANO / 100);
  if (user !== 0) {
    memory.fill(scratch, 0, 32);
    store<u64>(scratch, ticks);
    store<u64>(scratch, current.process.childrenSpent / (NANO / 100), 16);
    if (!copyOut(user, scratch, 32)) return EFAULT;
  }
  return now(1) / (NANO / 100);
}

export function sysSysinfo(user: u64): i64 {
  memory.fill(scratch, 0, 112);
  store<u64>(scratch, (now(1) - started) / NANO);
  store<u64>(scratch, arenaBytes(), 32);
  store<u64>(scratch, freeBytes(), 40);
  store<u16>(scratch, 1, 80);
  store<u32>(scratch, 1, 104);
  return copyOut(user, scratch, 112) ? 0 : EFAULT;
}

export function sysArchPrctl(code: u64, address: u64): i64 {
  switch (<i32>code) {
    case 0x1002:
      if (address >= 0x7fff_ffff_f000) return EPERM;
      setFs(address);
      return 0;
    case 0x1003:
      return storeU64(address, getFs());
    // GS is the enclave's own.
    case 0x1001:
      return EPERM;
    default:
      return EINVAL;
  }
}

export function sysPrctl(option: u64, argument: u64): i64 {
  switch (<i32>option) {
    case 15:
      return copyIn(current.name, argument, 15) ? 0 : EFAULT;
    case 16:
      return copyOut(argument, current.name, 16) ? 0 : EFAULT;
    // Dumpable, keepcaps, no-new-privs, timer slack, subreaper: one process that nobody looks into.
    case 3:
      return 0;
    case 4:
    case 8:
    case 22:
    case 29:
    case 36:
    case 38:
      return 0;
    case 39:
      return 0;
    default:
      return EINVAL;
  }
}

export function sysSchedGetaffinity(pid: u64, size: u64, user: u64): i64 {
  if (size < 8) return EINVAL;
  store<u64>(scratch, 1);
  return copyOut(user, scratch, 8) ? 8 : EFAULT;
}

export function sysGetcpu(cpu: u64, node: u64): i64 {
  if (cpu !== 0 && storeU32(cpu, 0) !== 0) return EFAULT;
  return node !== 0 ? storeU32(node, 0) : 0;
}

export function sysGetrandom(user: u64, length: u64, flags: u64): i64 {
  if (flags > 7) return EINVAL;
  return random(user, length) ? length : EFAULT;
}

/** All capabilities, of the program's own world. */
export function sysCapget(header: u64, user: u64): i64 {
  if (user === 0) return 0;
  memory.fill(scratch, 0, 24);
  store<u64>(scratch, u64.MAX_VALUE);
  store<u32>(scratch, 0x1ff, 12);
  store<u32>(scratch, 0x1ff, 16);
  return copyOut(user, scratch, 24) ? 0 : EFAULT;
}

export function sysPersonality(persona: u64): i64 {
  return <u32>persona === 0 || <u32>persona === 0xffffffff ? 0 : EINVAL;
}

export function sysSchedGetparam(pid: u64, user: u64): i64 {
  return storeU32(user, 0);
}

export function sysSchedRrGetInterval(pid: u64, user: u64): i64 {
  memory.fill(scratch, 0, 16);
  store<u64>(scratch, 100_000_000, 8);
  return copyOut(user, scratch, 16) ? 0 : EFAULT;
}

export function sysGetMempolicy(mode: u64): i64 {
  return mode === 0 ? 0 : storeU32(mode, 0);
}
