/** wait4 and waitid: children that have ended, were stopped or continued. */
import { EBADF, ECHILD, EFAULT, EINVAL } from '../errno';
import { copyOut } from '../shim';
import { scratch, storeU32 } from '../user';
import { processTime } from './cpu-time';
import { forget } from './exit';
import { processBehind } from './pidfd';
import { Process } from './process';
import { NEVER, park, watch } from './queue';
import { current } from './thread';

const WNOHANG: u32 = 1;
const WSTOPPED: u32 = 2;
const WEXITED: u32 = 4;
const WCONTINUED: u32 = 8;
const WNOWAIT: u32 = 0x0100_0000;
const KNOWN: u32 = 0xe100_000f;
/** Those that wait4 does not know. */
const OF_WAITID: u32 = WEXITED | WNOWAIT;
const P_ALL = 0;
const P_PID = 1;
const P_PGID = 2;
const P_PIDFD = 3;
const SIGCHLD = 17;
const SIGCONT: u64 = 18;
const CLD_EXITED = 1;
const CLD_KILLED = 2;
const CLD_STOPPED = 5;
const CLD_CONTINUED = 6;
const MICROS: u64 = 1_000_000;

function matches(child: Process, kind: i32, id: i32): bool {
  return kind === P_ALL || (kind === P_PID ? child.pid === id : child.pgid === id);
}

/** A child that is meant and has news, or null; `found` says whether any child is, and `news` which: CLD_EXITED, CLD_STOPPED, CLD_CONTINUED. */
let found: bool = false;
let news: i32 = 0;
function changed(kind: i32, id: i32, options: u32): Process | null {
  const children = current.process.children;
  found = false;
  for (let i = 0; i < children.length; i++) {
    const child = children[i];
    if (!matches(child, kind, id)) continue;
    if (child.ended && (options & WEXITED) === 0) continue;
    found = true;
    news = child.ended ? CLD_EXITED : child.stopNews && (options & WSTOPPED) !== 0 ? CLD_STOPPED : child.continueNews && (options & WCONTINUED) !== 0 ? CLD_CONTINUED : 0;
    if (news !== 0) return child;
  }
  return null;
}

/** Whoever is told is not told again. */
function told(child: Process): void {
  if (news === CLD_EXITED) forget(current.process, child);
  else if (news === CLD_STOPPED) child.stopNews = false;
  else child.continueNews = false;
}

/** struct rusage: times of the child and of its own children that it has waited for. */
function storeUsage(child: Process, usage: u64): bool {
  const micros = (processTime(child) + child.childrenSpent) / 1000;
  memory.fill(scratch, 0, 144);
  store<u64>(scratch, micros / MICROS);
  store<u64>(scratch, micros % MICROS, 8);
  return copyOut(usage, scratch, 144);
}

export function sysWait4(pid64: u64, status: u64, options64: u64, usage: u64): i64 {
  const options = <u32>options64;
  if ((options & ~KNOWN) !== 0 || (options & OF_WAITID) !== 0) return EINVAL;
  const pid = <i32>pid64;
  const kind = pid === -1 ? P_ALL : pid > 0 ? P_PID : P_PGID;
  const child = changed(kind, pid > 0 ? pid : pid === 0 ? current.process.pgid : -pid, options | WEXITED);
  if (child === null) {
    if (!found) return ECHILD;
    if ((options & WNOHANG) !== 0) return 0;
    watch(current.process.childEnded);
    return park(NEVER, true);
  }
  const value: u32 = news === CLD_EXITED ? child.status : news === CLD_STOPPED ? (<u32>child.stopped << 8) | 0x7f : 0xffff;
  if (status !== 0 && storeU32(status, value) !== 0) return EFAULT;
  if (usage !== 0 && !storeUsage(child, usage)) return EFAULT;
  const number = child.pid;
  told(child);
  return number;
}

export function sysWaitid(kind64: u64, id64: u64, info: u64, options64: u64, usage: u64): i64 {
  const options = <u32>options64;
  let kind = <i32>kind64;
  let id = <i32>id64;
  if (kind < P_ALL || kind > P_PIDFD || (options & (WEXITED | WSTOPPED | WCONTINUED)) === 0 || (options & ~KNOWN) !== 0) return EINVAL;
  if (kind === P_PIDFD) {
    const process = processBehind(<u64>id);
    if (process === null) return EBADF;
    kind = P_PID;
    id = process.pid;
  } else if (kind === P_PID && id <= 0) return EINVAL;
  else if (kind === P_PGID && id < 0) return EINVAL;
  const child = changed(kind, kind === P_PGID && id === 0 ? current.process.pgid : id, options);
  memory.fill(scratch, 0, 144);
  if (child === null) {
    if (!found) return ECHILD;
    if ((options & WNOHANG) === 0) {
      watch(current.process.childEnded);
      return park(NEVER, true);
    }
    return info === 0 || copyOut(info, scratch, 128) ? 0 : EFAULT;
  }
  const killed = (child.status & 0x7f) !== 0;
  store<i32>(scratch, SIGCHLD);
  store<i32>(scratch, news === CLD_EXITED && killed ? CLD_KILLED : news, 8);
  store<i32>(scratch, child.pid, 16);
  store<i32>(scratch, news === CLD_STOPPED ? <i32>child.stopped : news === CLD_CONTINUED ? <i32>SIGCONT : killed ? child.status & 0x7f : child.status >> 8, 24);
  if (info !== 0 && !copyOut(info, scratch, 128)) return EFAULT;
  if (usage !== 0 && !storeUsage(child, usage)) return EFAULT;
  if ((options & WNOWAIT) === 0) told(child);
  return 0;
}
