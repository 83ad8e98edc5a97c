/** What is behind the descriptor of a socket, as files see it. */
import { OpenFile } from '../fs/open-file';
import { Queue } from '../task/queue';

export abstract class Endpoint {
  /** Woken when its readiness changes; what lies outside has none. */
  queue: Queue = new Queue();
  /** Counts what happened, for those who are told of changes only. */
  changes: u64 = 0;
  /** The host's descriptor, or -1. */
  hostFd: i32 = -1;

  abstract read(file: OpenFile, user: u64, length: u64): i64;
  abstract write(file: OpenFile, user: u64, length: u64): i64;
  /** POLL bits, where the host need not be asked. */
  abstract state(): u32;
  /** Bytes that can be read at once (FIONREAD), or an error. */
  abstract queued(): i64;
  /** The last descriptor has gone. */
  abstract closed(): void;

  changed(): void {
    this.changes++;
    this.queue.wake();
  }
}
