/** Process groups and sessions: names that processes share, and that signals are sent to. There is no terminal to control. */
import { EPERM, ESRCH } from '../errno';
import { Process } from './process';
import { current, MAX_THREADS, threads } from './thread';

/** A process by its number (0: the caller's own), or null. */
export function processOf(pid: i32): Process | null {
  if (pid === 0 || pid === current.process.pid) return current.process;
  for (let slot = 0; slot < MAX_THREADS; slot++) {
    const thread = threads[slot];
    if (thread !== null && thread.process.pid === pid) return thread.process;
  }
  return null;
}

/** Whether a process is of this group. */
export function isGroup(group: i32): bool {
  for (let slot = 0; slot < MAX_THREADS; slot++) {
    const thread = threads[slot];
    if (thread !== null && thread.process.pgid === group) return true;
  }
  return false;
}

export function sysGetppid(): i64 {
  const parent = current.process.parent;
  return parent === null ? 1 : parent.pid;
}

export function sysGetpgid(pid: u64): i64 {
  const process = processOf(<i32>pid);
  return process === null ? ESRCH : process.pgid;
}

export function sysGetsid(pid: u64): i64 {
  const process = processOf(<i32>pid);
  return process === null ? ESRCH : process.sid;
}

export function sysGetpgrp(): i64 {
  return current.process.pgid;
}

export function sysSetpgid(pid: u64, group: u64): i64 {
  const process = processOf(<i32>pid);
  if (process === null || (process !== current.process && process.parent !== current.process)) return ESRCH;
  if (process.sid === process.pid || process.sid !== current.process.sid) return EPERM;
  const to = <i32>group === 0 ? process.pid : <i32>group;
  if (to !== process.pid && processOf(to) === null) return EPERM;
  process.pgid = to;
  return 0;
}

export function sysSetsid(): i64 {
  const process = current.process;
  if (process.pgid === process.pid) return EPERM;
  process.pgid = process.sid = process.pid;
  return process.pid;
}
