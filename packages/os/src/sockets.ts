import { unlinkSync } from 'node:fs';
import { check, checkInteger, OsError, systemError } from './errors.js';
import { native } from './native.js';

const EAGAIN = 11;
const EMSGSIZE = 90;
const EADDRINUSE = 98;
const ECONNREFUSED = 111;
const ECONNRESET = 104;
const ENOPROTOOPT = 92;
/** Limits of one message, as in native/nsgx_os.h. */
export const MAX_MESSAGE_BYTES = 65536;
export const MAX_MESSAGE_FDS = 8;

/** A received message. `eof`: the peer closed (an empty message counts as that, too). */
export interface Message {
  bytes: Uint8Array;
  fds: number[];
  eof: boolean;
}

/** Two connected SOCK_SEQPACKET unix sockets. */
export function socketpair(): [number, number] {
  const out = new Int32Array(2);
  check(native().socketpair(out), 'socketpair');
  return [out[0]!, out[1]!];
}

/**
 * Sends one message of 1 … 65536 bytes with at most 8 descriptors (which stay open here). Waits for room at most
 * `timeoutMs` (default 0).
 *
 * @throws OsError EAGAIN (the peer does not read), EPIPE (it closed), EMSGSIZE
 */
export function sendFds(fd: number, bytes: Uint8Array, fds: readonly number[] = [], timeoutMs = 0): void {
  checkInteger(bytes.byteLength, 'message length', 1, MAX_MESSAGE_BYTES);
  checkInteger(fds.length, 'descriptor count', 0, MAX_MESSAGE_FDS);
  const raw = Int32Array.from(fds);
  const n = native().send(
    fd,
    bytes,
    bytes.byteLength,
    raw,
    fds.length,
    checkInteger(timeoutMs, 'timeoutMs', 0, 0x7fffffff),
  );
  check(n, 'sendmsg', `descriptor ${fd}`);
}

/**
 * Receives one message, waiting at most `timeoutMs` (default 0); null when there is none. Descriptors arrive
 * close-on-exec and belong to the caller.
 *
 * @throws OsError MESSAGE_TRUNCATED (message or descriptor list too large; it is dropped, its descriptors closed)
 */
export function recvFds(
  fd: number,
  maxBytes = MAX_MESSAGE_BYTES,
  maxFds = MAX_MESSAGE_FDS,
  timeoutMs = 0,
): Message | null {
  checkInteger(maxBytes, 'maxBytes', 1, 1 << 24);
  checkInteger(maxFds, 'maxFds', 0, MAX_MESSAGE_FDS);
  const into = new Uint8Array(maxBytes);
  const raw = new Int32Array(1 + MAX_MESSAGE_FDS);
  const n: number = native().recv(
    fd,
    into,
    maxBytes,
    maxFds,
    checkInteger(timeoutMs, 'timeoutMs', 0, 0x7fffffff),
    raw,
  );
  if (n === -EAGAIN) return null;
  if (n === -ECONNRESET) return { bytes: new Uint8Array(0), fds: [], eof: true };
  if (n === -EMSGSIZE) {
    throw new OsError(
      'MESSAGE_TRUNCATED',
      `A message on descriptor ${fd} exceeds ${maxBytes} bytes or ${maxFds} descriptors.`,
      {
        errno: EMSGSIZE,
        syscall: 'recvmsg',
        advice: 'Close the connection: the peer does not keep to the protocol.',
      },
    );
  }
  check(n, 'recvmsg', `descriptor ${fd}`);
  return { bytes: into.slice(0, n), fds: Array.from(raw.subarray(1, 1 + raw[0]!)), eof: n === 0 };
}

/**
 * Refuses descriptors at a unix socket and at the connections accepted from it later: a peer that sends one gets
 * EPERM. False before Linux 6.16, where only receiving without room for them (source kind `bytes`) helps.
 */
export function refuseDescriptors(fd: number): boolean {
  const n: number = native().refuseDescriptors(fd);
  if (n === -ENOPROTOOPT) return false;
  check(n, 'setsockopt', `SO_PASSRIGHTS of descriptor ${fd}`);
  return true;
}

/**
 * Listens on a SOCK_SEQPACKET unix socket (non-blocking) with permission bits `mode`, set before the path can be
 * connected to. A left-over socket file that nobody listens on is replaced.
 *
 * @throws OsError EADDRINUSE (somebody listens), ENAMETOOLONG, EACCES
 */
export function listenUnix(path: string, mode = 0o600): number {
  const n = native();
  let fd: number = n.listenUnix(path, mode, 64);
  if (fd === -EADDRINUSE) {
    const probe: number = n.connectUnix(path, 100);
    if (probe >= 0) n.close(probe);
    if (probe === -ECONNREFUSED) {
      unlinkSync(path);
      fd = n.listenUnix(path, mode, 64);
    }
  }
  return check(fd, 'bind', path);
}

/** Accepts a connection (non-blocking descriptor); null when there is none. */
export function acceptUnix(fd: number): number | null {
  const n: number = native().accept(fd);
  return n === -EAGAIN ? null : check(n, 'accept', `descriptor ${fd}`);
}

/** Connects to a SOCK_SEQPACKET unix socket. @throws OsError ENOENT, ECONNREFUSED, EACCES, EAGAIN (backlog full) */
export function connectUnix(path: string, timeoutMs = 2000): number {
  return check(
    native().connectUnix(path, checkInteger(timeoutMs, 'timeoutMs', 0, 0x7fffffff)),
    'connect',
    path,
  );
}

/** Who was at the other end when the connection was made. */
export function peerCredentials(fd: number): { pid: number; uid: number; gid: number } {
  const out = new Int32Array(3);
  check(native().peerCredentials(fd, out), 'getsockopt', `SO_PEERCRED of descriptor ${fd}`);
  return { pid: out[0]!, uid: out[1]! >>> 0, gid: out[2]! >>> 0 };
}

/** A pidfd of the peer process, free of races with reused process numbers; null before Linux 6.5. */
export function peerPidfd(fd: number): number | null {
  const n: number = native().peerPidfd(fd);
  if (n === -92 || n === -22) return null; // ENOPROTOOPT
  if (n < 0) throw systemError(-n, 'getsockopt', `SO_PEERPIDFD of descriptor ${fd}`);
  return n;
}
