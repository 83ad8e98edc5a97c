/** AF_UNIX, all of it inside: streams, datagrams and packets, with names in the tree and abstract ones (unix(7)). */
import {
  EACCES, EADDRINUSE, EAGAIN, ECONNREFUSED, ECONNRESET, EFAULT, EINVAL, EISCONN, EMSGSIZE, ENOBUFS, ENOENT, ENOPROTOOPT, ENOTCONN,
  ENOTDIR, EOPNOTSUPP, EPROTOTYPE, EROFS,
} from '../errno';
import { fits } from '../fs/chunks';
import { Inode, S_IFSOCK } from '../fs/inode';
import { OpenFile } from '../fs/open-file';
import { lastName, link, walk, walkFailure, walkParent } from '../fs/path';
import { umask } from '../fs/process-files';
import { copyIn, now } from '../shim';
import { NEVER, park, Queue, timedOut, watch } from '../task/queue';
import { current } from '../task/thread';
import { bytesToString, scratch, stringToBytes } from '../user';
import { areaAddress } from './host';
import {
  dropFiles, Message, MSG_NOSIGNAL, MSG_OOB, MSG_PEEK, MSG_TRUNC, MSG_WAITALL, senderPid,
} from './message';
import {
  getCommon, NOT_HERE, number, setCommon, SO_ACCEPTCONN, SO_ERROR, SO_PASSCRED, SO_PEERCRED, SO_RCVBUF, SO_REUSEADDR, SO_SNDBUF,
  SOL_SOCKET,
} from './options';
import { AF_UNIX, broken, give, setAcceptedLength, Socket, SOCK_DGRAM, SOCK_STREAM } from './socket';

/** As net.core.wmem_default has it; a sender may have so much on its way. */
const LIMIT: u64 = 212_992;
/** Datagrams that wait at most (net.unix.max_dgram_qlen). */
const MAX_DATAGRAMS = 512;
const PIECE: u32 = 16384;
const FAMILY: u32 = 2;
const PATH: u32 = 108;
const POLLIN: u32 = 1;
const POLLOUT: u32 = 4;
const POLLERR: u32 = 8;
const POLLHUP: u32 = 16;
const POLLRDHUP: u32 = 0x2000;

/** Bytes on their way, with what was sent along. */
class Packet {
  start: u32 = 0;
  end: u32 = 0;
  files: Array<OpenFile> | null = null;
  data: usize;
  constructor(
    public room: u32,
    public from: string,
    public pid: i32,
  ) {
    this.data = heap.alloc(room === 0 ? 1 : room);
  }

  free(): void {
    heap.free(this.data);
    dropFiles(this.files);
    this.files = null;
  }
}

/** Sockets by their names: those in the tree by the number of their file, abstract ones as they are. */
const inTree = new Map<u64, UnixSocket>();
const abstracts = new Map<string, UnixSocket>();
let latestName: u32 = 0;

export class UnixSocket extends Socket {
  private peer: UnixSocket | null = null;
  /** Who has this one as its peer. */
  private senders: Array<UnixSocket> = new Array<UnixSocket>();
  private inbox: Array<Packet> = new Array<Packet>();
  private bytes: u64 = 0;
  private boundName: string = '';
  private file: Inode | null = null;
  private listens: bool = false;
  private backlog: i32 = 0;
  private pending: Array<UnixSocket> = new Array<UnixSocket>();
  private connected: bool = false;
  private noReceive: bool = false;
  private noSend: bool = false;
  private error: i64 = 0;
  private passCredentials: bool = false;
  private pid: i32 = senderPid();
  /** Woken when there is room again, for those who send without being connected. */
  private space: Queue = new Queue();

  constructor(type: u32) {
    super(AF_UNIX, type, 0);
  }

  private get stream(): bool {
    return this.type === SOCK_STREAM;
  }

  private get datagrams(): bool {
    return this.type === SOCK_DGRAM;
  }

  join(other: UnixSocket): void {
    this.peer = other;
    this.connected = true;
    other.senders.push(this);
  }

  private part(): void {
    const peer = this.peer;
    if (peer === null) return;
    const at = peer.senders.indexOf(this);
    if (at >= 0) peer.senders.splice(at, 1);
    this.peer = null;
  }

  // ---- names ----------------------------------------------------------------------------------------------------------

  bind(length: u32): i64 {
    if (length < FAMILY || load<u16>(areaAddress()) !== AF_UNIX || length > FAMILY + PATH) return EINVAL;
    if (length === FAMILY) return this.bindAbstract(freeName());
    if (load<u8>(areaAddress(), FAMILY) === 0) return this.bindAbstract(bytesToString(areaAddress() + FAMILY, length - FAMILY));
    const path = pathIn(length);
    const folder = walkParent(path, current.process.cwd);
    if (folder === null) return walkFailure;
    const name = lastName;
    if (folder.entries === null) return ENOTDIR;
    if (name === '' || name === '.' || name === '..' || folder.entries!.has(name)) return EADDRINUSE;
    if (folder.outside !== null) return EACCES;
    if (folder.links === 0) return ENOENT;
    if (this.boundName.length > 0) return EINVAL;
    if (folder.readOnly) return EROFS;
    const inode = new Inode(S_IFSOCK | (0o777 & ~umask()));
    link(folder, name, inode);
    folder.modified = folder.changed = now(0);
    inTree.set(inode.number, this);
    this.file = inode;
    this.boundName = path;
    return 0;
  }

  private bindAbstract(name: string): i64 {
    if (this.boundName.length > 0) return EINVAL;
    if (abstracts.has(name)) return EADDRINUSE;
    abstracts.set(name, this);
    this.boundName = name;
    return 0;
  }

  name(peer: bool): i64 {
    if (!peer) return putName(this.boundName);
    if (this.peer === null) return ENOTCONN;
    return putName(this.peer!.boundName);
  }

  // ---- connections ----------------------------------------------------------------------------------------------------

  listen(backlog: i32): i64 {
    if (this.datagrams) return EOPNOTSUPP;
    if (this.boundName.length === 0 || this.connected) return EINVAL;
    this.listens = true;
    this.backlog = backlog < 0 || backlog > 4096 ? 4096 : backlog;
    return 0;
  }

  connect(file: OpenFile, length: u32): i64 {
    if (length >= FAMILY && load<u16>(areaAddress()) === 0 && this.datagrams) {
      this.part();
      this.connected = false;
      return 0;
    }
    if (length <= FAMILY || load<u16>(areaAddress()) !== AF_UNIX) return EINVAL;
    if (this.listens) return EINVAL;
    const target = find(length);
    if (target === null) return findFailure;
    if (target.type !== this.type) return EPROTOTYPE;
    if (this.datagrams) {
      if (target.peer !== null && target.peer !== this) return -1;
      this.part();
      this.join(target);
      return 0;
    }
    if (this.connected) return EISCONN;
    if (!target.listens) return ECONNREFUSED;
    if (target.pending.length > target.backlog) return this.again(file, 0, target.space, true);
    const other = new UnixSocket(this.type);
    other.boundName = target.boundName;
    other.pid = target.pid;
    other.join(this);
    this.join(other);
    target.pending.push(other);
    target.changed();
    return 0;
  }

  accept(file: OpenFile, flags: u32): i64 {
    if (this.datagrams) return EOPNOTSUPP;
    if (!this.listens) return EINVAL;
    if (this.pending.length === 0) return this.again(file, 0, this.queue, false);
    const socket = this.pending.shift();
    this.space.wake();
    setAcceptedLength(<u32>putName(socket.peer === null ? '' : socket.peer!.boundName));
    return give(socket, flags);
  }

  shutdown(how: i32): i64 {
    if (!this.connected) return ENOTCONN;
    const peer = this.peer;
    if (how !== 1) this.noReceive = true;
    if (how !== 0) this.noSend = true;
    if (peer !== null && !this.datagrams) {
      if (how !== 1) peer.noSend = true;
      if (how !== 0) peer.noReceive = true;
      peer.changed();
    }
    this.changed();
    return 0;
  }

  closed(): void {
    const peer = this.peer;
    if (peer !== null && !this.datagrams) {
      peer.noReceive = peer.noSend = true;
      // What was not read is lost, and the other side is told.
      if (this.inbox.length > 0) peer.error = ECONNRESET;
    }
    this.part();
    while (this.inbox.length > 0) this.inbox.shift().free();
    this.bytes = 0;
    while (this.senders.length > 0) {
      const sender = this.senders[0];
      sender.part();
      if (this.datagrams) sender.error = ECONNREFUSED;
      sender.changed();
    }
    while (this.pending.length > 0) {
      const socket = this.pending.shift();
      const other = socket.peer;
      socket.closed();
      if (other !== null) other.error = ECONNRESET;
    }
    this.listens = false;
    if (this.file !== null) inTree.delete(this.file!.number);
    else if (this.boundName.length > 0 && abstracts.has(this.boundName) && abstracts.get(this.boundName) === this)
      abstracts.delete(this.boundName);
    this.space.wake();
    this.queue.wake();
  }

  // ---- waiting --------------------------------------------------------------------------------------------------------

  /** The call is made again when something happens to `queue`; EAGAIN for those who do not wait. */
  private again(file: OpenFile, flags: u32, queue: Queue, sends: bool): i64 {
    if (!this.waits(file, flags)) return EAGAIN;
    const until = this.until(sends);
    if (until !== NEVER && timedOut()) return EAGAIN;
    watch(queue);
    return park(until, until === NEVER);
  }

  private get full(): bool {
    return this.bytes >= LIMIT || (!this.stream && this.inbox.length >= MAX_DATAGRAMS);
  }

  state(): u32 {
    let state: u32 = 0;
    if (this.error !== 0) state |= POLLERR;
    if (this.noReceive) state |= POLLRDHUP | POLLIN;
    if (this.noReceive && this.noSend) state |= POLLHUP;
    if (this.inbox.length > 0 || this.pending.length > 0) state |= POLLIN;
    if (!this.datagrams && !this.connected && !this.listens) state |= POLLHUP;
    const peer = this.peer;
    if (!this.listens && (peer === null || (this.datagrams ? !peer.full : peer.bytes * 4 <= LIMIT))) state |= POLLOUT;
    return state;
  }

  queued(): i64 {
    if (this.listens) return EINVAL;
    if (this.stream) return this.bytes;
    return this.inbox.length === 0 ? 0 : this.inbox[0].end - this.inbox[0].start;
  }

  private takeError(): i64 {
    const error = this.error;
    this.error = 0;
    return error;
  }

  // ---- messages -------------------------------------------------------------------------------------------------------

  send(file: OpenFile, m: Message): i64 {
    if ((m.flags & MSG_OOB) !== 0) return EOPNOTSUPP;
    if (this.stream) return this.sendStream(file, m);
    if (this.error !== 0) return this.takeError();
    let target = this.peer;
    if (m.addressLength > 0) {
      if (!this.datagrams) return this.connected ? EISCONN : EOPNOTSUPP;
      target = find(m.addressLength);
      if (target === null) return findFailure;
      if (target.type !== this.type) return EPROTOTYPE;
    }
    if (this.noSend) return broken((m.flags & MSG_NOSIGNAL) !== 0);
    if (target === null) return ENOTCONN;
    if (target.noReceive) return broken((m.flags & MSG_NOSIGNAL) !== 0);
    if (m.total > LIMIT) return EMSGSIZE;
    if (target.full) return this.again(file, m.flags, target.space, true);
    if (!fits(m.total)) return ENOBUFS;
    const packet = new Packet(<u32>m.total, this.boundName, senderPid());
    if (!m.copy(packet.data, 0, m.total, false)) {
      packet.free();
      return EFAULT;
    }
    packet.end = <u32>m.total;
    packet.files = m.files;
    m.files = null;
    target.arrived(packet, m.total);
    return m.total;
  }

  private arrived(packet: Packet, bytes: u64): void {
    this.inbox.push(packet);
    this.bytes += bytes;
    this.changed();
  }

  private sendStream(file: OpenFile, m: Message): i64 {
    if (m.addressLength > 0) return this.connected ? EISCONN : EOPNOTSUPP;
    const peer = this.peer;
    let done = current.done;
    current.done = 0;
    if (this.noSend || (peer === null && this.connected)) return done > 0 ? done : broken((m.flags & MSG_NOSIGNAL) !== 0);
    if (peer === null) return ENOTCONN;
    while (done < m.total && !peer.full) {
      const inbox = peer.inbox;
      let packet: Packet | null = inbox.length > 0 ? inbox[inbox.length - 1] : null;
      // Descriptors stay with the bytes that they came with.
      const fresh = packet === null || packet.end === packet.room || packet.files !== null || m.files !== null || packet.pid !== senderPid();
      if (fresh) {
        if (!fits(PIECE)) return done > 0 ? done : ENOBUFS;
        packet = new Packet(PIECE, this.boundName, senderPid());
      }
      const part = <u32>min<u64>(m.total - done, packet!.room - packet!.end);
      if (!m.copy(packet!.data + packet!.end, done, part, false)) {
        if (fresh) packet!.free();
        return done > 0 ? done : EFAULT;
      }
      packet!.end += part;
      packet!.files = fresh ? m.files : packet!.files;
      m.files = fresh ? null : m.files;
      if (fresh) peer.inbox.push(packet!);
      peer.bytes += part;
      done += part;
      peer.changed();
    }
    if (done >= m.total) return done;
    if (done > 0 && !this.waits(file, m.flags)) return done;
    const result = this.again(file, m.flags, peer.space, true);
    if (result === i64.MIN_VALUE) current.done = done;
    else if (done > 0) return done;
    return result;
  }

  receive(file: OpenFile, m: Message): i64 {
    if ((m.flags & MSG_OOB) !== 0) return EOPNOTSUPP;
    if (!this.datagrams && !this.connected) return this.stream ? EINVAL : ENOTCONN;
    const enough: u64 = this.stream && (m.flags & MSG_WAITALL) !== 0 ? min(m.total, LIMIT) : 1;
    const over = this.noReceive || this.error !== 0;
    if (this.inbox.length === 0 || (this.stream && this.bytes < enough && !over && m.total > 0)) {
      if (this.error !== 0 && this.inbox.length === 0) return this.takeError();
      if (this.noReceive) return 0;
      if (m.total === 0 && this.stream) return 0;
      return this.again(file, m.flags, this.queue, false);
    }
    return this.stream ? this.receiveStream(m) : this.receivePacket(m);
  }

  private receivePacket(m: Message): i64 {
    const packet = this.inbox[0];
    const size = <u64>(packet.end - packet.start);
    const part = min(size, m.total);
    if (!m.copy(packet.data + packet.start, 0, part, true)) return EFAULT;
    if (size > m.total) m.outFlags |= MSG_TRUNC;
    this.take(m, packet);
    if (this.datagrams) m.addressLength = packet.from.length > 0 ? <u32>putName(packet.from) : 0;
    if ((m.flags & MSG_PEEK) === 0) {
      this.inbox.shift();
      this.bytes -= size;
      packet.free();
      this.roomAgain();
    }
    return (m.flags & MSG_TRUNC) !== 0 ? size : part;
  }

  private receiveStream(m: Message): i64 {
    const peek = (m.flags & MSG_PEEK) !== 0;
    let done: u64 = 0;
    for (let at = 0; at < this.inbox.length && done < m.total; ) {
      const packet = this.inbox[at];
      // Bytes of another sender, or behind descriptors, are another message.
      if (done > 0 && (packet.files !== null || (m.wantsCredentials && packet.pid !== m.pid))) break;
      const part = <u32>min<u64>(packet.end - packet.start, m.total - done);
      if (!m.copy(packet.data + packet.start, done, part, true)) return done > 0 ? done : EFAULT;
      const carried = packet.files !== null;
      this.take(m, packet);
      done += part;
      if (peek) {
        at++;
      } else {
        packet.start += part;
        this.bytes -= part;
        if (packet.start < packet.end) break;
        this.inbox.shift();
        packet.free();
      }
      if (carried) break;
    }
    if (!peek) this.roomAgain();
    return done;
  }

  /** What goes along with a packet. A look at it gives copies of its descriptors. */
  private take(m: Message, packet: Packet): void {
    m.pid = packet.pid;
    m.wantsCredentials = this.passCredentials;
    const files = packet.files;
    if (files === null) return;
    if ((m.flags & MSG_PEEK) !== 0) {
      m.files = files.slice(0);
      for (let i = 0; i < files.length; i++) files[i].references++;
    } else {
      m.files = files;
      packet.files = null;
    }
  }

  private roomAgain(): void {
    this.space.wake();
    this.changes++;
    for (let i = 0; i < this.senders.length; i++) this.senders[i].changed();
  }

  // ---- options --------------------------------------------------------------------------------------------------------

  setOption(level: u32, name: u32, user: u64, length: u32): i64 {
    const own = setCommon(this, level, name, user, length);
    if (own !== NOT_HERE) return own;
    if (level !== SOL_SOCKET) return EOPNOTSUPP;
    if (length < 4) return EINVAL;
    if (!copyIn(scratch, user, 4)) return EFAULT;
    if (name === SO_PASSCRED) this.passCredentials = load<u32>(scratch) !== 0;
    // REUSEADDR, BROADCAST, buffers, KEEPALIVE, PRIORITY, LINGER, REUSEPORT: no difference here.
    return name === SO_PASSCRED || (name >= SO_REUSEADDR && name <= 15) ? 0 : ENOPROTOOPT;
  }

  getOption(level: u32, name: u32, length: u32): i64 {
    const own = getCommon(this, level, name);
    if (own !== NOT_HERE) return own;
    if (level !== SOL_SOCKET) return EOPNOTSUPP;
    switch (name) {
      case SO_ERROR:
        return number(<u32>(-this.takeError()));
      case SO_SNDBUF:
      case SO_RCVBUF:
        return number(<u32>LIMIT);
      case SO_PASSCRED:
        return number(this.passCredentials ? 1 : 0);
      case SO_ACCEPTCONN:
        return number(this.listens ? 1 : 0);
      case SO_PEERCRED: {
        store<i32>(scratch, this.peer === null ? 0 : this.peer!.pid);
        store<i32>(scratch, this.peer === null ? -1 : 0, 4);
        store<i32>(scratch, this.peer === null ? -1 : 0, 8);
        return 12;
      }
      default:
        return name >= SO_REUSEADDR && name <= 15 ? number(0) : ENOPROTOOPT;
    }
  }
}

/** socketpair. */
export function unixPair(one: UnixSocket, other: UnixSocket): void {
  one.join(other);
  other.join(one);
}

function freeName(): string {
  let name: string;
  do {
    latestName = (latestName + 1) & 0xfffff;
    name = '\0' + (0x100000 + latestName).toString(16).substring(1);
  } while (abstracts.has(name));
  return name;
}

/** The path of the address in the area. */
function pathIn(length: u32): string {
  let end = 0;
  const most = <i32>(length - FAMILY);
  while (end < most && load<u8>(areaAddress() + FAMILY + end) !== 0) end++;
  return bytesToString(areaAddress() + FAMILY, end);
}

let findFailure: i64 = 0;

/** The socket that the address in the area names, or null with `findFailure`. */
function find(length: u32): UnixSocket | null {
  findFailure = EINVAL;
  if (length <= FAMILY || length > FAMILY + PATH + 2 || load<u16>(areaAddress()) !== AF_UNIX) return null;
  findFailure = ECONNREFUSED;
  if (load<u8>(areaAddress(), FAMILY) === 0) {
    const name = bytesToString(areaAddress() + FAMILY, length - FAMILY);
    return abstracts.has(name) ? abstracts.get(name) : null;
  }
  const inode = walk(pathIn(length), current.process.cwd, true);
  if (inode === null) {
    findFailure = walkFailure;
    return null;
  }
  return inTree.has(inode.number) ? inTree.get(inode.number) : null;
}

/** Puts a name into the area as an address; its length. Paths end with a zero byte. */
function putName(name: string): i64 {
  const at = areaAddress();
  store<u16>(at, <u16>AF_UNIX);
  const length = stringToBytes(name, at + FAMILY);
  const path = length > 0 && load<u8>(at, FAMILY) !== 0;
  return FAMILY + length + (path ? 1 : 0);
}
