/** Extended attributes of files of memory: user.*, trusted.* and security.*, as tmpfs has them. */
import { E2BIG, EBADF, EEXIST, EFAULT, EINVAL, ENODATA, ENOSPC, EOPNOTSUPP, EPERM, ERANGE, EROFS } from '../errno';
import { copyIn, copyOut, now } from '../shim';
import { bytesToString, failure, loadPath, scratch, stringToBytes } from '../user';
import { IN_ATTRIB, notify, watching } from './notify';
import { fits } from './chunks';
import { Inode } from './inode';
import { fileOf, O_PATH } from './open-file';
import { walk, walkFailure } from './path';
import { AT_FDCWD, directoryOf } from './process-files';

const XATTR_CREATE: u64 = 1;
const XATTR_REPLACE: u64 = 2;
const NAME_MAX = 255;
const VALUE_MAX: u64 = 65536;
/** Of one file. */
const TOTAL_MAX: u64 = 131072;

let failed: i64 = 0;

function named(path: u64, follow: bool): Inode | null {
  const name = loadPath(path);
  failed = failure;
  if (failed !== 0) return null;
  const inode = walk(name, directoryOf(AT_FDCWD, name)!, follow);
  failed = walkFailure;
  return inode;
}

function ofDescriptor(fd: u64): Inode | null {
  const file = fileOf(fd);
  failed = EBADF;
  return file === null || (file.flags & O_PATH) !== 0 ? null : file.inode;
}

/** The name at `user`, or '' with `failed`. */
function nameAt(user: u64): string {
  let length = 0;
  failed = ERANGE;
  for (; length <= NAME_MAX; length++) {
    if (!copyIn(scratch + length, user + length, 1)) {
      failed = EFAULT;
      return '';
    }
    if (load<u8>(scratch + length) === 0) break;
  }
  if (length === 0 || length > NAME_MAX) return '';
  failed = 0;
  return bytesToString(scratch, length);
}

/** 0, or why an attribute of this name cannot be there. */
function refused(inode: Inode, name: string, write: bool): i64 {
  const user = name.startsWith('user.');
  if (!user && !name.startsWith('trusted.') && !name.startsWith('security.')) return EOPNOTSUPP;
  if (name.indexOf('.') === name.length - 1) return EINVAL;
  if (user && !inode.isFile && !inode.isDirectory) return write ? EPERM : ENODATA;
  // What is kept outside has none.
  return write && (inode.outside !== null || inode.stored !== null) ? EOPNOTSUPP : 0;
}

function set(inode: Inode | null, nameUser: u64, value: u64, size: u64, flags: u64): i64 {
  if (inode === null) return failed;
  if ((flags & ~(XATTR_CREATE | XATTR_REPLACE)) !== 0) return EINVAL;
  const name = nameAt(nameUser);
  if (failed !== 0) return failed;
  if (size > VALUE_MAX) return E2BIG;
  if (inode.readOnly) return EROFS;
  const wrong = refused(inode, name, true);
  if (wrong !== 0) return wrong;
  const known = inode.attributes !== null && inode.attributes!.has(name);
  if (known && (flags & XATTR_CREATE) !== 0) return EEXIST;
  if (!known && (flags & XATTR_REPLACE) !== 0) return ENODATA;
  if (inode.attributes === null) inode.attributes = new Map<string, string>();
  const attributes = inode.attributes!;
  const values = attributes.values();
  let total: u64 = size;
  for (let i = 0; i < values.length; i++) total += values[i].length;
  if (total > TOTAL_MAX || !fits(size * 4)) return ENOSPC;
  const bytes = heap.alloc(<usize>size + 1);
  const copied = copyIn(bytes, value, size);
  if (copied) attributes.set(name, bytesToString(bytes, <i32>size));
  heap.free(bytes);
  if (!copied) return EFAULT;
  inode.changed = now(0);
  if (watching > 0) notify(inode, IN_ATTRIB);
  return 0;
}

function get(inode: Inode | null, nameUser: u64, user: u64, size: u64): i64 {
  if (inode === null) return failed;
  const name = nameAt(nameUser);
  if (failed !== 0) return failed;
  const wrong = refused(inode, name, false);
  if (wrong !== 0) return wrong;
  if (inode.attributes === null || !inode.attributes!.has(name)) return ENODATA;
  return give(inode.attributes!.get(name), user, size);
}

/** Bytes to the program, or how many there are if it asks for none. */
function give(text: string, user: u64, size: u64): i64 {
  const length = <u64>text.length;
  if (size === 0) return length;
  if (size < length) return ERANGE;
  const bytes = heap.alloc(<usize>length + 1);
  stringToBytes(text, bytes);
  const copied = copyOut(user, bytes, length);
  heap.free(bytes);
  return copied ? length : EFAULT;
}

function list(inode: Inode | null, user: u64, size: u64): i64 {
  if (inode === null) return failed;
  if (inode.attributes === null) return 0;
  const names = inode.attributes!.keys();
  let text = '';
  for (let i = 0; i < names.length; i++) text += `${names[i]}\0`;
  return give(text, user, size);
}

function remove(inode: Inode | null, nameUser: u64): i64 {
  if (inode === null) return failed;
  const name = nameAt(nameUser);
  if (failed !== 0) return failed;
  if (inode.readOnly) return EROFS;
  const wrong = refused(inode, name, true);
  if (wrong !== 0) return wrong;
  if (inode.attributes === null || !inode.attributes!.delete(name)) return ENODATA;
  inode.changed = now(0);
  if (watching > 0) notify(inode, IN_ATTRIB);
  return 0;
}

export function sysSetxattr(path: u64, name: u64, value: u64, size: u64, flags: u64): i64 {
  return set(named(path, true), name, value, size, flags);
}

export function sysLsetxattr(path: u64, name: u64, value: u64, size: u64, flags: u64): i64 {
  return set(named(path, false), name, value, size, flags);
}

export function sysFsetxattr(fd: u64, name: u64, value: u64, size: u64, flags: u64): i64 {
  return set(ofDescriptor(fd), name, value, size, flags);
}

export function sysGetxattr(path: u64, name: u64, user: u64, size: u64): i64 {
  return get(named(path, true), name, user, size);
}

export function sysLgetxattr(path: u64, name: u64, user: u64, size: u64): i64 {
  return get(named(path, false), name, user, size);
}

export function sysFgetxattr(fd: u64, name: u64, user: u64, size: u64): i64 {
  return get(ofDescriptor(fd), name, user, size);
}

export function sysListxattr(path: u64, user: u64, size: u64): i64 {
  return list(named(path, true), user, size);
}

export function sysLlistxattr(path: u64, user: u64, size: u64): i64 {
  return list(named(path, false), user, size);
}

export function sysFlistxattr(fd: u64, user: u64, size: u64): i64 {
  return list(ofDescriptor(fd), user, size);
}

export function sysRemovexattr(path: u64, name: u64): i64 {
  return remove(named(path, true), name);
}

export function sysLremovexattr(path: u64, name: u64): i64 {
  return remove(named(path, false), name);
}

export function sysFremovexattr(fd: u64, name: u64): i64 {
  return remove(ofDescriptor(fd), name);
}
