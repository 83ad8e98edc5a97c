/** Message queues of POSIX (mq_overview(7)): messages by priority, behind descriptors that can be waited for. */
import {
  EACCES, EAGAIN, EBADF, EBUSY, EEXIST, EFAULT, EINVAL, EMSGSIZE, ENOENT, ENOSPC, ETIMEDOUT,
} from '../errno';
import { Inode } from '../fs/inode';
import { fileOf, install, O_ACCMODE, O_CLOEXEC, O_CREAT, O_EXCL, O_NONBLOCK, opened, OpenFile, Thing } from '../fs/open-file';
import { copyIn, copyOut } from '../shim';
import { sendTo } from '../signals';
import { deadlineAt, NEVER, park, Queue, timedOut, watch } from '../task/queue';
import { Process } from '../task/process';
import { current } from '../task/thread';
import { failure, loadPath, scratch, storeU32 } from '../user';

const POLLIN: u32 = 1;
const POLLOUT: u32 = 4;
const NANO: u64 = 1_000_000_000;
const PRIORITIES: u64 = 32768;
const MOST_QUEUES = 256;
const MOST_MESSAGES: i64 = 65536;
const LARGEST: i64 = 16 * 1024 * 1024;
/** All that the messages of one queue may take. */
const MOST_BYTES: i64 = 16 * 1024 * 1024;
const ATTRIBUTES: u64 = 64;
const SI_MESGQ: i32 = -3;

class Message {
  constructor(
    public at: usize,
    public length: u64,
    public priority: u32,
  ) {}
}

class Messages extends Thing {
  list: Array<Message> = new Array<Message>();
  changed: Queue = new Queue();
  /** Who is told of a message that comes when there is none. */
  told: Process | null = null;
  signal: u64 = 0;
  value: u64 = 0;
  constructor(
    public most: i32,
    public size: u64,
  ) {
    super();
  }
  queue(): Queue {
    return this.changed;
  }
  state(): u32 {
    return (this.list.length > 0 ? POLLIN : 0) | (this.list.length < this.most ? POLLOUT : 0);
  }
}

const queues = new Map<string, Messages>();

export function sysMqOpen(user: u64, flags64: u64, mode: u64, attributes: u64): i64 {
  const flags = <u32>flags64;
  const name = loadPath(user);
  if (failure !== 0) return failure;
  if (name.includes('/')) return EACCES;
  let messages: Messages;
  if (queues.has(name)) {
    if ((flags & (O_CREAT | O_EXCL)) === (O_CREAT | O_EXCL)) return EEXIST;
    messages = queues.get(name);
  } else {
    if ((flags & O_CREAT) === 0) return ENOENT;
    let most: i64 = 10;
    let size: i64 = 8192;
    if (attributes !== 0) {
      if (!copyIn(scratch, attributes, ATTRIBUTES)) return EFAULT;
      most = load<i64>(scratch, 8);
      size = load<i64>(scratch, 16);
      if (most <= 0 || size <= 0 || most > MOST_MESSAGES || size > LARGEST || most * size > MOST_BYTES) return EINVAL;
    }
    if (queues.size >= MOST_QUEUES) return ENOSPC;
    messages = new Messages(<i32>most, size);
    queues.set(name, messages);
  }
  const file = new OpenFile(new Inode(0o100000 | (<u32>mode & 0o777)), flags & (O_ACCMODE | O_NONBLOCK));
  file.thing = messages;
  const fd = install(file, 0, (flags & O_CLOEXEC) !== 0);
  if (fd >= 0) opened(file.inode, 1);
  return fd;
}

/** A queue lives on for those who have it open. */
export function sysMqUnlink(user: u64): i64 {
  const name = loadPath(user);
  if (failure !== 0) return failure;
  return queues.delete(name) ? 0 : ENOENT;
}

function messagesOf(file: OpenFile | null): Messages | null {
  if (file === null || file.thing === null || !(file.thing instanceof Messages)) return null;
  return <Messages>file.thing!;
}

/** Waits for a change; sets the deadline with the first attempt. */
function waitFor(messages: Messages, file: OpenFile, time: u64): i64 {
  if ((file.flags & O_NONBLOCK) !== 0) return EAGAIN;
  let until = NEVER;
  if (time !== 0) {
    if (!copyIn(scratch, time, 16)) return EFAULT;
    if (load<i64>(scratch) < 0 || load<u64>(scratch, 8) >= NANO) return EINVAL;
    until = deadlineAt(0, load<u64>(scratch) * NANO + load<u64>(scratch, 8));
    if (timedOut()) return ETIMEDOUT;
  }
  watch(messages.changed);
  return park(until, true);
}

export function sysMqTimedsend(fd: u64, user: u64, length: u64, priority: u64, time: u64): i64 {
  const file = fileOf(fd);
  const messages = messagesOf(file);
  if (messages === null || !file!.writable) return EBADF;
  if (priority >= PRIORITIES) return EINVAL;
  if (length > messages.size) return EMSGSIZE;
  if (messages.list.length >= messages.most) return waitFor(messages, file!, time);
  const at = heap.alloc(<usize>length + 1);
  if (!copyIn(at, user, length)) {
    heap.free(at);
    return EFAULT;
  }
  const list = messages.list;
  list.push(new Message(at, length, <u32>priority));
  // Behind those of its own priority and of higher ones.
  for (let i = list.length - 1; i > 0 && list[i - 1].priority < list[i].priority; i--) {
    const before = list[i - 1];
    list[i - 1] = list[i];
    list[i] = before;
  }
  if (list.length === 1 && messages.told !== null) {
    if (messages.signal !== 0) sendTo(messages.told!, messages.signal, SI_MESGQ, messages.value, current.process.pid);
    messages.told = null;
  }
  messages.changed.wake();
  return 0;
}

export function sysMqTimedreceive(fd: u64, user: u64, length: u64, priority: u64, time: u64): i64 {
  const file = fileOf(fd);
  const messages = messagesOf(file);
  if (messages === null || !file!.readable) return EBADF;
  if (length < messages.size) return EMSGSIZE;
  if (messages.list.length === 0) return waitFor(messages, file!, time);
  const message = messages.list[0];
  if (!copyOut(user, message.at, message.length)) return EFAULT;
  if (priority !== 0 && storeU32(priority, message.priority) !== 0) return EFAULT;
  messages.list.shift();
  heap.free(message.at);
  messages.changed.wake();
  return message.length;
}

export function sysMqNotify(fd: u64, event: u64): i64 {
  const messages = messagesOf(fileOf(fd));
  if (messages === null) return EBADF;
  if (event === 0) {
    if (messages.told === current.process) messages.told = null;
    return 0;
  }
  if (!copyIn(scratch, event, 64)) return EFAULT;
  const how = load<i32>(scratch, 12);
  const signal = load<u32>(scratch, 8);
  // 0 and 1: a signal, and nothing. Threads are started by C libraries that hear of it from a netlink socket.
  if ((how !== 0 && how !== 1) || (how === 0 && signal > 64)) return EINVAL;
  if (messages.told !== null) return EBUSY;
  messages.told = current.process;
  messages.signal = how === 0 ? signal : 0;
  messages.value = load<u64>(scratch);
  return 0;
}

export function sysMqGetsetattr(fd: u64, next: u64, before: u64): i64 {
  const file = fileOf(fd);
  const messages = messagesOf(file);
  if (messages === null) return EBADF;
  let flags = file!.flags;
  if (next !== 0) {
    if (!copyIn(scratch, next, ATTRIBUTES)) return EFAULT;
    if ((load<u64>(scratch) & ~(<u64>O_NONBLOCK)) !== 0) return EINVAL;
    flags = (flags & ~O_NONBLOCK) | load<u32>(scratch);
  }
  memory.fill(scratch, 0, <usize>ATTRIBUTES);
  store<u64>(scratch, file!.flags & O_NONBLOCK);
  store<u64>(scratch, messages.most, 8);
  store<u64>(scratch, messages.size, 16);
  store<u64>(scratch, messages.list.length, 24);
  file!.flags = flags;
  return before === 0 || copyOut(before, scratch, ATTRIBUTES) ? 0 : EFAULT;
}
