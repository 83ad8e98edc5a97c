/** What a process asks about itself and its system. */
import { EFAULT, EINVAL, EPERM } from './errno';
import { arenaBytes, freeBytes } from './memory/places';
import { copyOut, getFs, now, random, setFs } from './shim';
import { processTime, threadTime } from './task/cpu-time';
import { current } from './task/thread';
import { scratch, storeU32, storeU64 } from './user';

const NANO: u64 = 1_000_000_000;

export function sysGetpid(): i64 {
  return current.process.pid;
}

export function sysZero(): i64 {
  return 0;
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

const started: u64 = now(1);

export function sysGetrusage(who: u64, user: u64): i64 {
  if (<i32>who < -1 || <i32>who > 1) return EINVAL;
  memory.fill(scratch, 0, 144);
  const spent = <i32>who === -1 ? current.process.childrenSpent : <i32>who === 1 ? threadTime(current) : processTime(current.process);
  store<u64>(scratch, spent / NANO);
  store<u64>(scratch, (spent % NANO) / 1000, 8);
  // Children lie in the memory of their parent.
  if (<i32>who !== -1) store<u64>(scratch, (arenaBytes() - freeBytes()) / 1024, 32);
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

export function sysGetrandom(user: u64, length: u64, flags: u64): i64 {
  // GRND_RANDOM and GRND_INSECURE exclude each other.
  if (flags > 7 || (flags & 6) === 6) return EINVAL;
  return random(user, length) ? length : EFAULT;
}

export function sysGetMempolicy(mode: u64): i64 {
  return mode === 0 ? 0 : storeU32(mode, 0);
}
