/** The calls of inotify; what they read is made in notify.ts. */
import { EBADF, EEXIST, EINVAL, ENOSPC, ENOTDIR } from '../errno';
import { failure, loadPath } from '../user';
import { Inode } from './inode';
import { add, IN_ALL, Watch, Watcher, watching } from './notify';
import { fileOf, install, O_CLOEXEC, O_NONBLOCK, opened, OpenFile } from './open-file';
import { walk, walkFailure } from './path';
import { AT_FDCWD, directoryOf } from './process-files';

const IN_ONLYDIR: u32 = 0x0100_0000;
const IN_DONT_FOLLOW: u32 = 0x0200_0000;
const IN_MASK_CREATE: u32 = 0x1000_0000;
const IN_MASK_ADD: u32 = 0x2000_0000;
const FLAGS: u32 = 0xff00_0000;
const MOST_WATCHES = 8192;

export function sysInotifyInit1(flags64: u64): i64 {
  const flags = <u32>flags64;
  if ((flags & ~(O_CLOEXEC | O_NONBLOCK)) !== 0) return EINVAL;
  const inode = new Inode(0o600);
  const file = new OpenFile(inode, flags & O_NONBLOCK);
  file.thing = new Watcher();
  const fd = install(file, 0, (flags & O_CLOEXEC) !== 0);
  if (fd >= 0) opened(inode, 1);
  return fd;
}

export function sysInotifyInit(): i64 {
  return sysInotifyInit1(0);
}

/** The watcher of a descriptor, or null with `missing`. */
let missing: i64 = 0;
function watcherOf(fd: u64): Watcher | null {
  const file = fileOf(fd);
  missing = file === null ? EBADF : EINVAL;
  return file !== null && file.thing !== null && file.thing instanceof Watcher ? <Watcher>file.thing! : null;
}

export function sysInotifyAddWatch(fd: u64, path: u64, mask64: u64): i64 {
  const mask = <u32>mask64;
  if ((mask & IN_ALL) === 0) return EINVAL;
  if ((mask & IN_MASK_ADD) !== 0 && (mask & IN_MASK_CREATE) !== 0) return EINVAL;
  const watcher = watcherOf(fd);
  if (watcher === null) return missing;
  const name = loadPath(path);
  if (failure !== 0) return failure;
  const inode = walk(name, directoryOf(AT_FDCWD, name)!, (mask & IN_DONT_FOLLOW) === 0);
  if (inode === null) return walkFailure;
  if ((mask & IN_ONLYDIR) !== 0 && !inode.isDirectory) return ENOTDIR;
  // What others do to files of the host nobody tells; programs look from time to time then.
  if (inode.outside !== null) return ENOSPC;
  const kept = mask & (IN_ALL | FLAGS) & ~(IN_MASK_ADD | IN_MASK_CREATE | IN_ONLYDIR | IN_DONT_FOLLOW);
  for (let i = 0; i < watcher.watches.length; i++) {
    const known = watcher.watches[i];
    if (known.inode !== inode) continue;
    if ((mask & IN_MASK_CREATE) !== 0) return EEXIST;
    known.mask = (mask & IN_MASK_ADD) !== 0 ? known.mask | kept : kept;
    return known.wd;
  }
  if (watching >= MOST_WATCHES) return ENOSPC;
  const added = new Watch(watcher, ++watcher.lastWd, inode, kept);
  add(added);
  return added.wd;
}

export function sysInotifyRmWatch(fd: u64, wd: u64): i64 {
  const watcher = watcherOf(fd);
  if (watcher === null) return missing;
  for (let i = 0; i < watcher.watches.length; i++) {
    if (watcher.watches[i].wd !== <i32>wd) continue;
    watcher.watches[i].end();
    return 0;
  }
  return EINVAL;
}
