/** Waiting: threads on queues, and who wakes them. A call that waits is made again when its thread is woken. */
import { EINTR } from '../errno';
import { PENDING, requestPark } from '../request';
import { now } from '../shim';
import { deliverable } from '../signals';
import { current, Thread } from './thread';

export const NEVER: u64 = u64.MAX_VALUE;

/** Threads that want to know of a change, in the order in which they came. */
export class Queue {
  waiters: Array<Thread> = new Array<Thread>();

  /** Wakes all; each looks for itself what has changed. */
  wake(): void {
    const waiters = this.waiters;
    for (let i = 0; i < waiters.length; i++) waiters[i].wake();
  }

  remove(thread: Thread): void {
    const at = this.waiters.indexOf(thread);
    if (at >= 0) this.waiters.splice(at, 1);
  }
}

/** The call under way wants to be made again when something happens to this queue. */
export function watch(queue: Queue): void {
  if (current.watched.includes(queue)) return;
  current.touched = true;
  current.watched.push(queue);
  queue.waiters.push(current);
}

/** When a wait that began with this call's first attempt is over: so many nanoseconds after it. */
export function deadline(nanoseconds: u64): u64 {
  if (current.deadline === 0) {
    current.touched = true;
    const until = now(1) + nanoseconds;
    current.deadline = until < nanoseconds ? NEVER : until;
  }
  return current.deadline;
}

/** The same for a time on a clock. */
export function deadlineAt(clock: i32, time: u64): u64 {
  const present = now(clock);
  return deadline(time > present ? time - present : 0);
}

export function timedOut(): bool {
  return current.deadline !== 0 && current.deadline !== NEVER && now(1) >= current.deadline;
}

/**
 * Waits until one of the watched queues is woken or a time on clock 1 has come. EINTR when a signal can be delivered.
 * @param restart whether the call is made again behind a handler that asks for that (SA_RESTART)
 */
export function park(until: u64, restart: bool = false): i64 {
  if (deliverable() !== 0) {
    current.restart = restart;
    return EINTR;
  }
  return requestPark(until);
}

export function isPending(result: i64): bool {
  return result === PENDING;
}
