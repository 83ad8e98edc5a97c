import { close, open } from './descriptors.js';
import { checkInteger, OsError, systemError } from './errors.js';
import { native } from './native.js';
import { type Signal, signalNumber } from './processes.js';

/* Layout of struct spawn_request in native/spawn.c. */
const MAX_FDS = 64;
const HEADER = 48;
const SIZE = HEADER + MAX_FDS * 8;
const NEW_SESSION = 1;
const SET_IDS = 2;
const DROP_CAPABILITIES = 4;
const NO_NEW_PRIVS = 8;
const NO_CORE = 16;
const STAGES = ['clone', 'dup2', 'getppid', 'setsid', 'setresuid', 'capset', 'prctl', 'chdir', 'execve'];
const O_RDWR = 2;

/** Options of {@link spawn}. */
export interface SpawnOptions {
  /** A path, or a descriptor of the program (execveat; the descriptor is not passed on). */
  executable: string | { fd: number };
  /** Arguments with argv[0]. */
  argv: readonly string[];
  /** The whole environment as NAME=value; nothing is inherited. */
  env: readonly string[];
  /** [descriptor in the child, descriptor here]; all others are closed; 0, 1, 2 default to /dev/null. */
  fds?: readonly (readonly [child: number, parent: number])[];
  /** Sent to the child when the calling thread ends; the child checks that it is not too late. */
  deathSignal?: Signal;
  /** Both or neither; supplementary groups are dropped as well. */
  uid?: number;
  gid?: number;
  /** Empties all capability sets, the bounding set included. */
  dropCapabilities?: boolean;
  noNewPrivileges?: boolean;
  /** No core dump. */
  noCore?: boolean;
  newSession?: boolean;
  cwd?: string;
}

function encode(options: SpawnOptions, fds: readonly (readonly [number, number])[]): Uint8Array {
  const text = new TextEncoder();
  const parts: Uint8Array[] = [];
  let at = SIZE;
  const put = (s: string): number => {
    if (s.includes('\0')) {
      throw new OsError('ARGUMENT_INVALID', 'An argument or environment string contains a NUL character.');
    }
    const bytes = text.encode(`${s}\0`);
    const offset = at;
    parts.push(bytes);
    at += bytes.length;
    return offset;
  };
  const byFd = typeof options.executable === 'object';
  const path = byFd ? 0 : put(options.executable as string);
  const cwd = options.cwd === undefined ? 0 : put(options.cwd);
  const argv = at;
  options.argv.forEach(put);
  const env = at;
  options.env.forEach(put);
  put('');
  const setIds = options.uid !== undefined || options.gid !== undefined;
  const flags =
    (options.newSession ? NEW_SESSION : 0) |
    (setIds ? SET_IDS : 0) |
    (options.dropCapabilities ? DROP_CAPABILITIES : 0) |
    (options.noNewPrivileges ? NO_NEW_PRIVS : 0) |
    (options.noCore ? NO_CORE : 0);
  const bytes = new Uint8Array(at);
  const header = new DataView(bytes.buffer);
  const fields = [
    flags,
    byFd ? checkInteger((options.executable as { fd: number }).fd, 'executable.fd', 0, 0x7fffffff) : -1,
    path,
    cwd,
    options.argv.length,
    argv,
    options.env.length,
    env,
    options.deathSignal === undefined ? 0 : signalNumber(options.deathSignal),
    setIds ? checkInteger(options.uid as number, 'uid', 0, 0xfffffffe) : 0,
    setIds ? checkInteger(options.gid as number, 'gid', 0, 0xfffffffe) : 0,
    fds.length,
  ];
  for (let i = 0; i < fields.length; i++) header.setInt32(i * 4, fields[i]!, true);
  fds.forEach(([child, parent], i) => {
    header.setInt32(HEADER + i * 8, child, true);
    header.setInt32(HEADER + i * 8 + 4, parent, true);
  });
  let offset = SIZE;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}

/**
 * Starts a program without a shell, with exactly these descriptors, arguments and environment, default signal
 * handling and an empty signal mask. Returns its number and a pidfd, both to be kept: the caller reaps it
 * (`waitPid`, `waitPidfd`, or an EventPump) and closes the pidfd. Call it from the main thread: a death signal
 * follows the thread.
 *
 * @throws OsError with the error of the step that failed (e.g. ENOENT execve, EBADF dup2, EPERM setresuid)
 */
export function spawn(options: SpawnOptions): { pid: number; pidfd: number } {
  const fds = (options.fds ?? []).map(([child, parent]): [number, number] => [
    checkInteger(child, 'child descriptor', 0, 1023),
    checkInteger(parent, 'parent descriptor', 0, 0x7fffffff),
  ]);
  const wanted = new Set(fds.map(([child]) => child));
  if (wanted.size !== fds.length) {
    throw new OsError('ARGUMENT_INVALID', 'A child descriptor is listed twice.');
  }
  const missing = [0, 1, 2].filter((fd) => !wanted.has(fd));
  checkInteger(fds.length + missing.length, 'number of descriptors', 0, MAX_FDS);
  const nothing = missing.length > 0 ? open('/dev/null', O_RDWR) : -1;
  try {
    for (const fd of missing) fds.push([fd, nothing]);
    fds.sort((a, b) => a[0] - b[0]);
    const request = encode(options, fds);
    const out = new Int32Array(3);
    const r: number = native().spawn(request, request.byteLength, out);
    if (r < 0) {
      const program = typeof options.executable === 'string' ? options.executable : 'descriptor';
      throw systemError(-r, STAGES[out[2]!] ?? 'clone', `starting ${program}`);
    }
    return { pid: out[0]!, pidfd: out[1]! };
  } finally {
    if (nothing >= 0) close(nothing);
  }
}
