/** Making, removing and renaming names; folders; attributes. */
import {
  EBADF, EEXIST, EFAULT, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, EPERM, EROFS, EXDEV,
} from '../errno';
import { copyIn, copyOut, now } from '../shim';
import { current } from '../task/thread';
import { failure, loadPath, scratch, stringToBytes } from '../user';
import { changeMode, changeOwner, changeTimes, linkName, list, makeName, removeName, renameName } from './host-names';
import { find, findFailure } from './hostfs';
import { IN_ATTRIB, IN_CREATE, IN_DELETE, notify, notifyGone, notifyMove, notifyMoved, notifyName, notifySelf, watching } from './notify';
import { Inode, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG } from './inode';
import { fileOf, isOpen, O_PATH, OpenFile } from './open-file';
import { Listing, sameMount } from './outside';
import { lastName, lastSlash, link, root, walk, walkFailure, walkParent } from './path';
import {
  AT_EMPTY_PATH, AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW, directoryOf, startFailure, umask,
} from './process-files';
import { isStored, namesChanged, storeFolder } from './store-folder';

const EBUSY: i64 = -16;
let failed: i64 = 0;
let name: string = '';

/** The folder of a name that may not exist yet, or null with `failed`; the name is in `name`. */
function parentOf(folder: i64, path: u64): Inode | null {
  const given = loadPath(path);
  failed = failure;
  if (failed !== 0) return null;
  const start = directoryOf(folder, given);
  failed = startFailure;
  if (start === null) return null;
  const found = walkParent(given, start);
  failed = walkFailure;
  name = lastName;
  if (found !== null && !found.isDirectory) {
    failed = ENOTDIR;
    return null;
  }
  return found;
}

function existing(folder: i64, path: u64, flags: u32): Inode | null {
  const given = loadPath(path, (flags & AT_EMPTY_PATH) !== 0);
  failed = failure;
  if (failed !== 0) return null;
  if (given.length === 0) {
    if (folder === AT_FDCWD) return current.process.cwd;
    const file = fileOf(<u64>folder);
    failed = file === null ? EBADF : 0;
    return file === null ? null : file.inode;
  }
  const start = directoryOf(folder, given);
  failed = startFailure;
  if (start === null) return null;
  const found = walk(given, start, (flags & AT_SYMLINK_NOFOLLOW) === 0);
  failed = walkFailure;
  return found;
}

function touch(folder: Inode): void {
  folder.modified = folder.changed = now(0);
}

function special(last: string): bool {
  return last === '' || last === '.' || last === '..';
}

/** Whether `make` gives a further name to what is there. */
let isLinked: bool = false;

/** A new file in a folder, or an error. */
function make(folder: i64, path: u64, inode: Inode): i64 {
  const parent = parentOf(folder, path);
  if (parent === null) return failed;
  if (special(name)) return EEXIST;
  if (parent.outside !== null) return lastSlash && !inode.isDirectory ? ENOENT : makeName(parent, name, inode);
  if (parent.entries!.has(name)) return EEXIST;
  if (lastSlash && !inode.isDirectory) return ENOENT;
  if (parent.links === 0) return ENOENT;
  if (parent.readOnly) return EROFS;
  if (watching > 0 && inode.links > 0 && !inode.isDirectory && isLinked) notifySelf(inode, IN_ATTRIB);
  link(parent, name, inode);
  touch(parent);
  if (watching > 0) notifyName(parent, name, inode, IN_CREATE);
  return 0;
}

export function sysMkdirat(folder: u64, path: u64, mode: u64): i64 {
  return make(<i64>(<i32>folder), path, new Inode(S_IFDIR | (<u32>mode & 0o1777 & ~umask())));
}

export function sysMkdir(path: u64, mode: u64): i64 {
  return sysMkdirat(<u64>AT_FDCWD, path, mode);
}

export function sysMknodat(folder: u64, path: u64, mode: u64): i64 {
  const type = <u32>mode & S_IFMT;
  if (type === S_IFDIR) return EPERM;
  if (type === S_IFIFO || type === S_IFCHR) return EPERM;
  if (type !== 0 && type !== S_IFREG) return EINVAL;
  return make(<i64>(<i32>folder), path, new Inode(S_IFREG | (<u32>mode & 0o7777 & ~umask())));
}

export function sysMknod(path: u64, mode: u64): i64 {
  return sysMknodat(<u64>AT_FDCWD, path, mode);
}

export function sysSymlinkat(target: u64, folder: u64, path: u64): i64 {
  const to = loadPath(target);
  if (failure !== 0) return failure;
  const inode = new Inode(S_IFLNK | 0o777);
  inode.target = to;
  inode.size = to.length;
  return make(<i64>(<i32>folder), path, inode);
}

export function sysSymlink(target: u64, path: u64): i64 {
  return sysSymlinkat(target, <u64>AT_FDCWD, path);
}

export function sysLinkat(fromFolder: u64, from: u64, toFolder: u64, to: u64, flags: u64): i64 {
  if ((<u32>flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH)) !== 0) return EINVAL;
  const follow = (<u32>flags & AT_SYMLINK_FOLLOW) !== 0 ? 0 : AT_SYMLINK_NOFOLLOW;
  const inode = existing(<i64>(<i32>fromFolder), from, follow | (<u32>flags & AT_EMPTY_PATH));
  if (inode === null) return failed;
  if (inode.isDirectory) return EPERM;
  const parent = parentOf(<i64>(<i32>toFolder), to);
  if (parent === null) return failed;
  if (parent.outside !== null || inode.outside !== null) {
    if (special(name)) return EEXIST;
    if (lastSlash) return ENOENT;
    return sameMount(inode, parent) ? linkName(inode, parent, name) : EXDEV;
  }
  if (parent.readOnly === false && (parent.stored !== null) !== (inode.stored !== null)) return EXDEV;
  // What was removed is gone; what never had a name may get one.
  if (inode.links === 0 && !inode.nameless) return ENOENT;
  isLinked = true;
  const made = make(<i64>(<i32>toFolder), to, inode);
  isLinked = false;
  if (made === 0) {
    inode.nameless = false;
    inode.links++;
    inode.changed = now(0);
  }
  return made;
}

export function sysLink(from: u64, to: u64): i64 {
  return sysLinkat(<u64>AT_FDCWD, from, <u64>AT_FDCWD, to, 0);
}

function forget(inode: Inode): void {
  inode.links--;
  inode.changed = now(0);
  if (inode.links !== 0 || isOpen(inode)) return;
  if (watching > 0) notifyGone(inode);
  if (inode.isFile) inode.release();
}

function removeFolder(parent: Inode, last: string, inode: Inode, tells: bool): i64 {
  if (!inode.isDirectory) return ENOTDIR;
  if ((inode === storeFolder && isStored()) || inode.outside !== null) return EBUSY;
  if (inode.entries!.size > 0) return ENOTEMPTY;
  if (inode.readOnly) return EROFS;
  parent.entries!.delete(last);
  namesChanged(parent);
  inode.links = 0;
  parent.links--;
  touch(parent);
  if (tells && watching > 0) {
    if (!isOpen(inode)) notifyGone(inode);
    notifyName(parent, last, inode, IN_DELETE);
  }
  return 0;
}

export function sysUnlinkat(folder: u64, path: u64, flags: u64): i64 {
  if ((<u32>flags & ~AT_REMOVEDIR) !== 0) return EINVAL;
  const parent = parentOf(<i64>(<i32>folder), path);
  if (parent === null) return failed;
  const removes = <u32>flags === AT_REMOVEDIR;
  if (special(name)) return removes ? (name === '.' ? EINVAL : name === '' ? EBUSY : ENOTEMPTY) : EISDIR;
  if (parent.outside !== null) return lastSlash && !removes ? ENOTDIR : removeName(parent, name, removes);
  if (!parent.entries!.has(name)) return ENOENT;
  const inode = parent.entries!.get(name);
  if (removes) return removeFolder(parent, name, inode, true);
  if (inode.isDirectory) return EISDIR;
  if (lastSlash) return ENOTDIR;
  if (inode.readOnly) return EROFS;
  parent.entries!.delete(name);
  namesChanged(parent);
  touch(parent);
  if (watching > 0) {
    notifySelf(inode, IN_ATTRIB);
    notifyName(parent, name, inode, IN_DELETE);
  }
  forget(inode);
  return 0;
}

export function sysUnlink(path: u64): i64 {
  return sysUnlinkat(<u64>AT_FDCWD, path, 0);
}

export function sysRmdir(path: u64): i64 {
  return sysUnlinkat(<u64>AT_FDCWD, path, AT_REMOVEDIR);
}

export function sysRenameat2(fromFolder: u64, from: u64, toFolder: u64, to: u64, flags: u64): i64 {
  if ((flags & ~3) !== 0 || flags === 3) return EINVAL;
  const source = parentOf(<i64>(<i32>fromFolder), from);
  if (source === null) return failed;
  const oldName = name;
  const oldSlash = lastSlash;
  const target = parentOf(<i64>(<i32>toFolder), to);
  if (target === null) return failed;
  const newName = name;
  const newSlash = lastSlash;
  if (special(oldName) || special(newName)) return EBUSY;
  if (source.outside !== null && sameMount(source, target)) {
    // A slash behind a name says that it is a folder's, which the host is not told.
    if (oldSlash || (newSlash && (flags & 2) === 0)) {
      const found = find(source, oldName, '');
      if (found === null) return findFailure;
      if (!found.isDirectory) return ENOTDIR;
    }
    return renameName(source, oldName, target, newName, <u32>flags);
  }
  if (source.outside !== null || (target.outside !== null && source.entries!.has(oldName))) return EXDEV;
  if (!source.entries!.has(oldName)) return ENOENT;
  const inode = source.entries!.get(oldName);
  if (inode.outside !== null) return EBUSY;
  if (inode.readOnly || source.readOnly || target.readOnly) return EROFS;
  // A slash behind a name says that it is a folder's.
  let replaced: Inode | null = null;
  if (!inode.isDirectory && (oldSlash || (newSlash && (flags & 2) === 0))) return ENOTDIR;
  // The store is another file system than what it is in.
  if ((source.stored !== null) !== (target.stored !== null)) return EXDEV;
  if (inode === storeFolder) return EBUSY;
  const there = target.entries!.has(newName) ? target.entries!.get(newName) : null;
  if (inode.isDirectory)
    for (let at: Inode = target; at !== root; at = at.parent!) if (at === inode) return EINVAL;
  if (there !== null) {
    if (there === inode) return 0;
    if ((flags & 1) !== 0) return EEXIST;
    if (there.readOnly) return EROFS;
    if ((flags & 2) !== 0) {
      move(source, oldName, target, newName, inode);
      move(target, '', source, oldName, there);
      if (watching > 0) {
        notifyMove(source, oldName, target, newName, inode);
        notifyMoved(inode);
        notifyMove(target, newName, source, oldName, there);
        notifyMoved(there);
      }
      return 0;
    }
    if (there.isDirectory && !inode.isDirectory) return EISDIR;
    if (!there.isDirectory && inode.isDirectory) return ENOTDIR;
    if (there.isDirectory) {
      const gone = removeFolder(target, newName, there, false);
      if (gone !== 0) return gone;
    }
    replaced = there;
  } else if ((flags & 2) !== 0) return ENOENT;
  move(source, oldName, target, newName, inode);
  if (watching > 0) {
    notifyMove(source, oldName, target, newName, inode);
    if (replaced !== null && !replaced.isDirectory) notifySelf(replaced, IN_ATTRIB);
    notifyMoved(inode);
    if (replaced !== null && replaced.isDirectory && !isOpen(replaced)) notifyGone(replaced);
  }
  if (replaced !== null && !replaced.isDirectory) forget(replaced);
  return 0;
}

function move(source: Inode, oldName: string, target: Inode, newName: string, inode: Inode): void {
  if (oldName !== '') source.entries!.delete(oldName);
  namesChanged(source);
  if (inode.isDirectory) source.links--;
  link(target, newName, inode);
  touch(source);
  touch(target);
  inode.changed = now(0);
}

export function sysRename(from: u64, to: u64): i64 {
  return sysRenameat2(<u64>AT_FDCWD, from, <u64>AT_FDCWD, to, 0);
}

export function sysRenameat(fromFolder: u64, from: u64, toFolder: u64, to: u64): i64 {
  return sysRenameat2(fromFolder, from, toFolder, to, 0);
}

export function sysReadlinkat(folder: u64, path: u64, user: u64, size: u64): i64 {
  if (<i32>size <= 0) return EINVAL;
  const inode = existing(<i64>(<i32>folder), path, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH);
  if (inode === null) return failed;
  if (!inode.isLink) return EINVAL;
  let length = stringToBytes(inode.target, scratch);
  if (length > <i32>size) length = <i32>size;
  return copyOut(user, scratch, length) ? length : EFAULT;
}

export function sysReadlink(path: u64, user: u64, size: u64): i64 {
  return sysReadlinkat(<u64>AT_FDCWD, path, user, size);
}

/** Names of a folder's entries; of one of the host's their numbers and types as well. */
let listed: Listing = new Listing();

/** What a folder has now, into `listed`: 0, PENDING, or an errno. */
function entriesOf(file: OpenFile): i64 {
  const folder = file.inode;
  if (folder.outside !== null) {
    const waiting = list(file);
    if (waiting === 0) listed = file.listing!;
    return waiting;
  }
  if (folder.links === 0) return ENOENT;
  listed = new Listing();
  listed.names = folder.entries!.keys();
  return 0;
}

function numberOf(folder: Inode, at: i32): u64 {
  if (at < 2) {
    const inode = at === 0 ? folder : folder.parent!;
    return inode.outside !== null ? inode.outside!.identity | 1 : inode.number;
  }
  return folder.outside !== null ? listed.numbers[at - 2] : folder.entries!.get(listed.names[at - 2]).number;
}

function typeOf(folder: Inode, at: i32): u8 {
  if (at < 2) return 4;
  return folder.outside !== null ? listed.types[at - 2] : <u8>((folder.entries!.get(listed.names[at - 2]).mode & S_IFMT) >> 12);
}

/** getdents64: `.` and `..`, then the entries in the order in which they came. The position counts them. */
export function sysGetdents64(fd: u64, user: u64, size: u64): i64 {
  const file = fileOf(fd);
  if (file === null) return EBADF;
  const folder = file.inode;
  if (!folder.isDirectory) return ENOTDIR;
  const waiting = entriesOf(file);
  if (waiting !== 0) return waiting;
  const names = listed.names;
  const count = names.length + 2;
  let done: u64 = 0;
  while (file.position < <u64>count) {
    const at = <i32>file.position;
    const text = at === 0 ? '.' : at === 1 ? '..' : names[at - 2];
    const record = (19 + text.length + 1 + 7) & ~7;
    if (done + record > size) return done > 0 ? done : EINVAL;
    memory.fill(scratch, 0, record);
    store<u64>(scratch, numberOf(folder, at));
    store<u64>(scratch, at + 1, 8);
    store<u16>(scratch, <u16>record, 16);
    store<u8>(scratch, typeOf(folder, at), 18);
    stringToBytes(text, scratch + 19);
    if (!copyOut(user + done, scratch, record)) return done > 0 ? done : EFAULT;
    done += record;
    file.position++;
  }
  return done;
}

/** The older form: the type is the last byte of a record. */
export function sysGetdents(fd: u64, user: u64, size: u64): i64 {
  const file = fileOf(fd);
  if (file === null) return EBADF;
  const folder = file.inode;
  if (!folder.isDirectory) return ENOTDIR;
  const waiting = entriesOf(file);
  if (waiting !== 0) return waiting;
  const names = listed.names;
  let done: u64 = 0;
  while (file.position < <u64>names.length + 2) {
    const at = <i32>file.position;
    const text = at === 0 ? '.' : at === 1 ? '..' : names[at - 2];
    const record = (18 + text.length + 2 + 7) & ~7;
    if (done + record > size) return done > 0 ? done : EINVAL;
    memory.fill(scratch, 0, record);
    store<u64>(scratch, numberOf(folder, at));
    store<u64>(scratch, at + 1, 8);
    store<u16>(scratch, <u16>record, 16);
    stringToBytes(text, scratch + 18);
    store<u8>(scratch + record - 1, typeOf(folder, at));
    if (!copyOut(user + done, scratch, record)) return done > 0 ? done : EFAULT;
    done += record;
    file.position++;
  }
  return done;
}

const AT_EACCESS: u32 = 0x200;
/** Flags of calls that change attributes. */
const ATTRIBUTE_FLAGS: u32 = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH;

/** The program is root of its own world, so only what does not exist and what is read-only is refused. */
export function sysFaccessat2(folder: u64, path: u64, mode: u64, flags: u64): i64 {
  if ((mode & ~7) !== 0 || (<u32>flags & ~(AT_EACCESS | ATTRIBUTE_FLAGS)) !== 0) return EINVAL;
  const inode = existing(<i64>(<i32>folder), path, <u32>flags & (AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH));
  if (inode === null) return failed;
  if ((mode & 2) !== 0 && inode.readOnly) return EROFS;
  if ((mode & 1) !== 0 && !inode.isDirectory && (inode.mode & 0o111) === 0) return -13;
  return 0;
}

export function sysFaccessat(folder: u64, path: u64, mode: u64): i64 {
  return sysFaccessat2(folder, path, mode, 0);
}

export function sysAccess(path: u64, mode: u64): i64 {
  return sysFaccessat2(<u64>AT_FDCWD, path, mode, 0);
}

function chmod(inode: Inode, mode: u64, fd: i32 = -1): i64 {
  if (inode.outside !== null) return changeMode(inode, fd, mode);
  if (inode.readOnly) return EROFS;
  inode.mode = (inode.mode & S_IFMT) | (<u32>mode & 0o7777);
  inode.changed = now(0);
  if (watching > 0) notify(inode, IN_ATTRIB);
  return 0;
}

export function sysFchmodat(folder: u64, path: u64, mode: u64): i64 {
  const inode = existing(<i64>(<i32>folder), path, 0);
  return inode === null ? failed : chmod(inode, mode);
}

export function sysChmod(path: u64, mode: u64): i64 {
  return sysFchmodat(<u64>AT_FDCWD, path, mode);
}

export function sysFchmod(fd: u64, mode: u64): i64 {
  const file = fileOf(fd);
  return file === null || (file.flags & O_PATH) !== 0 ? EBADF : chmod(file.inode, mode, file.hostFd);
}

function chown(inode: Inode, uid: u64, gid: u64, fd: i32 = -1): i64 {
  if (inode.outside !== null) return changeOwner(inode, fd, uid, gid);
  if (inode.readOnly) return EROFS;
  if (<i32>uid !== -1) inode.uid = <u32>uid;
  if (<i32>gid !== -1) inode.gid = <u32>gid;
  // Whoever owns it now has not decided that it runs as its owner or its group.
  if (inode.isFile) inode.mode &= (inode.mode & 0o10) !== 0 ? ~0o6000 : ~0o4000;
  inode.changed = now(0);
  if (watching > 0) notify(inode, IN_ATTRIB);
  return 0;
}

export function sysFchownat(folder: u64, path: u64, uid: u64, gid: u64, flags: u64): i64 {
  if ((<u32>flags & ~ATTRIBUTE_FLAGS) !== 0) return EINVAL;
  const inode = existing(<i64>(<i32>folder), path, <u32>flags);
  return inode === null ? failed : chown(inode, uid, gid);
}

export function sysChown(path: u64, uid: u64, gid: u64): i64 {
  return sysFchownat(<u64>AT_FDCWD, path, uid, gid, 0);
}

export function sysLchown(path: u64, uid: u64, gid: u64): i64 {
  return sysFchownat(<u64>AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW);
}

export function sysFchown(fd: u64, uid: u64, gid: u64): i64 {
  const file = fileOf(fd);
  return file === null || (file.flags & O_PATH) !== 0 ? EBADF : chown(file.inode, uid, gid, file.hostFd);
}

const UTIME_NOW: u64 = 0x3fffffff;
const UTIME_OMIT: u64 = 0x3ffffffe;

/** Times as the host is told them. */
const OUTSIDE_NOW: u64 = u64.MAX_VALUE;
const OUTSIDE_OMIT: u64 = u64.MAX_VALUE - 1;

function outsideTime(nanoseconds: u64, seconds: u64): u64 {
  if (nanoseconds === UTIME_NOW) return OUTSIDE_NOW;
  return nanoseconds === UTIME_OMIT ? OUTSIDE_OMIT : seconds * 1_000_000_000 + nanoseconds;
}

export function sysUtimensat(folder: u64, path: u64, times: u64, flags: u64): i64 {
  let inode: Inode | null;
  if ((<u32>flags & ~ATTRIBUTE_FLAGS) !== 0) return EINVAL;
  let fd = -1;
  if (path === 0) {
    const file = fileOf(folder);
    if (file === null) return EBADF;
    inode = file.inode;
    fd = file.hostFd;
  } else inode = existing(<i64>(<i32>folder), path, <u32>flags);
  if (inode === null) return failed;
  if (inode.readOnly) return EROFS;
  const present = now(0);
  let accessed = present;
  let modified = present;
  if (times !== 0) {
    if (!copyIn(scratch, times, 32)) return EFAULT;
    const first = load<u64>(scratch, 8);
    const second = load<u64>(scratch, 24);
    if ((first > 999999999 && first < UTIME_OMIT) || first > UTIME_NOW) return EINVAL;
    if ((second > 999999999 && second < UTIME_OMIT) || second > UTIME_NOW) return EINVAL;
    if (inode.outside !== null)
      return changeTimes(inode, fd, outsideTime(first, load<u64>(scratch)), outsideTime(second, load<u64>(scratch, 16)));
    if (first === UTIME_OMIT) accessed = inode.accessed;
    else if (first !== UTIME_NOW) accessed = load<u64>(scratch) * 1_000_000_000 + first;
    if (second === UTIME_OMIT) modified = inode.modified;
    else if (second !== UTIME_NOW) modified = load<u64>(scratch, 16) * 1_000_000_000 + second;
  }
  if (inode.outside !== null) return changeTimes(inode, fd, OUTSIDE_NOW, OUTSIDE_NOW);
  inode.accessed = accessed;
  inode.modified = modified;
  inode.changed = present;
  if (watching > 0) notify(inode, IN_ATTRIB);
  return 0;
}

function setTimes(folder: i64, path: u64, accessed: u64, modified: u64): i64 {
  const inode = existing(folder, path, 0);
  if (inode === null) return failed;
  if (inode.outside !== null) return changeTimes(inode, -1, accessed, modified);
  if (inode.readOnly) return EROFS;
  inode.accessed = accessed;
  inode.modified = modified;
  inode.changed = now(0);
  if (watching > 0) notify(inode, IN_ATTRIB);
  return 0;
}

/** Two times as seconds and microseconds. */
export function sysFutimesat(folder: u64, path: u64, times: u64): i64 {
  if (times === 0) return sysUtimensat(folder, path, 0, 0);
  if (!copyIn(scratch, times, 32)) return EFAULT;
  if (load<u64>(scratch, 8) >= 1_000_000 || load<u64>(scratch, 24) >= 1_000_000) return EINVAL;
  const accessed = load<u64>(scratch) * 1_000_000_000 + load<u64>(scratch, 8) * 1000;
  const modified = load<u64>(scratch, 16) * 1_000_000_000 + load<u64>(scratch, 24) * 1000;
  return setTimes(<i64>(<i32>folder), path, accessed, modified);
}

export function sysUtimes(path: u64, times: u64): i64 {
  return sysFutimesat(<u64>AT_FDCWD, path, times);
}

/** Two times as seconds. */
export function sysUtime(path: u64, times: u64): i64 {
  if (times === 0) return sysUtimensat(<u64>AT_FDCWD, path, 0, 0);
  if (!copyIn(scratch, times, 16)) return EFAULT;
  return setTimes(AT_FDCWD, path, load<u64>(scratch) * 1_000_000_000, load<u64>(scratch, 8) * 1_000_000_000);
}
