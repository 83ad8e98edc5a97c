/** Attacks on processes: what one process of an ordinary user can try against another. */
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync } from 'node:fs';
import { connect } from 'node:net';
import {
  close,
  getRlimit,
  loadLibrary,
  type NativeFunction,
  pidfdGetFd,
  pidfdOpen,
  processVmRead,
  processVmWrite,
  ptraceAttach,
  setRlimit,
} from '@nestedsgx/os';
import { nameOf, text64, type World } from './world.js';

const PAUSE = new Int32Array(new SharedArrayBuffer(4));
const FILES = ['maps', 'smaps', 'pagemap', 'environ', 'auxv', 'syscall', 'stack'];
const LINKS = ['exe', 'cwd', 'root'];
const MOST_FDS = 32;

/** One attempt against a process. `got` is what it gave, or null when it was refused with `why`. */
export interface ProcessAttempt {
  what: string;
  got: string | null;
  why: string;
}

/** A signal in one of the ways in which a process can send it. */
export interface Forgery {
  signal: number;
  how: 'kill' | 'tgkill' | 'sigqueue';
}

let libc: Record<'tgkill' | 'sigqueue', NativeFunction> | undefined;
function signalFunctions() {
  const library = libc ? null : loadLibrary('libc.so.6');
  libc ??= {
    tgkill: library!.func('int tgkill(int tgid, int tid, int sig)'),
    sigqueue: library!.func('int sigqueue(int pid, int sig, uint64_t value)'),
  };
  return libc;
}

export const processActs = {
  /** Tries to read `length` bytes at `address` of `pid`, to write there, to attach, and to take its descriptors. */
  probe(
    _world: World,
    { pid, address, length, write }: { pid: number; address: number; length: number; write: boolean },
  ): ProcessAttempt[] {
    const attempts: ProcessAttempt[] = [];
    const attempt = (what: string, action: () => string) => {
      try {
        attempts.push({ what, got: action(), why: '' });
      } catch (error) {
        attempts.push({ what, got: null, why: nameOf(error) });
      }
    };
    attempt('/proc/PID/mem', () => readAt(`/proc/${pid}/mem`, address, length));
    attempt('process_vm_readv', () => {
      const bytes = new Uint8Array(length);
      processVmRead(pid, address, bytes);
      return text64(bytes);
    });
    if (write)
      attempt(
        'process_vm_writev',
        () => `${processVmWrite(pid, address, new Uint8Array(length).fill(0x5a))} bytes`,
      );
    attempt('ptrace attach', () => {
      ptraceAttach(pid);
      return 'attached';
    });
    attempt('pidfd_getfd', () => takeDescriptors(pid));
    attempt('/proc/PID/fd', () => `${readdirSync(`/proc/${pid}/fd`).length} descriptors`);
    attempt('/proc/PID/fd/*', () => openDescriptors(pid));
    attempt('/proc/PID/map_files', () => `${readdirSync(`/proc/${pid}/map_files`).length} mappings`);
    for (const file of FILES) attempt(`/proc/PID/${file}`, () => readAt(`/proc/${pid}/${file}`, 0, 64));
    for (const link of LINKS) attempt(`/proc/PID/${link}`, () => readlinkSync(`/proc/${pid}/${link}`));
    return attempts;
  },

  /** Sends each forgery to `pid` (every thread, for tgkill) `times` over, `gapMs` apart. Returns what the kernel said. */
  forge(
    _world: World,
    { pid, forgeries, times, gapMs }: { pid: number; forgeries: Forgery[]; times: number; gapMs: number },
  ): { sent: number; refused: string | null } {
    let sent = 0;
    let refused: string | null = null;
    for (let round = 0; round < times; round++) {
      for (const forgery of forgeries) {
        try {
          sent += send(pid, forgery);
        } catch (error) {
          refused = nameOf(error);
        }
        if (gapMs > 0) Atomics.wait(PAUSE, 0, 0, gapMs);
      }
    }
    return { sent, refused };
  },

  /**
   * Waits for the next child process of `parent` that is not in `known`, and signals it from `delayMs` after it was seen
   * for `ms`, as often as `gapMs` allows.
   */
  ambush(
    _world: World,
    args: { parent: number; known: number[]; signal: number; delayMs: number; ms: number; gapMs: number },
  ): { pid: number; seenAfterMs: number; sent: number; refused: string | null } {
    const known = new Set(args.known);
    const started = performance.now();
    let pid = 0;
    while (pid === 0) {
      if (performance.now() - started > 5000) throw new Error('no new process of the launcher was seen');
      pid = childrenOf(args.parent).find((child) => !known.has(child)) ?? 0;
    }
    const seen = performance.now();
    let sent = 0;
    let refused: string | null = null;
    while (performance.now() - seen < args.delayMs) Atomics.wait(PAUSE, 0, 0, 0.2);
    while (performance.now() - seen < args.delayMs + args.ms) {
      try {
        process.kill(pid, args.signal);
        sent++;
      } catch (error) {
        refused = nameOf(error);
        if (refused === 'ESRCH') break;
      }
      if (args.gapMs > 0) Atomics.wait(PAUSE, 0, 0, args.gapMs);
    }
    return { pid, seenAfterMs: seen - started, sent, refused };
  },

  /** Raises the core limit of `pid` as far as it goes and makes it abort. */
  abort(_world: World, { pid, signal }: { pid: number; signal: number }): { core: string; signal: string } {
    const outcome = { core: '', signal: 'sent' };
    try {
      const { hard } = getRlimit('CORE', pid);
      setRlimit('CORE', hard, hard, pid);
      outcome.core =
        hard === 0
          ? '0, and it cannot be raised'
          : `raised to ${hard === Number.POSITIVE_INFINITY ? 'unlimited' : hard}`;
    } catch (error) {
      outcome.core = nameOf(error);
    }
    try {
      process.kill(pid, signal);
    } catch (error) {
      outcome.signal = nameOf(error);
    }
    return outcome;
  },

  /** Connects to TCP ports of this machine and asks for the inspector's list of targets. */
  async inspect(_world: World, { ports }: { ports: number[] }): Promise<{ port: number; answer: string }[]> {
    return Promise.all(ports.map((port) => askInspector(port)));
  },

  /** Local TCP ports on which somebody listens, with the uid of the listener, as /proc/net tells everybody. */
  listeners(): { port: number; uid: number }[] {
    return [...listening('/proc/net/tcp'), ...listening('/proc/net/tcp6')];
  },
};

function readAt(path: string, position: number, length: number): string {
  const fd = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(length);
    const got = readSync(fd, bytes, 0, length, position);
    return text64(bytes.subarray(0, got));
  } finally {
    closeSync(fd);
  }
}

function takeDescriptors(pid: number): string {
  const pidfd = pidfdOpen(pid);
  let why: unknown = new Error('no descriptor');
  try {
    for (let fd = 0; fd < MOST_FDS; fd++) {
      try {
        close(pidfdGetFd(pidfd, fd));
        return `descriptor ${fd}`;
      } catch (error) {
        if (nameOf(error) !== 'EBADF') why = error;
      }
    }
    throw why;
  } finally {
    close(pidfd);
  }
}

function openDescriptors(pid: number): string {
  let why: unknown = new Error('no descriptor');
  for (let fd = 0; fd < MOST_FDS; fd++) {
    try {
      closeSync(openSync(`/proc/${pid}/fd/${fd}`, 'r'));
      return `descriptor ${fd}`;
    } catch (error) {
      if (nameOf(error) !== 'ENOENT') why = error;
      else if (why instanceof Error && why.message === 'no descriptor') why = error;
    }
  }
  throw why;
}

function send(pid: number, { signal, how }: Forgery): number {
  if (how === 'kill') {
    process.kill(pid, signal);
    return 1;
  }
  const functions = signalFunctions();
  const targets = how === 'tgkill' ? readdirSync(`/proc/${pid}/task`).map(Number) : [pid];
  let sent = 0;
  for (const target of targets) {
    const result =
      how === 'tgkill' ? functions.tgkill(pid, target, signal) : functions.sigqueue(target, signal, 0xdead);
    if (result === 0) sent++;
  }
  if (sent === 0) process.kill(pid, 0); // throws with the reason when there is one
  return sent;
}

/** Numbers of the processes whose parent is `parent`, read from /proc as everybody can. */
export function childrenOf(parent: number): number[] {
  const children: number[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
      if (Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === parent) children.push(Number(name));
    } catch {
      // It ended.
    }
  }
  return children;
}

function listening(path: string): { port: number; uid: number }[] {
  let lines: string[];
  try {
    lines = readFileSync(path, 'latin1').trim().split('\n').slice(1);
  } catch {
    return [];
  }
  return lines
    .map((line) => line.trim().split(/\s+/))
    .filter((cells) => cells[3] === '0A')
    .map((cells) => ({ port: Number.parseInt(cells[1]!.split(':')[1]!, 16), uid: Number(cells[7]) }));
}

function askInspector(port: number): Promise<{ port: number; answer: string }> {
  return new Promise((resolve) => {
    let answer = '';
    const socket = connect({ host: '127.0.0.1', port });
    const done = (text: string) => {
      socket.destroy();
      resolve({ port, answer: text });
    };
    socket.setTimeout(300, () => done(answer || 'no answer'));
    socket.on('connect', () =>
      socket.write('GET /json/list HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n'),
    );
    socket.on('data', (chunk) => {
      answer += chunk.toString('latin1').slice(0, 2000);
    });
    socket.on('end', () => done(answer));
    socket.on('error', (error) => done(nameOf(error)));
  });
}
