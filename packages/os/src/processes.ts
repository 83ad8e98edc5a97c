import { constants } from 'node:os';
import { check, checkInteger } from './errors.js';
import { native } from './native.js';

const PR_SET_PDEATHSIG = 1;
const PR_GET_DUMPABLE = 3;
const PR_SET_DUMPABLE = 4;
const PR_SET_NO_NEW_PRIVS = 38;
const CLD_EXITED = 1;
const ECHILD = 10;
const RLIMITS = {
  CPU: 0,
  FSIZE: 1,
  DATA: 2,
  STACK: 3,
  CORE: 4,
  NPROC: 6,
  NOFILE: 7,
  MEMLOCK: 8,
  AS: 9,
} as const;
/** Resources of {@link getRlimit}. */
export type Rlimit = keyof typeof RLIMITS;
/** A signal by number or name. */
export type Signal = number | NodeJS.Signals;

/** Number of a signal. */
export function signalNumber(signal: Signal): number {
  return checkInteger(typeof signal === 'number' ? signal : constants.signals[signal], 'signal', 0, 64);
}

/** How a child ended: by exit code or by signal. */
export interface ExitStatus {
  pid: number;
  code?: number;
  signal?: number;
}

/** Turns siginfo (pid, CLD_* code, status) into an {@link ExitStatus}. */
export function exitStatus(pid: number, cldCode: number, status: number): ExitStatus {
  return cldCode === CLD_EXITED ? { pid, code: status } : { pid, signal: status };
}

/** A descriptor for a process. @throws OsError ESRCH */
export function pidfdOpen(pid: number): number {
  return check(native().pidfdOpen(checkInteger(pid, 'pid', 1, 0x7fffffff)), 'pidfd_open', `process ${pid}`);
}

/** Sends a signal (0: only looks whether the process is there). @throws OsError ESRCH, EPERM */
export function pidfdSignal(pidfd: number, signal: Signal): void {
  check(native().pidfdSignal(pidfd, signalNumber(signal)), 'pidfd_send_signal');
}

/** Copies a descriptor out of another process (needs the right to debug it). @throws OsError EPERM, EBADF */
export function pidfdGetFd(pidfd: number, fd: number): number {
  return check(native().pidfdGetFd(pidfd, fd), 'pidfd_getfd', `descriptor ${fd}`);
}

function waitOn(byPidfd: boolean, id: number, nohang: boolean): ExitStatus | null {
  const out = new Int32Array(3);
  const r: number = native().wait(byPidfd ? 1 : 0, id, nohang ? 1 : 0, out);
  if (r === -ECHILD && nohang) return null;
  return check(r, 'waitid', `${byPidfd ? 'pidfd' : 'process'} ${id}`)
    ? exitStatus(out[0]!, out[1]!, out[2]!)
    : null;
}

/** Reaps a child; null when it still runs, or (with `nohang`) is not ours. @throws OsError ECHILD without `nohang` */
export function waitPid(pid: number, nohang = true): ExitStatus | null {
  return waitOn(false, checkInteger(pid, 'pid', 1, 0x7fffffff), nohang);
}

/** As {@link waitPid}, by pidfd. */
export function waitPidfd(pidfd: number, nohang = true): ExitStatus | null {
  return waitOn(true, pidfd, nohang);
}

/** Whether other processes of the same user may read or trace this one (PR_SET_DUMPABLE). */
export function setDumpable(on: boolean): void {
  check(native().prctl(PR_SET_DUMPABLE, on ? 1 : 0, 0, 0, 0), 'prctl', 'PR_SET_DUMPABLE');
}

export function isDumpable(): boolean {
  return check(native().prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 'prctl') === 1;
}

/** Signal for this process when the thread that started it ends; 0 for none. Check getppid afterwards. */
export function setDeathSignal(signal: Signal): void {
  check(native().prctl(PR_SET_PDEATHSIG, signalNumber(signal), 0, 0, 0), 'prctl', 'PR_SET_PDEATHSIG');
}

/** No program started from here gains privileges (setuid files). Cannot be undone. */
export function setNoNewPrivileges(): void {
  check(native().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 'prctl', 'PR_SET_NO_NEW_PRIVS');
}

/** Gives up root for good in every thread: supplementary groups, gid, uid. @throws OsError EPERM */
export function becomeUser(uid: number, gid: number): void {
  check(
    native().become(checkInteger(uid, 'uid', 0, 0xfffffffe), checkInteger(gid, 'gid', 0, 0xfffffffe)),
    'setresuid',
  );
}

/** Soft and hard limit of a process (0: this one); Infinity for none. */
export function getRlimit(resource: Rlimit, pid = 0): { soft: number; hard: number } {
  const out = new Float64Array(2);
  check(native().getRlimit(pid, RLIMITS[resource], out), 'prlimit', resource);
  return { soft: out[0]!, hard: out[1]! };
}

/** Sets a limit. @throws OsError EPERM (above the hard limit), EINVAL */
export function setRlimit(resource: Rlimit, soft: number, hard: number, pid = 0): void {
  check(native().setRlimit(pid, RLIMITS[resource], soft, hard), 'prlimit', resource);
}

/** Reads another process's memory, as a debugger may. Returns the bytes read. @throws OsError EPERM, EFAULT */
export function processVmRead(pid: number, address: number, into: Uint8Array): number {
  return check(
    native().processVmRead(pid, address, into, into.byteLength),
    'process_vm_readv',
    `process ${pid}`,
  );
}

/** Writes another process's memory, as a debugger may. @throws OsError EPERM, EFAULT */
export function processVmWrite(pid: number, address: number, from: Uint8Array): number {
  return check(
    native().processVmWrite(pid, address, from, from.byteLength),
    'process_vm_writev',
    `process ${pid}`,
  );
}

/** Attaches to a process with ptrace and lets go again. @throws OsError EPERM when that is refused */
export function ptraceAttach(pid: number): void {
  check(native().ptraceAttach(pid), 'ptrace', `process ${pid}`);
}
