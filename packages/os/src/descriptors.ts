import { check, checkInteger } from './errors.js';
import { native } from './native.js';

/** Closes a descriptor. @throws OsError EBADF */
export function close(fd: number): void {
  check(native().close(checkInteger(fd, 'fd', 0, 0x7fffffff)), 'close', `descriptor ${fd}`);
}

/** A copy of the descriptor, close-on-exec, with a number of at least 3. @throws OsError EBADF, EMFILE */
export function dup(fd: number): number {
  return check(native().dup(fd), 'fcntl', `F_DUPFD of descriptor ${fd}`);
}

/** A pipe: read end, write end. */
export function pipe(): [read: number, write: number] {
  const out = new Int32Array(2);
  check(native().pipe(out), 'pipe2');
  return [out[0]!, out[1]!];
}

/** An event counter (non-blocking). */
export function eventfd(initial = 0): number {
  return check(native().eventfd(initial), 'eventfd');
}

/** Opens a path with O_* flags, close-on-exec. */
export function open(path: string, flags: number, mode = 0o600): number {
  return check(native().open(path, flags, mode), 'open', path);
}

/** Reads once. Returns the count, 0 at the end, null when a non-blocking descriptor has nothing. */
export function read(fd: number, into: Uint8Array): number | null {
  const n: number = native().read(fd, into, into.byteLength);
  return n === -11 ? null : check(n, 'read', `descriptor ${fd}`);
}

/** Writes once. Returns the count, null when a non-blocking descriptor has no room. */
export function write(fd: number, from: Uint8Array): number | null {
  const n: number = native().write(fd, from, from.byteLength);
  return n === -11 ? null : check(n, 'write', `descriptor ${fd}`);
}

/** Sets or clears O_NONBLOCK. */
export function setNonblocking(fd: number, on: boolean): void {
  check(native().setNonblocking(fd, on ? 1 : 0), 'fcntl', `descriptor ${fd}`);
}

/** Sets or clears close-on-exec. */
export function setCloseOnExec(fd: number, on: boolean): void {
  check(native().setCloexec(fd, on ? 1 : 0), 'fcntl', `descriptor ${fd}`);
}

/** Whether the descriptor is close-on-exec. @throws OsError EBADF */
export function isCloseOnExec(fd: number): boolean {
  return check(native().getCloexec(fd), 'fcntl', `descriptor ${fd}`) === 1;
}

/**
 * Waits until one of the descriptors has one of its POLL* events, at most `timeoutMs` (negative: without end).
 * Returns the events of each, in order; all zero after the timeout.
 */
export function pollFds(entries: readonly { fd: number; events: number }[], timeoutMs: number): number[] {
  const raw = new Int32Array(entries.length * 2);
  const half = new Int16Array(raw.buffer);
  entries.forEach((e, i) => {
    raw[i * 2] = e.fd;
    half[i * 4 + 2] = e.events;
  });
  check(native().poll(raw, entries.length, Math.ceil(timeoutMs)), 'poll');
  return entries.map((_, i) => half[i * 4 + 3]! & 0xffff);
}
