/** Descriptors of the host that are no sockets: stdin, stdout, stderr and what was granted. */
import { EAGAIN, EPIPE } from '../errno';
import { O_NONBLOCK, OpenFile } from '../fs/open-file';
import { raise } from '../signals';
import { current } from '../task/thread';
import { answered, area, hostTransfer, interrupted, OP_READ, OP_RECEIVE, OP_SEND, request, transferAnswered, WOKEN } from './host';
import { readLimit, ttyFd } from '../tty';
import { Message } from './message';

/** Flags of OP_SEND and OP_RECEIVE: no socket; the vector's address is one of the core's memory (native/src/io.c). */
const PLAIN: u64 = 0x8000_0000;
const OWN: u64 = 0x8000_0000_0000_0000;
const SIGPIPE: u64 = 13;

function wait(file: OpenFile): u64 {
  return (file.flags & O_NONBLOCK) !== 0 ? 0 : u64.MAX_VALUE;
}

/** EINTR, or 0 to ask again. */
function read(): i64 {
  const got = current.waitResult;
  return got === WOKEN ? interrupted() : got === 0 ? END : got;
}
const END: i64 = i64.MIN_VALUE + 1;

export function readStream(file: OpenFile, fd: i32, user: u64, length: u64): i64 {
  if (readLimit >= 0 && fd === ttyFd && (file.flags & O_NONBLOCK) === 0) return readAtOnce(fd, user, length);
  if (transferAnswered(false)) {
    const got = read();
    if (got !== 0) return got === END ? 0 : got;
  }
  return hostTransfer(false, fd, user, length, <i64>wait(file), 0);
}

/** A terminal in a mode in which a read may bring nothing. */
function readAtOnce(fd: i32, user: u64, length: u64): i64 {
  if (transferAnswered(false)) {
    const got = current.waitResult;
    if (got !== WOKEN) return got === EAGAIN ? 0 : got;
    const signal = interrupted();
    if (signal !== 0) return signal;
  }
  return request(OP_READ, fd, user, length, <u64>readLimit, 0, 0);
}

export function readStreamVectors(file: OpenFile, fd: i32, m: Message): i64 {
  if (answered(OP_RECEIVE)) {
    const got = read();
    if (got !== 0) return got === END ? 0 : got;
  }
  return request(OP_RECEIVE, fd, area(), m.count, wait(file), PLAIN, 0);
}

/** What a write that was answered means: the call's result, or 0 to go on. */
function written(file: OpenFile, total: u64): i64 {
  const result = current.waitResult;
  if (result >= 0) {
    current.done += result;
    if (result > 0 && current.done < total && wait(file) !== 0) return 0;
    return take();
  }
  const signal = result === WOKEN ? interrupted() : result;
  if (signal === 0) return 0;
  if (current.done > 0) return take();
  if (signal === EPIPE) raise(SIGPIPE);
  return signal;
}

function take(): i64 {
  const done = current.done;
  current.done = 0;
  return done === 0 ? END : done;
}

export function writeStream(file: OpenFile, fd: i32, user: u64, length: u64): i64 {
  if (transferAnswered(true)) {
    const result = written(file, length);
    if (result !== 0) return result === END ? 0 : result;
  }
  const left = length - current.done;
  return hostTransfer(true, fd, user + current.done, left, <i64>wait(file), wait(file) !== 0 ? left : 0);
}

export function writeStreamVectors(file: OpenFile, fd: i32, m: Message): i64 {
  if (m.total === 0) return 0;
  if (answered(OP_SEND)) {
    const result = written(file, m.total);
    if (result !== 0) return result === END ? 0 : result;
  }
  return request(OP_SEND, fd, area(), m.count, wait(file), PLAIN, current.done);
}

/** Most that goes from the core's own memory at once. */
export const OWN_ROOM: u64 = 16384;

/** Whether what was sent from the area has been answered: its result is `current.waitResult`. */
export function ownAnswered(): bool {
  return answered(OP_SEND) && (load<u64>(current.request, 40) & OWN) !== 0;
}

/** Sends bytes of the area to a descriptor of the host; the call is made again. */
export function sendOwn(fd: i32, length: u64, socket: bool, waits: bool): i64 {
  return request(OP_SEND, fd, area(), 0, waits ? u64.MAX_VALUE : 0, OWN | (socket ? 0 : PLAIN), length);
}

/** What a call that sent its own bytes does when it was woken: an error, or 0 to do it again. */
export function ownFailed(result: i64): i64 {
  if (result === WOKEN) return interrupted();
  if (result === EPIPE) raise(SIGPIPE);
  return result;
}
