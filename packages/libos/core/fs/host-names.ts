/** System calls on names of the host's files: what the host is asked to do, and what comes of it inside. */
import { EEXIST, EINVAL, EIO, ENOMEM, EROFS } from '../errno';
import { leftMuch } from '../collection';
import { closeLater } from '../net/closing';
import { current } from '../task/thread';
import { bytesToString } from '../user';
import {
  F_ALLOCATE, F_APPEND, F_CHMOD, F_CHOWN, F_CREATE, F_LINK, F_LIST, F_MKDIR, F_OPEN, F_READ, F_RENAME, F_RMDIR, F_SPACE, F_SYMLINK,
  F_SYNC, F_TIMES, F_TRUNCATE, F_UNLINK, files, filesAnswered, filesArea, filesLength, forgetName, putPath, putString, RECORD,
  remember,
} from './hostfs';
import { fits } from './chunks';
import { Inode } from './inode';
import { install, O_CLOEXEC, opened, OpenFile } from './open-file';
import { isOwn, Listing, pathOfName, pathWithin } from './outside';

const EBUSY: i64 = -16;
/** What of open's flags concerns the host: how it is accessed, O_CREAT, O_EXCL, O_TRUNC, O_APPEND. */
const OPEN_FLAGS: u32 = 0o3303;
const MOST_ENTRIES = 200_000;

/** The result of what has none but 0. */
function outcome(): i64 {
  return current.waitResult > 0 ? EIO : current.waitResult;
}

/** An answer to an operation on a name, which nothing is known of any more. */
function changed(folder: Inode, name: string): i64 {
  forgetName(folder, name);
  return outcome();
}

function ownEntry(folder: Inode, name: string): bool {
  return folder.entries!.has(name) && isOwn(folder, folder.entries!.get(name));
}

/** Opens a file of the host, or makes it. */
export function openName(folder: Inode, name: string, flags: u32, mode: u32, kept: u32): i64 {
  if (!filesAnswered(F_OPEN)) return files(F_OPEN, -1, flags & OPEN_FLAGS, mode, putPath(folder, pathOfName(folder, name)));
  const fd = current.waitResult;
  if (fd < 0) return changed(folder, name);
  const at = filesArea();
  const length = filesLength();
  if (length < RECORD || load<i32>(at) !== 0 || (load<u32>(at, 4) & 0o170000) !== 0o100000 || load<u64>(at, 16) > 1 << 62) {
    closeLater(<i32>fd);
    return EIO;
  }
  const inode = remember(folder, name, at);
  const file = new OpenFile(inode, (flags & kept) | 0o100000);
  const number = install(file, 0, (flags & O_CLOEXEC) !== 0);
  if (number < 0) {
    closeLater(<i32>fd);
    return number;
  }
  file.hostFd = <i32>fd;
  opened(inode, 1);
  return number;
}

/** A folder, a file without bytes, or a link, as `inode` says. */
export function makeName(folder: Inode, name: string, inode: Inode): i64 {
  const op = inode.isDirectory ? F_MKDIR : inode.isLink ? F_SYMLINK : F_CREATE;
  if (filesAnswered(op)) return changed(folder, name);
  if (ownEntry(folder, name)) return EEXIST;
  if (folder.readOnly) return EROFS;
  let length = putPath(folder, pathOfName(folder, name));
  if (inode.isLink) length = putString(inode.target, length);
  return files(op, -1, inode.mode & 0o1777, 0, length);
}

export function linkName(from: Inode, folder: Inode, name: string): i64 {
  if (filesAnswered(F_LINK)) return changed(folder, name);
  if (ownEntry(folder, name)) return EEXIST;
  if (folder.readOnly) return EROFS;
  return files(F_LINK, -1, 0, 0, putString(pathOfName(folder, name), putPath(from, pathWithin(from))));
}

export function removeName(folder: Inode, name: string, isFolder: bool): i64 {
  const op = isFolder ? F_RMDIR : F_UNLINK;
  if (filesAnswered(op)) {
    const gone: Inode | null = folder.entries!.has(name) ? folder.entries!.get(name) : null;
    if (gone !== null && current.waitResult === 0) gone.links = isFolder ? 0 : gone.links > 0 ? gone.links - 1 : 0;
    return changed(folder, name);
  }
  if (ownEntry(folder, name)) return EBUSY;
  if (folder.readOnly) return EROFS;
  return files(op, -1, 0, 0, putPath(folder, pathOfName(folder, name)));
}

export function renameName(source: Inode, oldName: string, target: Inode, newName: string, flags: u32): i64 {
  if (filesAnswered(F_RENAME)) {
    const moved: Inode | null = source.entries!.has(oldName) ? source.entries!.get(oldName) : null;
    changed(source, oldName);
    const result = changed(target, newName);
    // What is open or stood in follows its name; what changed places is looked up again.
    if (result === 0 && moved !== null && (flags & 2) === 0) {
      moved.outside!.name = newName;
      moved.parent = target;
      target.entries!.set(newName, moved);
    }
    return result;
  }
  if (ownEntry(source, oldName) || ownEntry(target, newName)) return EBUSY;
  if (source.readOnly) return EROFS;
  return files(F_RENAME, -1, flags, 0, putString(pathOfName(target, newName), putPath(source, pathOfName(source, oldName))));
}

/** A change of a file itself, by its descriptor of the host if it has one. `moved` says whether what is known stays. */
function change(op: u64, inode: Inode, fd: i32, a: u64, b: u64): i64 {
  if (filesAnswered(op)) {
    inode.outside!.seen = 0;
    return outcome();
  }
  if (inode.readOnly) return EROFS;
  return files(op, fd, a, b, putPath(inode, fd < 0 ? pathWithin(inode) : ''));
}

export function changeMode(inode: Inode, fd: i32, mode: u64): i64 {
  return change(F_CHMOD, inode, fd, mode & 0o7777, 0);
}

export function changeOwner(inode: Inode, fd: i32, uid: u64, gid: u64): i64 {
  return change(F_CHOWN, inode, fd, <u32>uid, <u32>gid);
}

export function changeSize(inode: Inode, fd: i32, size: u64): i64 {
  return change(F_TRUNCATE, inode, fd, size, 0);
}

export function allocateRange(inode: Inode, fd: i32, mode: u64, offset: u64, length: u64): i64 {
  // Three numbers: the mode is above the offset, which is below 2^56.
  if (offset >= 1 << 56) return EINVAL;
  return change(F_ALLOCATE, inode, fd, offset | (mode << 56), length);
}

export function changeTimes(inode: Inode, fd: i32, accessed: u64, modified: u64): i64 {
  return change(F_TIMES, inode, fd, accessed, modified);
}

export function syncOutside(inode: Inode, fd: i32): i64 {
  if (filesAnswered(F_SYNC)) return outcome();
  return files(F_SYNC, fd, 0, 0, putPath(inode, fd < 0 ? pathWithin(inode) : ''));
}

export function changeAppending(file: OpenFile, on: bool): i64 {
  if (filesAnswered(F_APPEND)) return outcome();
  return files(F_APPEND, file.hostFd, on ? 1 : 0, 0, putPath(file.inode, ''));
}

/** Seven numbers of the file system: block size, blocks, free, available, files, free ones, longest name; they go to `to`. */
export function spaceOf(inode: Inode, to: usize): i64 {
  if (!filesAnswered(F_SPACE)) return files(F_SPACE, -1, 0, 0, putPath(inode, pathWithin(inode)));
  if (current.waitResult < 0) return current.waitResult;
  if (filesLength() < 56) return EIO;
  memory.copy(to, filesArea(), 56);
  return 0;
}

/** How a file begins, into the core's memory: how many bytes came, PENDING, or an errno. */
export function headOf(inode: Inode, to: usize, most: u32): i64 {
  if (!filesAnswered(F_READ)) return files(F_READ, -1, 0, most, putPath(inode, pathWithin(inode)));
  if (current.waitResult < 0) return current.waitResult;
  const length = min(<u32>filesLength(), most);
  memory.copy(to, filesArea(), length);
  return length;
}

function isName(at: usize, length: u32): bool {
  if (length === 0 || length > 255) return false;
  for (let i: u32 = 0; i < length; i++) {
    const byte = load<u8>(at + i);
    if (byte === 0 || byte === 47) return false;
  }
  return !(load<u8>(at) === 46 && (length === 1 || (length === 2 && load<u8>(at, 1) === 46)));
}

/** Takes a piece of the list: u64 number, u8 type, u8 length, name. Each must come behind the one before. */
function takeEntries(listing: Listing): i64 {
  const area = filesArea();
  const length = filesLength();
  let done: usize = 0;
  if (listing.names.length > MOST_ENTRIES || !fits(1 << 20)) return ENOMEM;
  while (done < length) {
    const at = area + done;
    if (length - done < 10) return EIO;
    const bytes = <u32>load<u8>(at, 9);
    if (length - done < 10 + bytes || !isName(at + 10, bytes)) return EIO;
    const name = bytesToString(at + 10, bytes);
    const count = listing.names.length;
    if (count > 0 && name <= listing.names[count - 1]) return EIO;
    listing.names.push(name);
    listing.numbers.push(load<u64>(at));
    listing.types.push(load<u8>(at, 8) & 15);
    done += 10 + bytes;
  }
  leftMuch(<i32>(length / 32));
  if (length === 0) listing.complete = true;
  return 0;
}

/** Fills the list of an open folder of the host: 0, PENDING, or an errno. */
export function list(file: OpenFile): i64 {
  if (file.position === 0 && !current.again) file.listing = null;
  if (file.listing === null) file.listing = new Listing();
  const listing = file.listing!;
  const folder = file.inode;
  if (filesAnswered(F_LIST)) {
    const result = current.waitResult < 0 ? current.waitResult : takeEntries(listing);
    if (result !== 0) {
      file.listing = null;
      return result;
    }
    if (listing.complete) addOwn(folder, listing);
  }
  if (listing.complete) return 0;
  const count = listing.names.length;
  const length = putString(count > 0 ? listing.names[count - 1] : '', putPath(folder, pathWithin(folder)));
  return files(F_LIST, -1, 0, 0, length);
}

/** Mounts within a mounted folder are there whether the host has such names or not. */
function addOwn(folder: Inode, listing: Listing): void {
  const names = folder.entries!.keys();
  for (let i = 0; i < names.length; i++) {
    const entry = folder.entries!.get(names[i]);
    if (!isOwn(folder, entry) || listing.names.includes(names[i])) continue;
    listing.names.push(names[i]);
    listing.numbers.push(entry.number);
    listing.types.push(4);
  }
}
