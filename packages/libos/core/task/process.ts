/** A process: what its threads share. */
import { Inode } from '../fs/inode';
import { FileTable } from '../fs/open-file';
import { Space } from '../memory/space';
import { Queue } from './queue';
import { MAX_THREADS, Queued, SENDERS, Thread, threads } from './thread';

export const FIRST_PID = 2;
const ACTIONS: usize = 65 * 32;

export class Process {
  files: FileTable = new FileTable();
  /** Shared with the parent until it runs a program of its own. */
  space: Space;
  umask: u32 = 0o022;
  /** struct sigaction of each signal as system calls have it: handler, flags, restorer, mask. */
  actions: usize = heap.alloc(ACTIONS);
  /** Signals for any of its threads. */
  pending: u64 = 0;
  senders: usize = heap.alloc(SENDERS);
  queued: Array<Queued> = new Array<Queued>();
  /** Woken when a signal comes: for those who wait for signals as such. */
  signalled: Queue = new Queue();
  pgid: i32;
  sid: i32;
  /** Children that run or have ended and were not waited for. */
  children: Array<Process> = new Array<Process>();
  /** Woken when a child ends, is stopped or continued. */
  childEnded: Queue = new Queue();
  /** As wait4 tells it, once it has ended. */
  status: i32 = 0;
  ended: bool = false;
  /** What its parent gets at its end; 0 for none. */
  exitSignal: u64 = 17;
  /** Time of the processor of threads that have ended, and of children that have. */
  spent: u64 = 0;
  childrenSpent: u64 = 0;
  /** The signal that has stopped it; 0: it goes on. */
  stopped: u64 = 0;
  /** Whether its parent has still to be told by wait that it was stopped, or continued. */
  stopNews: bool = false;
  continueNews: bool = false;
  /** Its threads are to go. */
  exiting: bool = false;

  constructor(
    public pid: i32,
    public parent: Process | null,
    public cwd: Inode,
  ) {
    this.space = parent === null ? new Space() : parent.space;
    this.pgid = parent === null ? pid : parent.pgid;
    this.sid = parent === null ? pid : parent.sid;
    memory.fill(this.actions, 0, ACTIONS);
  }

  /** It has ended and was waited for: nothing is sent to it any more. */
  free(): void {
    if (this.actions === 0) return;
    heap.free(this.actions);
    heap.free(this.senders);
    this.actions = this.senders = 0;
  }

  threadCount(): i32 {
    let count = 0;
    for (let slot = 0; slot < MAX_THREADS; slot++) if (this.has(threads[slot])) count++;
    return count;
  }

  private has(thread: Thread | null): bool {
    return thread !== null && thread.process === this;
  }
}

/** The next number for a process or a thread. */
let latestId: i32 = FIRST_PID - 1;
export function nextId(): i32 {
  return ++latestId;
}
