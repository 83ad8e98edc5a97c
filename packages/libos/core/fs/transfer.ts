/** read, write and their relatives. */
import { EAGAIN, EBADF, EFAULT, EFBIG, EINVAL, EIO, EISDIR, EOPNOTSUPP, ENOSPC, EPIPE, ESPIPE, EXDEV } from '../errno';
import { message } from '../net/message';
import { Socket } from '../net/socket';
import { ownAnswered, ownFailed, OWN_ROOM, readStream, readStreamVectors, sendOwn, writeStream, writeStreamVectors } from '../net/stream';
import { area } from '../net/host';
import { PENDING } from '../request';
import { raise } from '../signals';
import { copyIn, copyOut, now, random, zero } from '../shim';
import { failure, loadU64, scratch, storeU64 } from '../user';
import {
  DEVICE_HOST,
  DEVICE_NONE,
  DEVICE_NULL,
  DEVICE_RANDOM,
  DEVICE_TTY,
  DEVICE_ZERO,
  Inode,
} from './inode';
import { readSignals, readTimer } from '../events';
import { NEVER, park, Queue, watch } from '../task/queue';
import { TERMINAL_MAY, TERMINAL_NEVER, usesTerminal } from '../task/stops';
import { current } from '../task/thread';
import { isAttestation, written } from './attestation';
import { fetchPiece, transfer } from './host-data';
import { IN_ACCESS, IN_MODIFY, notify, readThing, watching } from './notify';
import { ttyFd } from '../tty';
import { fileOf, O_APPEND, O_NONBLOCK, OpenFile, Pipe } from './open-file';

const MAX_TRANSFER: u64 = 0x7fff_f000;
const MAX_VECTORS: u64 = 1024;
/** Bytes of a file that have to be in memory at once. */
const STEP: u64 = 1 << 20;
const SIGPIPE = 13;
const SIGTTIN: u64 = 21;

/** The host's descriptor behind a device. */
function hostOf(device: i32): u32 {
  return device === DEVICE_TTY ? ttyFd : device - DEVICE_HOST;
}

function readAt(inode: Inode, user: u64, length: u64, at: u64): i64 {
  // What has to come in comes step by step: `current.done` bytes are the program's already.
  let done = current.done;
  current.done = 0;
  while (done < length && at + done < inode.size) {
    const part = min(min(length - done, inode.size - at - done), STEP);
    const waiting = inode.need(at + done, part);
    if (waiting === PENDING) {
      current.done = done;
      return PENDING;
    }
    if (waiting !== 0) return done > 0 ? done : waiting;
    if (!inode.copyOut(user + done, at + done, part)) return done > 0 ? done : EFAULT;
    done += part;
  }
  return done;
}

function writeAt(inode: Inode, user: u64, length: u64, at: u64): i64 {
  const put = inode.write(at, length, user);
  return put > 0 && isAttestation(inode) ? written(inode, put) : put;
}

function readDevice(file: OpenFile, device: i32, user: u64, length: u64): i64 {
  if (device === DEVICE_NULL) return 0;
  if (device === DEVICE_ZERO) return zero(user, length) ? length : EFAULT;
  if (device === DEVICE_RANDOM) return random(user, length) ? length : EFAULT;
  if (length === 0) return 0;
  if (<i32>hostOf(device) === ttyFd) {
    const may = usesTerminal(SIGTTIN);
    if (may !== TERMINAL_MAY) return may === TERMINAL_NEVER ? EIO : park(now(1), true);
  }
  return readStream(file, <i32>hostOf(device), user, length);
}

function writeDevice(file: OpenFile, device: i32, user: u64, length: u64): i64 {
  if (device <= DEVICE_RANDOM) return file.inode.full && length > 0 ? ENOSPC : length;
  return length === 0 ? 0 : writeStream(file, <i32>hostOf(device), user, length);
}

/** The call is made again when the other side has done something; EAGAIN for those who do not wait. */
function until(file: OpenFile, queue: Queue): i64 {
  if ((file.flags & O_NONBLOCK) !== 0) return EAGAIN;
  watch(queue);
  return park(NEVER, true);
}

function readPipe(file: OpenFile, pipe: Pipe, user: u64, length: u64): i64 {
  if (pipe.length === 0) {
    if (pipe.writers === 0 || length === 0) return 0;
    return until(file, pipe.queue);
  }
  let done: u64 = 0;
  while (done < length && pipe.length > 0) {
    let part = <u64>pipe.takeLength;
    if (part > length - done) part = length - done;
    if (!copyOut(user + done, pipe.takeAt, part)) return done > 0 ? done : EFAULT;
    pipe.taken(<u32>part);
    done += part;
  }
  return done;
}

/** A write that has to wait goes on where it stopped: `current.done` bytes are in the pipe already. */
function writePipe(file: OpenFile, pipe: Pipe, user: u64, length: u64): i64 {
  let done = current.done;
  current.done = 0;
  if (pipe.readers === 0) return done > 0 ? done : EPIPE;
  // Up to PIPE_BUF bytes go in one piece or not at all.
  const whole = length <= 4096 && pipe.room < <u32>length;
  while (!whole && done < length && pipe.room > 0) {
    let part = <u64>pipe.putLength;
    if (part > length - done) part = length - done;
    if (!copyIn(pipe.putAt, user + done, part)) return done > 0 ? done : EFAULT;
    pipe.length += <u32>part;
    pipe.changes++;
    done += part;
  }
  if (done > 0) pipe.queue.wake();
  if (done === length) return done;
  const blocks = (file.flags & O_NONBLOCK) === 0;
  if (!blocks) return done > 0 ? done : EAGAIN;
  const result = until(file, pipe.queue);
  if (result === PENDING) current.done = done;
  else if (done > 0) return done;
  return result;
}

function readEvent(file: OpenFile, user: u64, length: u64): i64 {
  const event = file.event!;
  if (length < 8) return EINVAL;
  if (event.value === 0) return until(file, event.queue);
  const value: u64 = event.semaphore ? 1 : event.value;
  store<u64>(scratch, value);
  if (!copyOut(user, scratch, 8)) return EFAULT;
  event.value -= value;
  event.changes++;
  event.queue.wake();
  return 8;
}

function writeEvent(file: OpenFile, user: u64, length: u64): i64 {
  if (length < 8) return EINVAL;
  if (!copyIn(scratch, user, 8)) return EFAULT;
  const value = load<u64>(scratch);
  const event = file.event!;
  if (value === u64.MAX_VALUE) return EINVAL;
  if (value > u64.MAX_VALUE - 1 - event.value) return until(file, event.queue);
  event.value += value;
  event.changes++;
  event.queue.wake();
  return 8;
}

/** Bytes of a file of the host at its position, which moves on. */
function readOutside(file: OpenFile, user: u64, count: u64, list: bool): i64 {
  const got = transfer(file, false, user, count, list, file.position);
  if (got > 0) file.position += got;
  return got;
}

function writeOutside(file: OpenFile, user: u64, count: u64, list: bool): i64 {
  const put = transfer(file, true, user, count, list, file.position);
  if (put <= 0) return put;
  const inode = file.inode;
  // The host appends; where that was is known as far as nobody else writes.
  file.position = (file.flags & O_APPEND) !== 0 ? inode.size + put : file.position + put;
  if (file.position > inode.size) inode.size = file.position;
  inode.outside!.seen = 0;
  return put;
}

export function readFile(file: OpenFile, user: u64, given: u64): i64 {
  if (!file.readable) return EBADF;
  const length = given > MAX_TRANSFER ? MAX_TRANSFER : given;
  if (file.pipe !== null) return readPipe(file, file.pipe!, user, length);
  if (file.event !== null) return readEvent(file, user, length);
  if (file.timer !== null) return readTimer(file, user, length);
  if (file.signals !== 0) return readSignals(file, user, length);
  if (file.socket !== null) return file.socket!.read(file, user, length);
  if (file.poller !== null) return EINVAL;
  if (file.thing !== null) return readThing(file, user, length);
  const inode = file.inode;
  if (inode.device !== DEVICE_NONE) return readDevice(file, inode.device, user, length);
  if (inode.isDirectory) return EISDIR;
  if (file.hostFd >= 0) return readOutside(file, user, length, false);
  const got = readAt(inode, user, length, file.position);
  if (got > 0) file.position += got;
  if (got > 0 && watching > 0) notify(inode, IN_ACCESS);
  return got;
}

export function writeFile(file: OpenFile, user: u64, given: u64): i64 {
  if (!file.writable) return EBADF;
  const length = given > MAX_TRANSFER ? MAX_TRANSFER : given;
  if (file.pipe !== null) {
    const sent = writePipe(file, file.pipe!, user, length);
    if (sent === EPIPE) raise(SIGPIPE);
    return sent;
  }
  if (file.event !== null) return writeEvent(file, user, length);
  if (file.socket !== null) return file.socket!.write(file, user, length);
  if (file.special !== 0) return EINVAL;
  const inode = file.inode;
  if (inode.device !== DEVICE_NONE) return writeDevice(file, inode.device, user, length);
  if (file.hostFd >= 0) return writeOutside(file, user, length, false);
  if ((file.flags & O_APPEND) !== 0) file.position = inode.size;
  const put = writeAt(inode, user, length, file.position);
  if (put > 0) file.position += put;
  if (put > 0 && watching > 0) notify(inode, IN_MODIFY);
  return put;
}

export function sysRead(fd: u64, user: u64, length: u64): i64 {
  const file = fileOf(fd);
  return file === null ? EBADF : readFile(file, user, length);
}

export function sysWrite(fd: u64, user: u64, length: u64): i64 {
  const file = fileOf(fd);
  return file === null ? EBADF : writeFile(file, user, length);
}

export function sysPread(fd: u64, user: u64, length: u64, at: u64): i64 {
  const file = fileOf(fd);
  if (file === null || !file.readable) return EBADF;
  if (file.special !== 0) return ESPIPE;
  if (<i64>at < 0) return EINVAL;
  const inode = file.inode;
  if (inode.isDirectory) return EISDIR;
  if (inode.device >= DEVICE_HOST) return ESPIPE;
  if (inode.device !== DEVICE_NONE) return readDevice(file, inode.device, user, length);
  if (file.hostFd >= 0) return transfer(file, false, user, min(length, MAX_TRANSFER), false, at);
  const got = readAt(inode, user, length > MAX_TRANSFER ? MAX_TRANSFER : length, at);
  if (got > 0 && watching > 0) notify(inode, IN_ACCESS);
  return got;
}

export function sysPwrite(fd: u64, user: u64, length: u64, at: u64): i64 {
  const file = fileOf(fd);
  if (file === null || !file.writable) return EBADF;
  if (file.special !== 0) return ESPIPE;
  if (<i64>at < 0) return EINVAL;
  const inode = file.inode;
  if (inode.device >= DEVICE_HOST) return ESPIPE;
  if (inode.device !== DEVICE_NONE) return writeDevice(file, inode.device, user, length);
  if (file.hostFd >= 0) return transfer(file, true, user, min(length, MAX_TRANSFER), false, at);
  // Linux appends whatever the position says.
  const to = (file.flags & O_APPEND) !== 0 ? inode.size : at;
  const put = writeAt(inode, user, length > MAX_TRANSFER ? MAX_TRANSFER : length, to);
  if (put > 0 && watching > 0) notify(inode, IN_MODIFY);
  return put;
}

/**
 * One element after the other. A transfer that has to leave ends the call with what was done, or is itself the first:
 * so no element is transferred twice.
 */
function vectors(fd: u64, list: u64, count: u64, write: bool, positioned: bool, at: u64): i64 {
  if (count > MAX_VECTORS) return EINVAL;
  const file = fileOf(fd);
  if (file === null || (write ? !file.writable : !file.readable)) return EBADF;
  if (file.socket !== null || file.inode.device >= DEVICE_HOST) {
    if (positioned) return ESPIPE;
    const failed = message.vectors(list, count, 0);
    if (failed !== 0) return failed;
    if (file.socket !== null) return write ? (<Socket>file.socket!).send(file, message) : (<Socket>file.socket!).receive(file, message);
    const device = file.inode.device;
    if (!write) return readStreamVectors(file, <i32>hostOf(device), message);
    return writeStreamVectors(file, <i32>hostOf(device), message);
  }
  if (file.hostFd >= 0) {
    if (positioned) return transfer(file, write, list, count, true, at);
    return write ? writeOutside(file, list, count, true) : readOutside(file, list, count, true);
  }
  let done: i64 = 0;
  for (let i: u64 = 0; i < count; i++) {
    if (!copyIn(scratch, list + i * 16, 16)) return done > 0 ? done : EFAULT;
    const base = load<u64>(scratch);
    const length = load<u64>(scratch, 8);
    if (length === 0) continue;
    if (<i64>length < 0) return done > 0 ? done : EINVAL;
    let moved: i64;
    if (positioned) moved = write ? sysPwrite(fd, base, length, at + done) : sysPread(fd, base, length, at + done);
    else moved = write ? writeFile(file, base, length) : readFile(file, base, length);
    // A block of the root that is still outside: what was read before it is the answer; else the call is made again.
    if (moved === PENDING) {
      if (done === 0) return PENDING;
      done += current.done;
      if (!positioned) file.position += current.done;
      current.done = 0;
      return done;
    }
    if (moved < 0) return done > 0 ? done : moved;
    done += moved;
    if (<u64>moved < length) break;
  }
  return done;
}

export function sysReadv(fd: u64, list: u64, count: u64): i64 {
  return vectors(fd, list, count, false, false, 0);
}

export function sysWritev(fd: u64, list: u64, count: u64): i64 {
  return vectors(fd, list, count, true, false, 0);
}

export function sysPreadv(fd: u64, list: u64, count: u64, at: u64): i64 {
  return <i64>at < 0 ? EINVAL : vectors(fd, list, count, false, true, at);
}

export function sysPwritev(fd: u64, list: u64, count: u64, at: u64): i64 {
  return <i64>at < 0 ? EINVAL : vectors(fd, list, count, true, true, at);
}

/** From one file to another without the program's memory: both must be files here, and `from` need not be seekable. */
export function sysSendfile(to: u64, from: u64, position: u64, count: u64): i64 {
  const source = fileOf(from);
  const target = fileOf(to);
  if (source === null || target === null || !source.readable || !target.writable) return EBADF;
  const inode = source.inode;
  if (inode.isFile && (target.socket !== null || target.inode.device >= DEVICE_HOST)) return sendOut(target, source, position, count);
  // Pipes: EINVAL makes programs fall back to read and write.
  if (!inode.isFile || !target.inode.isFile || target.pipe !== null) return EINVAL;
  if (source.hostFd >= 0 || target.hostFd >= 0 || isAttestation(target.inode)) return EINVAL;
  let at = source.position;
  if (position !== 0) {
    at = loadU64(position);
    if (failure !== 0) return failure;
  }
  if (<i64>at < 0) return EINVAL;
  if (at >= inode.size) return 0;
  const waiting = inode.need(at, min(min(count, inode.size - at), STEP));
  if (waiting !== 0) return waiting;
  const length = target.inode.write(target.position, min(min(count, inode.size - at), STEP), at, inode);
  if (length <= 0) return length;
  target.position += length;
  if (position === 0) source.position = at + length;
  else {
    store<u64>(scratch, at + length);
    if (!copyOut(position, scratch, 8)) return EFAULT;
  }
  return length;
}

/** sendfile to a descriptor of the host: a piece at a time, by way of the thread's area. */
function sendOut(target: OpenFile, source: OpenFile, position: u64, count: u64): i64 {
  const socket = target.socket;
  const device = target.inode.device;
  const fd = socket !== null ? socket.hostFd : <i32>hostOf(device);
  if (fd < 0) return EINVAL;
  let at = source.position;
  if (position !== 0) {
    at = loadU64(position);
    if (failure !== 0) return failure;
  }
  if (<i64>at < 0) return EINVAL;
  if (ownAnswered()) {
    const sent = current.waitResult;
    if (sent >= 0) {
      if (position === 0) source.position = at + sent;
      else if (storeU64(position, at + sent) !== 0) return EFAULT;
      return sent;
    }
    const failed = ownFailed(sent);
    if (failed !== 0) return failed;
  }
  const inode = source.inode;
  if (source.hostFd >= 0) {
    const got = fetchPiece(source, area(), min(count, OWN_ROOM), at);
    return got <= 0 ? got : sendOwn(fd, got, socket !== null, (target.flags & O_NONBLOCK) === 0);
  }
  if (at >= inode.size) return 0;
  const length = min(min(count, inode.size - at), OWN_ROOM);
  const waiting = inode.need(at, length);
  if (waiting !== 0) return waiting;
  inode.copyTo(area(), at, length);
  return sendOwn(fd, length, socket !== null, (target.flags & O_NONBLOCK) === 0);
}

/** Flags ask for ways of transfer that change nothing here, but RWF_APPEND and RWF_NOWAIT. Position -1 is the file's own. */
const RWF_HARMLESS: u64 = 7;

export function sysPreadv2(fd: u64, list: u64, count: u64, at: u64, high: u64, flags: u64): i64 {
  if ((flags & ~RWF_HARMLESS) !== 0) return EOPNOTSUPP;
  return <i64>at === -1 ? sysReadv(fd, list, count) : sysPreadv(fd, list, count, at);
}

export function sysPwritev2(fd: u64, list: u64, count: u64, at: u64, high: u64, flags: u64): i64 {
  if ((flags & ~RWF_HARMLESS) !== 0) return EOPNOTSUPP;
  return <i64>at === -1 ? sysWritev(fd, list, count) : sysPwritev(fd, list, count, at);
}

export function sysCopyFileRange(from: u64, fromAt: u64, to: u64, toAt: u64, count: u64, flags: u64): i64 {
  if (flags !== 0) return EINVAL;
  const source = fileOf(from);
  const target = fileOf(to);
  if (source === null || target === null || !source.readable || !target.writable) return EBADF;
  if ((target.flags & O_APPEND) !== 0) return EBADF;
  if (source.inode.isDirectory || target.inode.isDirectory) return EISDIR;
  if (!source.inode.isFile || !target.inode.isFile || source.special !== 0 || target.special !== 0) return EINVAL;
  // Programs read and write then.
  if (source.inode.outside !== null || target.inode.outside !== null || isAttestation(target.inode)) return EXDEV;
  const at = fromAt === 0 ? source.position : loadU64(fromAt);
  const put = toAt === 0 ? target.position : loadU64(toAt);
  if (at >= source.inode.size) return 0;
  const most = min(min(count, source.inode.size - at), STEP);
  if (source.inode === target.inode && at < put + most && put < at + most) return EINVAL;
  const waiting = source.inode.need(at, most);
  if (waiting !== 0) return waiting;
  const length = target.inode.write(put, most, at, source.inode);
  if (length <= 0) return length;
  if (fromAt === 0) source.position = at + length;
  else if (storeU64(fromAt, at + length) !== 0) return EFAULT;
  if (toAt === 0) target.position = put + length;
  else if (storeU64(toAt, put + length) !== 0) return EFAULT;
  return length;
}
