/** open, close, dup, pipe, lseek, fcntl, truncate. */
import {
  EACCES, EBADF, EEXIST, EFAULT, EFBIG, EINVAL, EISDIR, ELOOP, ENOENT, ENOTDIR, ENXIO, EOPNOTSUPP, EROFS, ESPIPE,
} from '../errno';
import { PENDING } from '../request';
import { copyIn, copyOut, now } from '../shim';
import { ttyFd } from '../tty';
import { failure, loadPath, scratch } from '../user';
import { isAttestation, newKey, openFailure, opening } from './attestation';
import { allocateRange, changeAppending, changeSize, openName, syncOutside } from './host-names';
import { find, findFailure, look } from './hostfs';
import { IN_CREATE, IN_MODIFY, IN_OPEN, notify, notifyName, watching } from './notify';
import { DEVICE_NONE, DEVICE_TTY, Inode, S_IFIFO, S_IFREG } from './inode';
import {
  closeDescriptor, duplicate, EventCounter, fileOf, getCloexec, install, O_ACCMODE, O_APPEND, O_CLOEXEC, O_CREAT,
  O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_RDWR, O_TMPFILE, O_TRUNC, O_WRONLY, opened, OPEN_MAX, OpenFile,
  Pipe, place, roomFor, setCloexec,
} from './open-file';
import { lockRange } from './locks';
import { ownerOf } from './owner';
import { lastName, lastSlash, link, walk, walkFailure, walkParent } from './path';
import { AT_FDCWD, directoryOf, startFailure, umask } from './process-files';
import { made } from './proc';
import { syncStore } from './store';

const FLAGS_CHANGED: u32 = O_APPEND | O_NONBLOCK | 0o40000 | 0o20000 | 0o1000000;
const KEPT: u32 = ~(O_CREAT | O_EXCL | O_TRUNC | O_CLOEXEC | 0o400);

function give(inode: Inode, flags: u32): i64 {
  const file = new OpenFile(inode, (flags & KEPT) | 0o100000);
  const fd = install(file, 0, (flags & O_CLOEXEC) !== 0);
  if (fd >= 0) {
    opened(inode, 1);
    if (watching > 0 && (flags & O_PATH) === 0) notify(inode, IN_OPEN);
  }
  return fd;
}

function create(name: string, start: Inode, flags: u32, mode: u32): i64 {
  const folder = walkParent(name, start);
  if (folder === null) return walkFailure;
  const last = lastName;
  if (lastSlash) return EISDIR;
  if (folder.entries === null) return ENOTDIR;
  if (last === '' || last === '.' || last === '..') return EISDIR;
  if (folder.outside !== null) return createOutside(folder, last, flags, mode);
  if (folder.entries!.has(last)) {
    // A link whose target is missing: Linux makes the target.
    const found = folder.entries!.get(last);
    return found.isLink && (flags & O_NOFOLLOW) === 0 ? create(found.target, folder, flags, mode) : EEXIST;
  }
  if (folder.links === 0) return ENOENT;
  if (folder.readOnly) {
    const key = newKey(folder, last);
    return key === null ? EROFS : openAttestation(key, flags);
  }
  const inode = new Inode(S_IFREG | (mode & 0o7777 & ~umask()));
  link(folder, last, inode);
  folder.modified = folder.changed = now(0);
  if (watching > 0) notifyName(folder, last, inode, IN_CREATE);
  return give(inode, flags);
}

/** What a file of /dev/attestation reads is made now. */
function openAttestation(inode: Inode, flags: u32): i64 {
  const made = opening(inode, (flags & O_ACCMODE) !== 0);
  return made === null ? openFailure : give(made, flags);
}

/** O_TMPFILE: a file that a folder will take, without a name until it gets one. */
function createNameless(folder: Inode, flags: u32, mode: u32): i64 {
  if ((flags & O_ACCMODE) === 0 || (flags & O_CREAT) !== 0) return EINVAL;
  if (!folder.isDirectory) return ENOTDIR;
  if (folder.outside !== null) return EOPNOTSUPP;
  if (folder.links === 0) return ENOENT;
  if (folder.readOnly) return EROFS;
  const inode = new Inode(S_IFREG | (mode & 0o7777 & ~umask()));
  inode.links = 0;
  inode.nameless = (flags & O_EXCL) === 0;
  if (folder.stored !== null) inode.keep();
  return give(inode, flags);
}

/** The same in a folder of the host, which is asked what is there now. */
function createOutside(folder: Inode, last: string, flags: u32, mode: u32): i64 {
  const found = find(folder, last, '');
  if (found === null && findFailure !== ENOENT) return findFailure;
  if (found !== null && found.isLink) return (flags & (O_NOFOLLOW | O_EXCL)) === 0 ? create(found.target, folder, flags, mode) : EEXIST;
  if (folder.readOnly) return EROFS;
  return openName(folder, last, flags, mode & 0o1777 & ~umask(), KEPT);
}

export function sysOpenat(folder: u64, path: u64, flags64: u64, mode: u64): i64 {
  const flags = <u32>flags64;
  const name = loadPath(path);
  if (failure !== 0) return failure;
  // A descriptor comes first: a file that nobody gets is not made.
  const room = roomFor(1);
  if (room !== 0) return room;
  const start = directoryOf(<i64>(<i32>folder), name);
  if (start === null) return startFailure;
  const exclusive = (flags & (O_CREAT | O_EXCL)) === (O_CREAT | O_EXCL);
  const inode = walk(name, start, (flags & O_NOFOLLOW) === 0 && !exclusive);
  if ((flags & O_TMPFILE) === O_TMPFILE) return inode === null ? walkFailure : createNameless(inode, flags, <u32>mode);
  if (inode === null && walkFailure === ENOTDIR && (flags & O_CREAT) !== 0 && name.endsWith('/'))
    return walkParent(name, start) !== null ? EISDIR : walkFailure;
  if (inode === null)
    return walkFailure === ENOENT && (flags & O_CREAT) !== 0 ? create(name, start, flags, <u32>mode) : walkFailure;
  if (exclusive) return EEXIST;
  if (inode.isLink && (flags & O_PATH) === 0) return ELOOP;
  const writes = (flags & O_ACCMODE) !== 0;
  if (isAttestation(inode) && inode.isFile && (flags & O_PATH) === 0)
    return (flags & O_DIRECTORY) !== 0 ? ENOTDIR : openAttestation(inode, flags);
  if (inode.isDirectory && (writes || (flags & O_CREAT) !== 0) && (flags & O_PATH) === 0) return EISDIR;
  if ((flags & O_DIRECTORY) !== 0 && !inode.isDirectory) return ENOTDIR;
  if (inode.readOnly && (writes || (flags & O_TRUNC) !== 0) && (flags & O_PATH) === 0) return EROFS;
  if (inode.device === DEVICE_TTY && ttyFd < 0 && (flags & O_PATH) === 0) return ENXIO;
  if (inode.outside !== null && !inode.isDirectory && (flags & O_PATH) === 0)
    return inode.isFile ? openName(inode.parent!, inode.outside!.name, flags & ~(O_CREAT | O_EXCL), 0, KEPT) : ENXIO;
  if ((flags & O_TRUNC) !== 0 && inode.isFile && inode.device === DEVICE_NONE) {
    const failed = inode.resize(0);
    if (failed !== 0) return failed;
  }
  const fd = give(inode.made !== 0 && inode.isFile && (flags & O_PATH) === 0 ? made(inode) : inode, flags);
  if (fd >= 0 && watching > 0 && (flags & O_TRUNC) !== 0) notify(inode, IN_MODIFY);
  return fd;
}

export function sysOpen(path: u64, flags: u64, mode: u64): i64 {
  return sysOpenat(<u64>AT_FDCWD, path, flags, mode);
}

export function sysCreat(path: u64, mode: u64): i64 {
  return sysOpen(path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

export function sysClose(fd: u64): i64 {
  return closeDescriptor(fd);
}

export function sysCloseRange(first: u64, last: u64, flags: u64): i64 {
  if (<u32>first > <u32>last || (flags & ~6) !== 0) return EINVAL;
  const end = <u32>last >= <u32>OPEN_MAX ? OPEN_MAX - 1 : <i32>last;
  for (let fd = <i32>first; fd <= end; fd++) {
    if (fileOf(fd) === null) continue;
    if ((flags & 4) !== 0) setCloexec(fd, true);
    else closeDescriptor(fd);
  }
  return 0;
}

export function sysDup(fd: u64): i64 {
  return duplicate(fd, 0, false);
}

export function sysDup3(from: u64, to: u64, flags: u64): i64 {
  if ((<u32>flags & ~O_CLOEXEC) !== 0 || <u32>from === <u32>to) return EINVAL;
  const file = fileOf(from);
  if (file === null || <u32>to >= <u32>OPEN_MAX) return EBADF;
  if (fileOf(to) !== null) closeDescriptor(to);
  place(<i32>to, file, (<u32>flags & O_CLOEXEC) !== 0);
  return <u32>to;
}

export function sysDup2(from: u64, to: u64): i64 {
  if (fileOf(from) === null) return EBADF;
  return <u32>from === <u32>to ? <i64>(<u32>to) : sysDup3(from, to, 0);
}

export function sysPipe2(user: u64, flags64: u64): i64 {
  const flags = <u32>flags64;
  if ((flags & ~(O_CLOEXEC | O_NONBLOCK)) !== 0) return EINVAL;
  const inode = new Inode(S_IFIFO | 0o600);
  const pipe = new Pipe();
  const out = new OpenFile(inode, flags & O_NONBLOCK);
  const into = new OpenFile(inode, O_WRONLY | (flags & O_NONBLOCK));
  out.pipe = pipe;
  into.pipe = pipe;
  const cloexec = (flags & O_CLOEXEC) !== 0;
  const first = install(out, 0, cloexec);
  if (first < 0) return first;
  const second = install(into, 0, cloexec);
  opened(inode, 1);
  if (second >= 0) opened(inode, 1);
  store<u32>(scratch, <u32>first);
  store<u32>(scratch, <u32>second, 4);
  if (second < 0 || !copyOut(user, scratch, 8)) {
    closeDescriptor(first);
    if (second >= 0) closeDescriptor(second);
    return second < 0 ? second : EFAULT;
  }
  return 0;
}

export function sysPipe(user: u64): i64 {
  return sysPipe2(user, 0);
}

export function sysEventfd2(value: u64, flags64: u64): i64 {
  const flags = <u32>flags64;
  if ((flags & ~(O_CLOEXEC | O_NONBLOCK | 1)) !== 0) return EINVAL;
  const inode = new Inode(0o600);
  const file = new OpenFile(inode, O_RDWR | (flags & O_NONBLOCK));
  file.event = new EventCounter((flags & 1) !== 0);
  file.event!.value = <u32>value;
  const fd = install(file, 0, (flags & O_CLOEXEC) !== 0);
  if (fd >= 0) opened(inode, 1);
  return fd;
}

export function sysEventfd(value: u64): i64 {
  return sysEventfd2(value, 0);
}

export function sysLseek(fd: u64, offset: u64, whence: u64): i64 {
  const file = fileOf(fd);
  if (file === null) return EBADF;
  // Counters, timers and the like have no position, and say 0.
  if (file.special !== 0 && file.pipe === null) return 0;
  if (file.pipe !== null || file.inode.device !== DEVICE_NONE)
    return file.inode.device !== DEVICE_NONE && file.inode.device < 4 ? 0 : ESPIPE;
  if (file.inode.outside !== null && whence >= 2 && file.inode.isFile) {
    const waiting = look(file.inode, file.hostFd);
    if (waiting !== 0) return waiting;
  }
  const size = file.inode.size;
  let at = <i64>offset;
  if (whence === 1) at += file.position;
  else if (whence === 2) at += size;
  else if (whence === 3 || whence === 4) {
    // There are no holes: data up to the end, then the hole behind it.
    if (at < 0 || <u64>at >= size) return -6;
    if (whence === 4) at = size;
  } else if (whence !== 0) return EINVAL;
  if (at < 0) return EINVAL;
  file.position = at;
  return at;
}

export function sysFcntl(fd: u64, command: u64, argument: u64): i64 {
  const file = fileOf(fd);
  if (file === null) return EBADF;
  // Of a mere path: F_DUPFD, F_GETFD, F_SETFD, F_GETFL.
  if ((file.flags & O_PATH) !== 0 && command > 3 && command !== 1030) return EBADF;
  switch (<i32>command) {
    case 0:
      return duplicate(fd, <i32>argument, false);
    case 1030:
      return duplicate(fd, <i32>argument, true);
    case 1:
      return getCloexec(fd) ? 1 : 0;
    case 2:
      setCloexec(fd, (argument & 1) !== 0);
      return 0;
    case 3:
      return file.flags;
    case 4:
      if (file.hostFd >= 0 && ((file.flags ^ <u32>argument) & O_APPEND) !== 0) {
        const waiting = changeAppending(file, (argument & O_APPEND) !== 0);
        if (waiting !== 0) return waiting;
      }
      file.flags = (file.flags & ~FLAGS_CHANGED) | (<u32>argument & FLAGS_CHANGED);
      return 0;
    case 5:
    case 6:
    case 7:
    case 36:
    case 37:
    case 38:
      return lockRange(file, <i32>command, argument);
    case 8:
    case 9:
    case 15:
    case 16:
      return ownerOf(file, <i32>command, argument);
    case 1031:
    case 1032:
      return file.pipe === null ? EBADF : 65536;
    default:
      return EINVAL;
  }
}

function truncate(inode: Inode, length: i64, fd: i32 = -1): i64 {
  if (length < 0) return EINVAL;
  if (inode.isDirectory) return EISDIR;
  if (!inode.isFile) return EINVAL;
  if (inode.outside !== null) return changeSize(inode, fd, length);
  if (isAttestation(inode) && inode.links > 0) return EACCES;
  if (inode.readOnly) return EROFS;
  const result = inode.resize(length);
  if (result === 0 && watching > 0) notify(inode, IN_MODIFY);
  return result;
}

export function sysTruncate(path: u64, length: u64): i64 {
  const name = loadPath(path);
  if (failure !== 0) return failure;
  const start = directoryOf(AT_FDCWD, name);
  const inode = walk(name, start!, true);
  return inode === null ? walkFailure : truncate(inode, length);
}

export function sysFtruncate(fd: u64, length: u64): i64 {
  const file = fileOf(fd);
  if (file === null) return EBADF;
  return file.writable && file.pipe === null ? truncate(file.inode, length, file.hostFd) : EINVAL;
}

export function sysFallocate(fd: u64, mode: u64, offset: u64, length: u64): i64 {
  const file = fileOf(fd);
  if (file === null || !file.writable) return EBADF;
  if (file.pipe !== null || !file.inode.isFile) return ESPIPE;
  if (<i64>offset < 0 || <i64>length <= 0) return EINVAL;
  if (file.inode.outside !== null) return mode > 0x7f ? EOPNOTSUPP : allocateRange(file.inode, file.hostFd, mode, offset, length);
  if ((mode & ~FALLOCATE_MODES) !== 0 || (mode & PUNCH_HOLE) === PUNCH_HOLE && mode !== (PUNCH_HOLE | KEEP_SIZE)) return EOPNOTSUPP;
  const inode = file.inode;
  const end = offset + length;
  if (end < offset || end > 0x7fff_ffff_ffff) return EFBIG;
  const result = (mode & (PUNCH_HOLE | ZERO_RANGE)) !== 0 ? inode.clear(offset, min(end, inode.size)) : 0;
  if (result !== 0) return result;
  if ((mode & PUNCH_HOLE) !== 0) return changed(inode);
  const failed = (mode & KEEP_SIZE) !== 0 || end <= inode.size ? inode.reserve(end) : inode.resize(end);
  return failed !== 0 ? failed : changed(inode);
}

const KEEP_SIZE: u64 = 1;
const PUNCH_HOLE: u64 = 2;
const ZERO_RANGE: u64 = 16;
const FALLOCATE_MODES: u64 = KEEP_SIZE | PUNCH_HOLE | ZERO_RANGE;

function changed(inode: Inode): i64 {
  inode.modified = inode.changed = now(0);
  if (watching > 0) notify(inode, IN_MODIFY);
  return 0;
}

export function sysMemfdCreate(name: u64, flags: u64): i64 {
  if ((flags & ~3) !== 0) return EINVAL;
  loadPath(name, true);
  if (failure !== 0) return failure;
  const inode = new Inode(S_IFREG | 0o777);
  inode.links = 0;
  return give(inode, O_RDWR | ((flags & 1) !== 0 ? O_CLOEXEC : 0));
}

/** What is not in the store is in memory, and has to be written nowhere. */
export function sysFsync(fd: u64): i64 {
  const file = fileOf(fd);
  if (file === null) return EBADF;
  if (file.special !== 0 || file.inode.device !== DEVICE_NONE) return EINVAL;
  if (file.inode.outside !== null) return syncOutside(file.inode, file.hostFd);
  return file.inode.stored !== null ? syncStore() : 0;
}

export function sysSync(): i64 {
  const result = syncStore();
  // sync has no error to report.
  return result === PENDING ? PENDING : 0;
}

export function sysSyncfs(fd: u64): i64 {
  const file = fileOf(fd);
  return file === null ? EBADF : file.inode.stored !== null ? syncStore() : 0;
}

/** open_how: flags, mode, resolve. How a path may be resolved is not restricted. */
export function sysOpenat2(folder: u64, path: u64, how: u64, size: u64): i64 {
  if (size < 24) return EINVAL;
  if (!copyIn(scratch, how, 24)) return EFAULT;
  const resolve = load<u64>(scratch, 16);
  return resolve !== 0 ? EINVAL : sysOpenat(folder, path, load<u64>(scratch), load<u64>(scratch, 8));
}
