/** Sockets (socket(2) …): what all families have in common, and the system calls. */
import {
  EAFNOSUPPORT, EBADF, EFAULT, EINVAL, ENOTSOCK, EOPNOTSUPP, EPIPE, EPROTONOSUPPORT, ESOCKTNOSUPPORT,
} from '../errno';
import { Inode, S_IFSOCK } from '../fs/inode';
import { closeDescriptor, fileOf, install, O_CLOEXEC, O_NONBLOCK, O_RDWR, opened, OpenFile, roomFor } from '../fs/open-file';
import { copyIn, copyOut } from '../shim';
import { raise } from '../signals';
import { deadline, NEVER } from '../task/queue';
import { scratch, storeU32 } from '../user';
import { Endpoint } from './endpoint';
import { areaAddress } from './host';
import { inetSocket } from './inet';
import { message, Message, MSG_DONTWAIT } from './message';
import { unixPair, UnixSocket } from './unix';

export const AF_UNIX: u32 = 1;
export const AF_INET: u32 = 2;
export const AF_INET6: u32 = 10;
export const SOCK_STREAM: u32 = 1;
export const SOCK_DGRAM: u32 = 2;
export const SOCK_SEQPACKET: u32 = 5;
const TYPE_MASK: u32 = 15;
const ADDRESS_ROOM: u32 = 128;
const SIGPIPE: u64 = 13;

export abstract class Socket extends Endpoint {
  /** How long receiving and sending wait, in nanoseconds; 0 for ever (SO_RCVTIMEO, SO_SNDTIMEO). */
  receiveTimeout: u64 = 0;
  sendTimeout: u64 = 0;

  constructor(
    public domain: u32,
    public type: u32,
    public protocol: u32,
  ) {
    super();
  }

  /** Addresses lie in the area of the calling thread. */
  abstract bind(length: u32): i64;
  abstract connect(file: OpenFile, length: u32): i64;
  abstract listen(backlog: i32): i64;
  /** The descriptor of a new connection; the peer's address has `addressLength` bytes. */
  abstract accept(file: OpenFile, flags: u32): i64;
  /** Puts the own or the peer's address into the area; its length. */
  abstract name(peer: bool): i64;
  abstract shutdown(how: i32): i64;
  abstract send(file: OpenFile, m: Message): i64;
  abstract receive(file: OpenFile, m: Message): i64;
  abstract setOption(level: u32, name: u32, user: u64, length: u32): i64;
  /** The value at `scratch`: its length, or an error. */
  abstract getOption(level: u32, name: u32, length: u32): i64;

  read(file: OpenFile, user: u64, length: u64): i64 {
    message.single(user, length, 0);
    return this.receive(file, message);
  }

  write(file: OpenFile, user: u64, length: u64): i64 {
    message.single(user, length, 0);
    return this.send(file, message);
  }

  waits(file: OpenFile, flags: u32): bool {
    return (file.flags & O_NONBLOCK) === 0 && (flags & MSG_DONTWAIT) === 0;
  }

  /** Until when a receive or send waits. */
  until(sends: bool): u64 {
    const limit = sends ? this.sendTimeout : this.receiveTimeout;
    return limit === 0 ? NEVER : deadline(limit);
  }
}

/** EPIPE with the signal that belongs to it. */
export function broken(quiet: bool): i64 {
  if (!quiet) raise(SIGPIPE);
  return EPIPE;
}

/** A descriptor for a socket. */
export function give(socket: Socket, flags: u32): i64 {
  const inode = new Inode(S_IFSOCK | 0o777);
  const file = new OpenFile(inode, O_RDWR | (flags & O_NONBLOCK));
  file.socket = socket;
  const fd = install(file, 0, (flags & O_CLOEXEC) !== 0);
  if (fd >= 0) opened(inode, 1);
  return fd;
}

let failing: i64 = 0;

function socketOf(fd: u64): Socket | null {
  const file = fileOf(fd);
  failing = file === null ? EBADF : file.socket === null ? ENOTSOCK : 0;
  return failing === 0 ? <Socket>file!.socket! : null;
}

export function sysSocket(domain: u64, type64: u64, protocol: u64): i64 {
  const flags = <u32>type64 & ~TYPE_MASK;
  const type = <u32>type64 & TYPE_MASK;
  if ((flags & ~(O_CLOEXEC | O_NONBLOCK)) !== 0) return EINVAL;
  const full = roomFor(1);
  if (full !== 0) return full;
  if (<u32>domain === AF_UNIX) {
    if (type !== SOCK_STREAM && type !== SOCK_DGRAM && type !== SOCK_SEQPACKET) return ESOCKTNOSUPPORT;
    if (<u32>protocol > 1) return EPROTONOSUPPORT;
    return give(new UnixSocket(type), flags);
  }
  if (<u32>domain !== AF_INET && <u32>domain !== AF_INET6) return EAFNOSUPPORT;
  return inetSocket(<u32>domain, type, flags, <u32>protocol);
}

export function sysSocketpair(domain: u64, type64: u64, protocol: u64, user: u64): i64 {
  const flags = <u32>type64 & ~TYPE_MASK;
  const type = <u32>type64 & TYPE_MASK;
  if ((flags & ~(O_CLOEXEC | O_NONBLOCK)) !== 0) return EINVAL;
  if (<u32>domain !== AF_UNIX) return <u32>domain === AF_INET || <u32>domain === AF_INET6 ? EOPNOTSUPP : EAFNOSUPPORT;
  if (type !== SOCK_STREAM && type !== SOCK_DGRAM && type !== SOCK_SEQPACKET) return ESOCKTNOSUPPORT;
  if (<u32>protocol > 1) return EPROTONOSUPPORT;
  const full = roomFor(2);
  if (full !== 0) return full;
  const one = new UnixSocket(type);
  const other = new UnixSocket(type);
  unixPair(one, other);
  const first = give(one, flags);
  const second = give(other, flags);
  store<u32>(scratch, <u32>first);
  store<u32>(scratch, <u32>second, 4);
  if (copyOut(user, scratch, 8)) return 0;
  closeDescriptor(first);
  closeDescriptor(second);
  return EFAULT;
}

/** Brings an address of the program to the area. */
function takeAddress(user: u64, length: u64): i64 {
  if (<i32>length < 0 || <u32>length > ADDRESS_ROOM) return EINVAL;
  return length === 0 || copyIn(areaAddress(), user, <u32>length) ? 0 : EFAULT;
}

/** Gives the address in the area to the program, cut to the room that it has. */
export function giveAddress(user: u64, userLength: u64, length: u32): i64 {
  if (user === 0) return 0;
  if (!copyIn(scratch, userLength, 4)) return EFAULT;
  const room = load<i32>(scratch);
  if (room < 0) return EINVAL;
  if (length > 0 && !copyOut(user, areaAddress(), min(<u32>room, length))) return EFAULT;
  return storeU32(userLength, length);
}

export function sysBind(fd: u64, address: u64, length: u64): i64 {
  const socket = socketOf(fd);
  if (socket === null) return failing;
  const failed = takeAddress(address, length);
  return failed !== 0 ? failed : socket.bind(<u32>length);
}

export function sysListen(fd: u64, backlog: u64): i64 {
  const socket = socketOf(fd);
  if (socket === null) return failing;
  return socket.listen(<i32>backlog);
}

export function sysConnect(fd: u64, address: u64, length: u64): i64 {
  const socket = socketOf(fd);
  if (socket === null) return failing;
  const failed = takeAddress(address, length);
  return failed !== 0 ? failed : socket.connect(fileOf(fd)!, <u32>length);
}

/** Of the latest accepted connection's address. */
export let acceptedLength: u32 = 0;
export function setAcceptedLength(length: u32): void {
  acceptedLength = length;
}

export function sysAccept4(fd: u64, address: u64, length: u64, flags64: u64): i64 {
  const flags = <u32>flags64;
  if ((flags & ~(O_CLOEXEC | O_NONBLOCK)) !== 0) return EINVAL;
  const socket = socketOf(fd);
  if (socket === null) return failing;
  const full = roomFor(1);
  if (full !== 0) return full;
  const accepted = socket.accept(fileOf(fd)!, flags);
  if (accepted < 0) return accepted;
  const failed = giveAddress(address, length, acceptedLength);
  if (failed === 0) return accepted;
  closeDescriptor(accepted);
  return failed;
}

export function sysAccept(fd: u64, address: u64, length: u64): i64 {
  return sysAccept4(fd, address, length, 0);
}

function name(fd: u64, address: u64, length: u64, peer: bool): i64 {
  const socket = socketOf(fd);
  if (socket === null) return failing;
  const found = socket.name(peer);
  return found < 0 ? found : giveAddress(address, length, <u32>found);
}

export function sysGetsockname(fd: u64, address: u64, length: u64): i64 {
  return name(fd, address, length, false);
}

export function sysGetpeername(fd: u64, address: u64, length: u64): i64 {
  return name(fd, address, length, true);
}

export function sysShutdown(fd: u64, how: u64): i64 {
  const socket = socketOf(fd);
  if (socket === null) return failing;
  return <u32>how > 2 ? EINVAL : socket.shutdown(<i32>how);
}

export function sysSetsockopt(fd: u64, level: u64, option: u64, value: u64, length: u64): i64 {
  const socket = socketOf(fd);
  if (socket === null) return failing;
  if (<i32>length < 0 || length > 4096) return EINVAL;
  return socket.setOption(<u32>level, <u32>option, value, <u32>length);
}

export function sysGetsockopt(fd: u64, level: u64, option: u64, value: u64, length: u64): i64 {
  const socket = socketOf(fd);
  if (socket === null) return failing;
  if (!copyIn(scratch, length, 4)) return EFAULT;
  const room = load<i32>(scratch);
  if (room < 0) return EINVAL;
  const size = socket.getOption(<u32>level, <u32>option, min(<u32>room, 4096));
  if (size < 0) return size;
  const given = min(<u32>size, <u32>room);
  if (given > 0 && !copyOut(value, scratch, given)) return EFAULT;
  return storeU32(length, given);
}
