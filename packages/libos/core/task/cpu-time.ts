/**
 * Time of the processor. Nobody inside can tell when the host lets a thread run: what is counted is the time that a thread
 * does not spend outside of the enclave for a request (a wait, a transfer), so it is never too little.
 */
import { now } from '../shim';
import { Process } from './process';
import { MAX_THREADS, Thread, threads } from './thread';

/** The thread leaves with a request. */
export function leaves(thread: Thread): void {
  thread.leftAt = now(1);
}

/** And is back. */
export function isBack(thread: Thread): void {
  if (thread.leftAt === 0) return;
  thread.away += now(1) - thread.leftAt;
  thread.leftAt = 0;
}

export function threadTime(thread: Thread): u64 {
  const until = thread.leftAt !== 0 ? thread.leftAt : now(1);
  return until - thread.began - thread.away;
}

/** Of all its threads, with those that have ended. */
export function processTime(process: Process): u64 {
  let time = process.spent;
  for (let slot = 0; slot < MAX_THREADS; slot++) {
    const thread = threads[slot];
    if (thread !== null && thread.process === process) time += threadTime(thread);
  }
  return time;
}
