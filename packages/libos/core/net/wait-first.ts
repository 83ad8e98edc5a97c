/** Waits for the host in groups of processes of which one at a time has its memory (core/task/residence.ts). */
import { goesOut, HELD } from '../task/residence';
import { PENDING } from '../request';
import { Thread } from '../task/thread';
import { OP_POLL, pollArea, request, WOKEN } from './host';

const OP_READ: u64 = 32;
const OP_RECEIVE: u64 = 34;
const POLLIN: u16 = 1;
const POLLOUT: u16 = 4;

/**
 * A wait for a descriptor of the host that needs the program's memory (core/net/host.ts) would keep others of the group from
 * their place: the thread waits for the descriptor first.
 */
function pollsFirst(thread: Thread): void {
  const op = load<u64>(thread.request);
  const until = load<u64>(thread.request, 32);
  if (op < OP_READ || op > 35 || until === 0 || thread.polled) return;
  memory.copy(thread.polledRequest, thread.request, HELD);
  thread.polledThen = thread.then;
  thread.polls = true;
  // struct pollfd: descriptor, events.
  const list = pollArea(thread.slot);
  store<i32>(list, <i32>load<u64>(thread.request, 8));
  store<u16>(list, op === OP_READ || op === OP_RECEIVE ? POLLIN : POLLOUT, 4);
  store<u16>(list, 0, 6);
  request(OP_POLL, list, 1, until, 0, 0, 0);
}

/** Whether the thread now has what it has waited for, and goes out with its own request: then PENDING. The result else is that. */
export function hasPolled(thread: Thread, result: i64): i64 {
  memory.copy(thread.request, thread.polledRequest, HELD);
  thread.then = thread.polledThen;
  thread.polls = false;
  if (result === WOKEN) return WOKEN;
  thread.polled = true;
  departs(thread);
  thread.polled = false;
  return PENDING;
}

/** The calling thread leaves with its request. */
export function departs(thread: Thread): void {
  if (thread.process.space.group !== null) pollsFirst(thread);
  goesOut(thread);
}
