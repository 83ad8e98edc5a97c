/** What of the process concerns files: where it stands, and where relative paths begin. */
import { EBADF, ENOENT, ENOTDIR, ERANGE, EFAULT } from '../errno';
import { copyOut } from '../shim';
import { current } from '../task/thread';
import { failure, loadPath, scratch, stringToBytes } from '../user';
import { Inode } from './inode';
import { fileOf } from './open-file';
import { pathOf, root, walk, walkFailure } from './path';

export const AT_FDCWD: i64 = -100;
export const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
export const AT_REMOVEDIR: u32 = 0x200;
export const AT_SYMLINK_FOLLOW: u32 = 0x400;
export const AT_EMPTY_PATH: u32 = 0x1000;

/** Why `directoryOf` failed. */
export let startFailure: i64 = 0;

/** Where a path relative to a descriptor begins, or null with `startFailure`. */
export function directoryOf(folder: i64, path: string): Inode | null {
  startFailure = 0;
  if (path.length > 0 && path.charCodeAt(0) === 47) return root;
  if (folder === AT_FDCWD) return current.process.cwd;
  const file = fileOf(<u64>folder);
  startFailure = file === null ? EBADF : file.inode.isDirectory ? 0 : ENOTDIR;
  return startFailure === 0 ? file!.inode : null;
}

export function umask(): u32 {
  return current.process.umask;
}

export function sysUmask(next: u64): i64 {
  const before = current.process.umask;
  current.process.umask = <u32>next & 0o777;
  return before;
}

export function sysGetcwd(user: u64, size: u64): i64 {
  const path = pathOf(current.process.cwd);
  if (path.length === 0) return ENOENT;
  if (<u64>path.length + 1 > size) return ERANGE;
  const length = stringToBytes(path, scratch) + 1;
  return copyOut(user, scratch, length) ? length : EFAULT;
}

export function sysChdir(path: u64): i64 {
  const name = loadPath(path);
  if (failure !== 0) return failure;
  const found = walk(name, current.process.cwd, true);
  if (found === null) return walkFailure;
  if (!found.isDirectory) return ENOTDIR;
  current.process.cwd = found;
  return 0;
}

export function sysFchdir(fd: u64): i64 {
  const file = fileOf(fd);
  if (file === null) return EBADF;
  if (!file.inode.isDirectory) return ENOTDIR;
  current.process.cwd = file.inode;
  return 0;
}
