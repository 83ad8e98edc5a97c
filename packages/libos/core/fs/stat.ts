/** stat, statx and statfs (include/uapi/asm/stat.h, linux/stat.h, asm-generic/statfs.h). */
import { EBADF, EFAULT, EINVAL } from '../errno';
import { copyOut } from '../shim';
import { current } from '../task/thread';
import { failure, loadPath, scratch } from '../user';
import { spaceOf } from './host-names';
import { look } from './hostfs';
import { DEVICE_HOST, DEVICE_NULL, DEVICE_RANDOM, DEVICE_TTY, DEVICE_ZERO, Inode } from './inode';
import { fileOf } from './open-file';
import { walk, walkFailure } from './path';
import { AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, directoryOf, startFailure } from './process-files';

const BLOCK: u64 = 4096;
const NANO: u64 = 1_000_000_000;
const TMPFS_MAGIC: u64 = 0x01021994;
const STATX_BASIC: u32 = 0x7ff;
const STATX_BTIME: u32 = 0x800;

/** Modes of the host's three descriptors, which the start may change: a pipe is not a terminal. */
export const hostModes = new StaticArray<u32>(3);

function modeOf(inode: Inode): u32 {
  return inode.device >= DEVICE_HOST && inode.device < DEVICE_TTY
    ? hostModes[inode.device - DEVICE_HOST]
    : inode.mode;
}

function deviceNumber(device: i32): u64 {
  if (device === DEVICE_NULL) return 0x103;
  if (device === DEVICE_ZERO) return 0x105;
  if (device === DEVICE_RANDOM) return 0x109;
  if (device === DEVICE_TTY) return 0x500;
  return device >= DEVICE_HOST ? 0x8800 : 0;
}

/** Device and number of a file, and its blocks of 512 bytes. */
function deviceOf(inode: Inode): u64 {
  return inode.outside !== null ? inode.outside!.mount.device : 0x19;
}

function numberOf(inode: Inode): u64 {
  return inode.outside !== null ? inode.outside!.identity : inode.number;
}

function blocksOf(inode: Inode): u64 {
  return inode.outside !== null ? inode.outside!.blocks : ((inode.size + BLOCK - 1) / BLOCK) * 8;
}

function fill(inode: Inode, user: u64, fd: i32): i64 {
  if (inode.outside !== null) {
    const waiting = look(inode, fd);
    if (waiting !== 0) return waiting;
  }
  memory.fill(scratch, 0, 144);
  store<u64>(scratch, deviceOf(inode));
  store<u64>(scratch, numberOf(inode), 8);
  store<u64>(scratch, inode.links, 16);
  store<u32>(scratch, modeOf(inode), 24);
  store<u32>(scratch, inode.uid, 28);
  store<u32>(scratch, inode.gid, 32);
  store<u64>(scratch, deviceNumber(inode.device), 40);
  store<u64>(scratch, inode.size, 48);
  store<u64>(scratch, BLOCK, 56);
  store<u64>(scratch, blocksOf(inode), 64);
  store<u64>(scratch, inode.accessed / NANO, 72);
  store<u64>(scratch, inode.accessed % NANO, 80);
  store<u64>(scratch, inode.modified / NANO, 88);
  store<u64>(scratch, inode.modified % NANO, 96);
  store<u64>(scratch, inode.changed / NANO, 104);
  store<u64>(scratch, inode.changed % NANO, 112);
  return copyOut(user, scratch, 144) ? 0 : EFAULT;
}

/** The file that a descriptor and a path name together, or null with `startFailure`. */
function named(folder: i64, path: u64, flags: u32): Inode | null {
  const name = loadPath(path, (flags & AT_EMPTY_PATH) !== 0);
  failing = failure;
  namedFd = -1;
  if (failing !== 0) return null;
  if (name.length === 0) {
    if (folder === AT_FDCWD) return current.process.cwd;
    const file = fileOf(<u64>folder);
    if (file !== null) {
      namedFd = file.hostFd;
      return file.inode;
    }
    failing = EBADF;
    return null;
  }
  const start = directoryOf(folder, name);
  failing = startFailure;
  if (start === null) return null;
  const found = walk(name, start, (flags & AT_SYMLINK_NOFOLLOW) === 0);
  failing = walkFailure;
  return found;
}
let failing: i64 = 0;
/** The host's descriptor of what was named by one, or -1. */
let namedFd: i32 = -1;

const AT_NO_AUTOMOUNT: u32 = 0x800;
const STAT_FLAGS: u32 = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT;
const AT_STATX_SYNC: u32 = 0x6000;

export function sysNewfstatat(folder: u64, path: u64, user: u64, flags: u64): i64 {
  if ((<u32>flags & ~STAT_FLAGS) !== 0) return EINVAL;
  const inode = named(<i64>(<i32>folder), path, <u32>flags);
  return inode === null ? failing : fill(inode, user, namedFd);
}

export function sysStat(path: u64, user: u64): i64 {
  return sysNewfstatat(<u64>-100, path, user, 0);
}

export function sysLstat(path: u64, user: u64): i64 {
  return sysNewfstatat(<u64>-100, path, user, AT_SYMLINK_NOFOLLOW);
}

export function sysFstat(fd: u64, user: u64): i64 {
  const file = fileOf(fd);
  return file === null ? EBADF : fill(file.inode, user, file.hostFd);
}

function statxTime(at: usize, time: u64): void {
  store<u64>(at, time / NANO);
  store<u32>(at, <u32>(time % NANO), 8);
}

export function sysStatx(folder: u64, path: u64, flags: u64, mask: u64, user: u64): i64 {
  if ((mask & 0x80000000) !== 0) return EINVAL;
  if ((<u32>flags & ~(STAT_FLAGS | AT_STATX_SYNC)) !== 0 || (<u32>flags & AT_STATX_SYNC) === AT_STATX_SYNC) return EINVAL;
  const inode = named(<i64>(<i32>folder), path, <u32>flags);
  if (inode === null) return failing;
  if (inode.outside !== null) {
    const waiting = look(inode, namedFd);
    if (waiting !== 0) return waiting;
  }
  memory.fill(scratch, 0, 256);
  store<u32>(scratch, inode.outside === null ? STATX_BASIC | STATX_BTIME : STATX_BASIC);
  store<u32>(scratch, <u32>BLOCK, 4);
  store<u32>(scratch, inode.links, 16);
  store<u32>(scratch, inode.uid, 20);
  store<u32>(scratch, inode.gid, 24);
  store<u16>(scratch, <u16>modeOf(inode), 28);
  store<u64>(scratch, numberOf(inode), 32);
  store<u64>(scratch, inode.size, 40);
  store<u64>(scratch, blocksOf(inode), 48);
  statxTime(scratch + 64, inode.accessed);
  if (inode.outside === null) statxTime(scratch + 80, inode.created);
  statxTime(scratch + 96, inode.changed);
  statxTime(scratch + 112, inode.modified);
  const device = deviceNumber(inode.device);
  store<u32>(scratch, <u32>(device >> 8), 128);
  store<u32>(scratch, <u32>(device & 0xff), 132);
  store<u32>(scratch, <u32>deviceOf(inode), 140);
  return copyOut(user, scratch, 256) ? 0 : EFAULT;
}

function fillStatfs(inode: Inode, user: u64): i64 {
  if (inode.outside !== null) return fillOutside(inode, user);
  memory.fill(scratch, 0, 120);
  store<u64>(scratch, TMPFS_MAGIC);
  store<u64>(scratch, BLOCK, 8);
  const pages = <u64>memory.size() * 16;
  store<u64>(scratch, pages, 16);
  store<u64>(scratch, pages / 2, 24);
  store<u64>(scratch, pages / 2, 32);
  store<u64>(scratch, 255, 64);
  store<u64>(scratch, BLOCK, 72);
  return copyOut(user, scratch, 120) ? 0 : EFAULT;
}

/** What the host says of the room that it has is told as it is. */
function fillOutside(inode: Inode, user: u64): i64 {
  const space = scratch + 256;
  const waiting = spaceOf(inode, space);
  if (waiting !== 0) return waiting;
  memory.fill(scratch, 0, 120);
  // As 9p, which other machines' folders come by.
  store<u64>(scratch, 0x01021997);
  memory.copy(scratch + 8, space, 48);
  store<u64>(scratch, load<u64>(space, 48), 64);
  store<u64>(scratch, load<u64>(space), 72);
  return copyOut(user, scratch, 120) ? 0 : EFAULT;
}

export function sysStatfs(path: u64, user: u64): i64 {
  const inode = named(-100, path, 0);
  return inode === null ? failing : fillStatfs(inode, user);
}

export function sysFstatfs(fd: u64, user: u64): i64 {
  const file = fileOf(fd);
  return file === null ? EBADF : fillStatfs(file.inode, user);
}
