/** Message queues of System V (msgsnd(2), msgrcv(2)). */
import { E2BIG, EAGAIN, EFAULT, EIDRM, EINVAL, ENOMSG, ENOSPC } from '../errno';
import { copyIn, copyOut } from '../shim';
import { NEVER, park, Queue, watch } from '../task/queue';
import { current } from '../task/thread';
import { scratch } from '../user';
import { commandOf, IPC_NOWAIT, IPC_RMID, IPC_SET, IPC_STAT, IpcObject, IpcTable, seconds } from './objects';

const MSGMAX: u64 = 8192;
const MSGMNB: u64 = 16384;
const MSGMNI = 1024;
const MSG_NOERROR: u32 = 0o10000;
const MSG_EXCEPT: u32 = 0o20000;
const DESCRIPTION: u64 = 120;

class Message {
  constructor(
    public type: i64,
    public at: usize,
    public length: u64,
  ) {}
}

class MessageQueue extends IpcObject {
  messages: Array<Message> = new Array<Message>();
  bytes: u64 = 0;
  limit: u64 = MSGMNB;
  sent: u64 = 0;
  received: u64 = 0;
  sender: i32 = 0;
  receiver: i32 = 0;
  queue: Queue = new Queue();
}

const queues = new IpcTable<MessageQueue>();

export function sysMsgget(key: u64, flags: u64): i64 {
  const found = queues.byKey(key);
  const refused = queues.refuse(found !== null, key, flags);
  if (refused !== 0) return refused;
  if (found !== null) return found.id;
  if (queues.objects.length >= MSGMNI) return ENOSPC;
  const queue = new MessageQueue(queues.nextId(), <i32>key, <u32>flags & 0o777);
  queues.objects.push(queue);
  return queue.id;
}

export function sysMsgsnd(id: u64, user: u64, length: u64, flags: u64): i64 {
  const queue = queues.byId(id);
  if (queue === null) return current.again ? EIDRM : EINVAL;
  if (length > MSGMAX) return EINVAL;
  if (!copyIn(scratch, user, 8)) return EFAULT;
  const type = load<i64>(scratch);
  if (type < 1) return EINVAL;
  // Messages without bytes are limited by their number.
  if (queue.bytes + length > queue.limit || <u64>queue.messages.length >= queue.limit) {
    if ((<u32>flags & IPC_NOWAIT) !== 0) return EAGAIN;
    watch(queue.queue);
    return park(NEVER);
  }
  const at = heap.alloc(<usize>length + 1);
  if (!copyIn(at, user + 8, length)) {
    heap.free(at);
    return EFAULT;
  }
  queue.messages.push(new Message(type, at, length));
  queue.bytes += length;
  queue.sent = seconds();
  queue.sender = current.process.pid;
  queue.queue.wake();
  return 0;
}

/** The message that a type asks for: 0 any, negative the lowest up to it, with MSG_EXCEPT another. */
function choose(queue: MessageQueue, type: i64, except: bool): i32 {
  let found = -1;
  for (let i = 0; i < queue.messages.length; i++) {
    const has = queue.messages[i].type;
    if (type === 0 || (type > 0 && (has === type) !== except)) return i;
    if (type < 0 && has <= -type && (found < 0 || has < queue.messages[found].type)) found = i;
  }
  return found;
}

export function sysMsgrcv(id: u64, user: u64, length: u64, type: u64, flags64: u64): i64 {
  const flags = <u32>flags64;
  const queue = queues.byId(id);
  if (queue === null) return current.again ? EIDRM : EINVAL;
  if (<i64>length < 0) return EINVAL;
  const which = choose(queue, <i64>type, (flags & MSG_EXCEPT) !== 0);
  if (which < 0) {
    if ((flags & IPC_NOWAIT) !== 0) return ENOMSG;
    watch(queue.queue);
    return park(NEVER);
  }
  const message = queue.messages[which];
  if (message.length > length && (flags & MSG_NOERROR) === 0) return E2BIG;
  const bytes = min(message.length, length);
  store<i64>(scratch, message.type);
  if (!copyOut(user, scratch, 8) || !copyOut(user + 8, message.at, bytes)) return EFAULT;
  queue.messages.splice(which, 1);
  queue.bytes -= message.length;
  heap.free(message.at);
  queue.received = seconds();
  queue.receiver = current.process.pid;
  queue.queue.wake();
  return bytes;
}

export function sysMsgctl(id: u64, command: u64, user: u64): i64 {
  const queue = queues.byId(id);
  if (queue === null) return EINVAL;
  switch (commandOf(command)) {
    case IPC_RMID:
      queues.drop(queue);
      for (let i = 0; i < queue.messages.length; i++) heap.free(queue.messages[i].at);
      queue.messages.length = 0;
      queue.queue.wake();
      return 0;
    case IPC_SET:
      if (!copyIn(scratch, user, DESCRIPTION)) return EFAULT;
      queue.mode = load<u32>(scratch, 20) & 0o777;
      queue.limit = min(load<u64>(scratch, 88), MSGMNB);
      queue.changed = seconds();
      queue.queue.wake();
      return 0;
    case IPC_STAT:
      memory.fill(scratch, 0, <usize>DESCRIPTION);
      queue.describe(scratch);
      store<u64>(scratch, queue.sent, 48);
      store<u64>(scratch, queue.received, 56);
      store<u64>(scratch, queue.changed, 64);
      store<u64>(scratch, queue.bytes, 72);
      store<u64>(scratch, queue.messages.length, 80);
      store<u64>(scratch, queue.limit, 88);
      store<i32>(scratch, queue.sender, 96);
      store<i32>(scratch, queue.receiver, 100);
      return copyOut(user, scratch, DESCRIPTION) ? 0 : EFAULT;
    default:
      return EINVAL;
  }
}
