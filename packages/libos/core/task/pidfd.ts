/** Descriptors of processes (pidfd_open(2)), and what processes of one address space may do to each other. */
import { EAGAIN, EBADF, EFAULT, EINVAL, ENOSYS, ESRCH } from '../errno';
import { Inode } from '../fs/inode';
import { fileOf, hold, install, letGo, O_NONBLOCK, O_RDWR, OpenFile, opened, setFiles, Thing } from '../fs/open-file';
import { copyIn, copyUser } from '../shim';
import { queued, sendTo, SI_USER } from '../signals';
import { scratch } from '../user';
import { Process } from './process';
import { Queue } from './queue';
import { processOf } from './session';
import { current } from './thread';

const POLLIN: u32 = 1;
const IOV_MAX: u64 = 1024;

class PidFile extends Thing {
  constructor(public process: Process) {
    super();
  }
  queue(): Queue {
    return this.process.signalled;
  }
  state(): u32 {
    return this.process.ended ? POLLIN : 0;
  }
}

/** A process that runs, or a child that has ended and was not waited for. */
function find(pid: i32): Process | null {
  const children = current.process.children;
  for (let i = 0; i < children.length; i++) if (children[i].pid === pid) return children[i];
  return processOf(pid);
}

export function sysPidfdOpen(pid: u64, flags: u64): i64 {
  if ((<u32>flags & ~O_NONBLOCK) !== 0 || <i32>pid <= 0) return EINVAL;
  const process = find(<i32>pid);
  if (process === null) return ESRCH;
  const file = new OpenFile(new Inode(0o600), O_RDWR | <u32>flags);
  file.thing = new PidFile(process);
  const fd = install(file, 0, true);
  if (fd >= 0) opened(file.inode, 1);
  return fd;
}

export function processBehind(fd: u64): Process | null {
  const file = fileOf(fd);
  if (file === null || file.thing === null || !(file.thing instanceof PidFile)) return null;
  return (<PidFile>file.thing!).process;
}

export function sysPidfdSendSignal(fd: u64, signal: u64, info: u64, flags: u64): i64 {
  if (flags !== 0) return EINVAL;
  const process = processBehind(fd);
  if (process === null) return EBADF;
  if (signal > 64) return EINVAL;
  let code = SI_USER;
  let value: u64 = 0;
  if (info !== 0) {
    const failed = queued(info);
    if (failed !== 0) return failed;
    if (load<i32>(scratch) !== <i32>signal) return EINVAL;
    code = load<i32>(scratch, 8);
    value = load<u64>(scratch, 24);
  }
  if (process.ended) return ESRCH;
  return signal === 0 || sendTo(process, signal, code, value, current.process.pid) ? 0 : EAGAIN;
}

export function sysPidfdGetfd(fd: u64, target: u64, flags: u64): i64 {
  if (flags !== 0) return EINVAL;
  const process = processBehind(fd);
  if (process === null) return EBADF;
  if (process.ended) return ESRCH;
  setFiles(process.files);
  const file = fileOf(target);
  setFiles(current.process.files);
  if (file === null) return EBADF;
  hold(file);
  const result = install(file, 0, true);
  letGo(file);
  return result;
}

// ---- memory and identity of others ------------------------------------------------------------------------------------

/** Copies between lists of pieces; there is one address space, so what a process may is what its own pointers reach. */
function copyPieces(pid: u64, local: u64, locals: u64, remote: u64, remotes: u64, flags: u64, write: bool): i64 {
  if (flags !== 0 || locals > IOV_MAX || remotes > IOV_MAX) return EINVAL;
  if (processOf(<i32>pid) === null || <i32>pid <= 0) return ESRCH;
  let done: i64 = 0;
  let at: u64 = 0;
  let left: u64 = 0;
  let other: u64 = 0;
  for (let i: u64 = 0; i < remotes; i++) {
    if (!copyIn(scratch, remote + i * 16, 16)) return EFAULT;
    let from = load<u64>(scratch);
    let length = load<u64>(scratch, 8);
    while (length > 0) {
      if (left === 0) {
        if (other === locals) return done;
        if (!copyIn(scratch, local + other++ * 16, 16)) return EFAULT;
        at = load<u64>(scratch);
        left = load<u64>(scratch, 8);
        continue;
      }
      const part = min(left, length);
      if (!(write ? copyUser(from, at, part) : copyUser(at, from, part))) return done > 0 ? done : EFAULT;
      at += part;
      from += part;
      left -= part;
      length -= part;
      done += <i64>part;
    }
  }
  return done;
}

export function sysProcessVmReadv(pid: u64, local: u64, locals: u64, remote: u64, remotes: u64, flags: u64): i64 {
  return copyPieces(pid, local, locals, remote, remotes, flags, false);
}

export function sysProcessVmWritev(pid: u64, local: u64, locals: u64, remote: u64, remotes: u64, flags: u64): i64 {
  return copyPieces(pid, local, locals, remote, remotes, flags, true);
}

const KCMP_FILE = 0;
const KCMP_VM = 1;
const KCMP_FILES = 2;
const KCMP_SYSVSEM = 6;

/** 0: the same; 1, 2: in which order (by address, which says nothing else). */
function order(a: usize, b: usize): i64 {
  return a === b ? 0 : a < b ? 1 : 2;
}

export function sysKcmp(pid1: u64, pid2: u64, type: u64, fd1: u64, fd2: u64): i64 {
  const a = processOf(<i32>pid1);
  const b = processOf(<i32>pid2);
  if (a === null || b === null || <i32>pid1 <= 0 || <i32>pid2 <= 0) return ESRCH;
  const which = <i32>type;
  if (which < 0 || which > 7) return EINVAL;
  if (which === KCMP_VM) return order(changetype<usize>(a.space), changetype<usize>(b.space));
  if (which === KCMP_FILES) return order(changetype<usize>(a.files), changetype<usize>(b.files));
  if (which !== KCMP_FILE) return which <= KCMP_SYSVSEM ? order(changetype<usize>(a), changetype<usize>(b)) : ENOSYS;
  setFiles(a.files);
  const first = fileOf(fd1);
  setFiles(b.files);
  const second = fileOf(fd2);
  setFiles(current.process.files);
  return first === null || second === null ? EBADF : order(changetype<usize>(first), changetype<usize>(second));
}
