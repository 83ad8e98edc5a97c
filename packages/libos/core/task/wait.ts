/** wait4 and waitid: children that have ended. Stopping and continuing do not happen here. */
import { ECHILD, EFAULT, EINVAL } from '../errno';
import { copyOut } from '../shim';
import { scratch, storeU32 } from '../user';
import { forget } from './exit';
import { Process } from './process';
import { NEVER, park, watch } from './queue';
import { current } from './thread';

const WNOHANG: u32 = 1;
const WEXITED: u32 = 4;
const WNOWAIT: u32 = 0x0100_0000;
const KNOWN: u32 = 0xe100_000f;
const P_ALL = 0;
const P_PID = 1;
const P_PGID = 2;
const CLD_EXITED = 1;
const CLD_KILLED = 2;

function matches(child: Process, kind: i32, id: i32): bool {
  return kind === P_ALL || (kind === P_PID ? child.pid === id : child.pgid === id);
}

/** An ended child that is meant, or null; `found` says whether any child is. */
let found: bool = false;
function endedChild(kind: i32, id: i32): Process | null {
  const children = current.process.children;
  found = false;
  for (let i = 0; i < children.length; i++) {
    if (!matches(children[i], kind, id)) continue;
    found = true;
    if (children[i].ended) return children[i];
  }
  return null;
}

export function sysWait4(pid64: u64, status: u64, options64: u64, usage: u64): i64 {
  const options = <u32>options64;
  if ((options & ~KNOWN) !== 0) return EINVAL;
  const pid = <i32>pid64;
  const kind = pid === -1 ? P_ALL : pid > 0 ? P_PID : P_PGID;
  const child = endedChild(kind, pid > 0 ? pid : pid === 0 ? current.process.pgid : -pid);
  if (child === null) {
    if (!found) return ECHILD;
    if ((options & WNOHANG) !== 0) return 0;
    watch(current.process.childEnded);
    return park(NEVER, true);
  }
  if (status !== 0 && storeU32(status, child.status) !== 0) return EFAULT;
  if (usage !== 0) {
    memory.fill(scratch, 0, 144);
    if (!copyOut(usage, scratch, 144)) return EFAULT;
  }
  forget(current.process, child);
  return child.pid;
}

export function sysWaitid(kind64: u64, id: u64, info: u64, options64: u64, usage: u64): i64 {
  const options = <u32>options64;
  const kind = <i32>kind64;
  if (kind < P_ALL || kind > P_PGID || (options & WEXITED) === 0 || (options & ~KNOWN) !== 0) return EINVAL;
  const child = endedChild(kind, kind === P_PGID && <i32>id === 0 ? current.process.pgid : <i32>id);
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
  store<i32>(scratch, 17);
  store<i32>(scratch, killed ? CLD_KILLED : CLD_EXITED, 8);
  store<i32>(scratch, child.pid, 16);
  store<i32>(scratch, killed ? child.status & 0x7f : child.status >> 8, 24);
  if (info !== 0 && !copyOut(info, scratch, 128)) return EFAULT;
  if (usage !== 0) {
    memory.fill(scratch, 0, 144);
    if (!copyOut(usage, scratch, 144)) return EFAULT;
  }
  if ((options & WNOWAIT) === 0) forget(current.process, child);
  return 0;
}
