/** AF_INET and AF_INET6: sockets of the host, which is asked for everything; waiting is done in one request. */
import { EAGAIN, EFAULT, EINPROGRESS, EINVAL, EPIPE } from '../errno';
import { closeLater } from './closing';
import { OpenFile } from '../fs/open-file';
import { copyIn } from '../shim';
import { current } from '../task/thread';
import { scratch } from '../user';
import {
  answered, answerLength, area, areaAddress, hostTransfer, interrupted, net, NET_BIND, NET_CONNECT,
  NET_GETPEERNAME, NET_GETSOCKNAME, NET_GETSOCKOPT, NET_LISTEN, NET_QUEUED, NET_SETSOCKOPT, NET_SOCKET, netAnswered,
  OP_ACCEPT, OP_POLL, OP_RECEIVE, OP_SEND, OP_SHUTDOWN, request, transferAnswered, waitUntil, WOKEN,
} from './host';
import { Message, MSG_NOSIGNAL, MSG_PEEK, MSG_TRUNC, MSG_WAITALL } from './message';
import { getCommon, NOT_HERE, number, setCommon, SO_ACCEPTCONN, SO_ERROR, SOL_SOCKET } from './options';
import { broken, give, setAcceptedLength, Socket, SOCK_STREAM } from './socket';

const POLLOUT: u32 = 4;

export function inetSocket(domain: u32, type: u32, flags: u32, protocol: u32): i64 {
  if (!netAnswered(NET_SOCKET)) return net(NET_SOCKET, domain, type, protocol, 0);
  const fd = current.waitResult;
  return fd < 0 ? fd : give(new InetSocket(domain, type, type === SOCK_STREAM ? 6 : 17, <i32>fd), flags);
}

export class InetSocket extends Socket {
  private listens: bool = false;

  constructor(domain: u32, type: u32, protocol: u32, fd: i32) {
    super(domain, type, protocol);
    this.hostFd = fd;
  }

  state(): u32 {
    return 0;
  }

  closed(): void {
    closeLater(this.hostFd);
    this.hostFd = -1;
  }

  private simple(op: u64, a: i64, length: u32): i64 {
    return netAnswered(op) ? current.waitResult : net(op, this.hostFd, a, 0, length);
  }

  bind(length: u32): i64 {
    memory.copy(area(), areaAddress(), length);
    return this.simple(NET_BIND, 0, length);
  }

  listen(backlog: i32): i64 {
    const result = this.simple(NET_LISTEN, backlog, 0);
    if (result === 0) this.listens = true;
    return result;
  }

  connect(file: OpenFile, length: u32): i64 {
    if (netAnswered(NET_GETSOCKOPT)) {
      const failed = current.waitResult;
      return failed < 0 ? failed : -(<i64>load<i32>(area()));
    }
    if (netAnswered(NET_CONNECT)) {
      const result = current.waitResult;
      if (result !== EINPROGRESS || !this.waits(file, 0)) return result;
    } else if (answered(OP_POLL)) {
      const result = current.waitResult;
      if (result === 0) return EINPROGRESS;
      if (result !== WOKEN) {
        if (result < 0) return result;
        store<i32>(area(), 0);
        return net(NET_GETSOCKOPT, this.hostFd, SOL_SOCKET, SO_ERROR, 4);
      }
      const signal = interrupted();
      if (signal !== 0) return signal;
    } else {
      memory.copy(area(), areaAddress(), length);
      return net(NET_CONNECT, this.hostFd, 0, 0, length);
    }
    store<i32>(area(), this.hostFd);
    store<u32>(area(), POLLOUT, 4);
    return request(OP_POLL, area(), 1, <u64>waitUntil(this.until(true)), 0, 0, 0);
  }

  /** How long a request may wait; `waiting` says whether it may at all. */
  private wait(waiting: bool, sends: bool): i64 {
    return waiting ? waitUntil(this.until(sends)) : 0;
  }

  accept(file: OpenFile, flags: u32): i64 {
    const waiting = this.waits(file, 0);
    if (answered(OP_ACCEPT)) {
      const fd = current.waitResult;
      if (fd >= 0) {
        setAcceptedLength(answerLength());
        return give(new InetSocket(this.domain, this.type, this.protocol, <i32>fd), flags);
      }
      if (fd !== WOKEN) return fd;
      const signal = interrupted();
      if (signal !== 0) return signal;
    }
    const wait = this.wait(waiting, false);
    if (waiting && wait === 0 && current.again) return EAGAIN;
    return request(OP_ACCEPT, this.hostFd, area(), <u64>wait, 0, 0, 0);
  }

  name(peer: bool): i64 {
    const op = peer ? NET_GETPEERNAME : NET_GETSOCKNAME;
    if (!netAnswered(op)) return net(op, this.hostFd, 0, 0, 0);
    if (current.waitResult < 0) return current.waitResult;
    const length = min(answerLength(), 128);
    memory.copy(areaAddress(), area(), length);
    return length;
  }

  shutdown(how: i32): i64 {
    return answered(OP_SHUTDOWN) ? current.waitResult : request(OP_SHUTDOWN, this.hostFd, how, 0, 0, 0, 0);
  }

  queued(): i64 {
    return this.simple(NET_QUEUED, 0, 0);
  }

  read(file: OpenFile, user: u64, length: u64): i64 {
    if (transferAnswered(false)) {
      const got = current.waitResult;
      if (got !== WOKEN) return got;
      const signal = interrupted();
      if (signal !== 0) return signal;
    }
    const waiting = this.waits(file, 0);
    const wait = this.wait(waiting, false);
    if (waiting && wait === 0 && current.again) return EAGAIN;
    return hostTransfer(false, this.hostFd, user, length, wait, 0);
  }

  /** What a send that was answered means: its result, or 0 when it has to go on; `current.done` bytes are gone. */
  private sent(total: u64, waiting: bool, quiet: bool): i64 {
    const result = current.waitResult;
    const before = current.done;
    if (result >= 0) {
      current.done = before + result;
      return current.done < total && waiting && this.type === SOCK_STREAM ? 0 : this.over();
    }
    if (result === WOKEN) {
      const signal = interrupted();
      return signal === 0 ? 0 : before > 0 ? this.over() : signal;
    }
    if (before > 0) return this.over();
    return result === EPIPE ? broken(quiet) : result;
  }

  private over(): i64 {
    const done = current.done;
    current.done = 0;
    // Nothing to send is a result as well; the callers take 0 for "go on".
    return done === 0 ? EMPTY : done;
  }

  write(file: OpenFile, user: u64, length: u64): i64 {
    const waiting = this.waits(file, 0);
    if (transferAnswered(true)) {
      const result = this.sent(length, waiting, false);
      if (result !== 0) return result === EMPTY ? 0 : result;
    }
    const wait = this.wait(waiting, true);
    if (waiting && wait === 0 && current.again) {
      const done = this.over();
      return done === EMPTY ? EAGAIN : done;
    }
    const done = current.done;
    const wanted = waiting && this.type === SOCK_STREAM ? length - done : 0;
    return hostTransfer(true, this.hostFd, user + done, length - done, wait, wanted);
  }

  send(file: OpenFile, m: Message): i64 {
    const waiting = this.waits(file, m.flags);
    if (m.files !== null) return EINVAL;
    if (answered(OP_SEND)) {
      const result = this.sent(m.total, waiting, (m.flags & MSG_NOSIGNAL) !== 0);
      if (result !== 0) return result === EMPTY ? 0 : result;
    }
    const wait = this.wait(waiting, true);
    if (waiting && wait === 0 && current.again) {
      const done = this.over();
      return done === EMPTY ? EAGAIN : done;
    }
    const flags = <u64>m.flags | ((<u64>m.addressLength) << 32);
    return request(OP_SEND, this.hostFd, area(), m.count, <u64>wait, flags, current.done);
  }

  receive(file: OpenFile, m: Message): i64 {
    const waiting = this.waits(file, m.flags);
    const stream = this.type === SOCK_STREAM;
    if (answered(OP_RECEIVE)) {
      const got = current.waitResult;
      if (got > 0 && stream && waiting && (m.flags & (MSG_WAITALL | MSG_PEEK)) === MSG_WAITALL) {
        current.done += got;
        if (current.done >= m.total) return this.received(m, this.over());
      } else if (got === WOKEN) {
        const signal = interrupted();
        if (signal !== 0) return current.done > 0 ? this.received(m, this.over()) : signal;
      } else return current.done > 0 ? this.received(m, this.over()) : this.received(m, got);
    }
    const wait = this.wait(waiting, false);
    if (waiting && wait === 0 && current.again) return current.done > 0 ? this.received(m, this.over()) : EAGAIN;
    // How long a datagram was is asked for always: recvmsg tells whether it was cut.
    const flags = stream ? m.flags & ~MSG_TRUNC : m.flags | MSG_TRUNC;
    return request(OP_RECEIVE, this.hostFd, area(), m.count, <u64>wait, flags, current.done);
  }

  private received(m: Message, got: i64): i64 {
    if (got < 0) return got === EMPTY ? 0 : got;
    m.addressLength = this.type === SOCK_STREAM ? 0 : answerLength();
    if (this.type === SOCK_STREAM || <u64>got <= m.total) return got;
    m.outFlags |= MSG_TRUNC;
    return (m.flags & MSG_TRUNC) !== 0 ? got : m.total;
  }

  setOption(level: u32, name: u32, user: u64, length: u32): i64 {
    const own = setCommon(this, level, name, user, length);
    if (own !== NOT_HERE) return own;
    if (netAnswered(NET_SETSOCKOPT)) return current.waitResult;
    if (length > 0 && !copyIn(area(), user, length)) return EFAULT;
    return net(NET_SETSOCKOPT, this.hostFd, level, name, length);
  }

  getOption(level: u32, name: u32, length: u32): i64 {
    const own = getCommon(this, level, name);
    if (own !== NOT_HERE) return own;
    if (level === SOL_SOCKET && name === SO_ACCEPTCONN) return number(this.listens ? 1 : 0);
    if (!netAnswered(NET_GETSOCKOPT)) {
      memory.fill(area(), 0, length);
      return net(NET_GETSOCKOPT, this.hostFd, level, name, length);
    }
    if (current.waitResult < 0) return current.waitResult;
    const size = min(answerLength(), length);
    memory.copy(scratch, area(), size);
    return size;
  }
}

/** A transfer of nothing. */
const EMPTY: i64 = i64.MIN_VALUE + 2;
