/** Who the program is, and what it sets for itself: root of its own world. */
import { EFAULT, EINVAL, EPERM } from './errno';
import { copyIn, copyOut } from './shim';
import { current } from './task/thread';
import { scratch, storeU32 } from './user';

const GROUPS_MAX: u64 = 65536;
const SIGNALS: u64 = 64;
const CAPABILITIES_1: u32 = 0x19980330;
const CAPABILITIES_2: u32 = 0x20071026;
const CAPABILITIES_3: u32 = 0x20080522;

/** The one name that there is: 0 stays 0. */
export function sysSetuid(id: u64): i64 {
  return <i32>id === 0 ? 0 : <i32>id === -1 ? EINVAL : EPERM;
}

function stays(id: u64): bool {
  return <i32>id === 0 || <i32>id === -1;
}

/** Three of them, −1 for those that stay. */
export function sysSetresuid(a: u64, b: u64, c: u64): i64 {
  return stays(a) && stays(b) && stays(c) ? 0 : EPERM;
}

export function sysSetreuid(a: u64, b: u64): i64 {
  return sysSetresuid(a, b, 0);
}

/** Never fails: the value before. */
export function sysSetfsuid(): i64 {
  return 0;
}

export function sysGetresuid(a: u64, b: u64, c: u64): i64 {
  return storeU32(a, 0) | storeU32(b, 0) | storeU32(c, 0);
}

export function sysGetgroups(count: u64): i64 {
  return <i32>count < 0 ? EINVAL : 0;
}

export function sysSetgroups(count: u64): i64 {
  return count > GROUPS_MAX ? EINVAL : count === 0 ? 0 : EPERM;
}

/** Structures of the header’s version; 0 with the version that is known, if it is none. */
function capabilityStructures(header: u64): i32 {
  if (!copyIn(scratch, header, 8)) return -1;
  const version = load<u32>(scratch);
  if (version === CAPABILITIES_1) return 1;
  if (version === CAPABILITIES_2 || version === CAPABILITIES_3) return 2;
  return storeU32(header, CAPABILITIES_3) === 0 ? 0 : -1;
}

/** All capabilities, of the program’s own world. */
export function sysCapget(header: u64, user: u64): i64 {
  const structures = capabilityStructures(header);
  if (structures < 0) return EFAULT;
  if (structures === 0) return user === 0 ? 0 : EINVAL;
  if (user === 0) return 0;
  memory.fill(scratch, 0, 24);
  store<u64>(scratch, u64.MAX_VALUE);
  store<u32>(scratch, 0x1ff, 12);
  store<u32>(scratch, 0x1ff, 16);
  return copyOut(user, scratch, structures * 12) ? 0 : EFAULT;
}

/** Taken as said: giving them up protects nobody here. */
export function sysCapset(header: u64, user: u64): i64 {
  const structures = capabilityStructures(header);
  if (structures <= 0) return structures < 0 ? EFAULT : EINVAL;
  return copyIn(scratch, user, structures * 12) ? 0 : EFAULT;
}

export function sysPersonality(persona: u64): i64 {
  return <u32>persona === 0 || <u32>persona === 0xffffffff ? 0 : EINVAL;
}

let dumpable: u64 = 1;
let keepsCapabilities: u64 = 0;
let noNewPrivileges: bool = false;
let subreaper: u32 = 0;
let deathSignal: u32 = 0;
const DEFAULT_SLACK: u64 = 50_000;
let slack: u64 = DEFAULT_SLACK;

/** prctl(2), in the order of its numbers. */
export function sysPrctl(option: u64, argument: u64, third: u64, fourth: u64, fifth: u64): i64 {
  switch (<i32>option) {
    case 1: {
      if (argument > SIGNALS) return EINVAL;
      deathSignal = <u32>argument;
      return 0;
    }
    case 2:
      return storeU32(argument, deathSignal);
    case 3:
      return dumpable;
    case 4: {
      if (argument > 1) return EINVAL;
      dumpable = argument;
      return 0;
    }
    case 7:
      return keepsCapabilities;
    case 8: {
      if (argument > 1) return EINVAL;
      keepsCapabilities = argument;
      return 0;
    }
    case 15:
      return copyIn(current.name, argument, 15) ? 0 : EFAULT;
    case 16:
      return copyOut(argument, current.name, 16) ? 0 : EFAULT;
    // Capabilities of the bounding set: all of them; dropping one has no effect.
    case 23:
      return argument <= 40 ? 1 : EINVAL;
    case 24:
      return argument <= 40 ? 0 : EINVAL;
    case 29: {
      slack = argument === 0 ? DEFAULT_SLACK : argument;
      return 0;
    }
    case 30:
      return slack;
    case 36: {
      subreaper = argument !== 0 ? 1 : 0;
      return 0;
    }
    case 37:
      return storeU32(argument, subreaper);
    case 38: {
      if (argument !== 1 || third !== 0 || fourth !== 0 || fifth !== 0) return EINVAL;
      noNewPrivileges = true;
      return 0;
    }
    case 39: {
      if (argument !== 0 || third !== 0 || fourth !== 0 || fifth !== 0) return EINVAL;
      return noNewPrivileges ? 1 : 0;
    }
    // Huge pages: there are none to refuse.
    case 41:
    case 42:
      return 0;
    default:
      return EINVAL;
  }
}
