/** A thread of a program: what belongs to it alone, and the call that it is in. */
import { Inode } from '../fs/inode';
import { setFiles } from '../fs/open-file';
import { Walk } from '../fs/outside';
import { now } from '../shim';
import { Arguments } from './arguments';
import { Process } from './process';
import { Queue } from './queue';
import { HELD } from './residence';
import { MAX_THREADS } from './slots';
import { Suspended } from './vfork';

export { MAX_THREADS };

/** For each signal its code, sender, value, and what lies behind the sender in siginfo (core/signals.ts). */
export const SENDER: usize = 24;
export const SENDERS: usize = 65 * SENDER;

/** A real-time signal that waits behind another of its number. */
export class Queued {
  constructor(
    public signal: u64,
    public code: i32,
    public sender: i32,
    public value: u64,
    public extra: i32,
  ) {}
}

const REQUEST_BYTES: usize = 128;

export class Thread {
  /** Where the native half looks for what is to be done (core/request.ts). */
  request: usize = heap.alloc(REQUEST_BYTES);

  // The call under way, for when it has to be made again.
  number: u32 = 0;
  a: u64 = 0;
  b: u64 = 0;
  c: u64 = 0;
  d: u64 = 0;
  e: u64 = 0;
  f: u64 = 0;
  /** When it began, how long it was outside since, and since when it is (0: it is not). */
  began: u64 = now(1);
  away: u64 = 0;
  leftAt: u64 = 0;
  /** What becomes of the result of a request (core/request.ts). */
  then: i32 = 0;
  /** Whether the call has been made before. */
  again: bool = false;
  deadline: u64 = 0;
  /** It has left something that must go with its end. */
  touched: bool = false;
  /** An interrupted call may be made again behind a handler. */
  restart: bool = false;
  watched: Array<Queue> = new Array<Queue>();
  /** Bytes that a call which waits has moved already. */
  done: u64 = 0;
  /** What a transfer of the host's must bring to be over (core/net/host.ts). */
  wanted: u64 = 0;
  /** The result of a call that is over but for what has to be closed outside. */
  result: i64 = 0;
  /** Messages that a call for several has moved already. */
  many: u64 = 0;
  /** Answer of the host to the latest wait; -1 in a call that has not waited. */
  waitResult: i64 = -1;
  /** The futex that it waits for, and whether it was woken there. */
  futex: Queue | null = null;
  futexAt: u64 = 0;
  futexBits: u32 = 0;
  futexWoken: bool = false;
  /** Since when answers about files of the host count in this call, and which names it asks for (core/fs/hostfs.ts). */
  lookedFrom: u64 = 0;
  walk: Walk | null = null;
  /** A mapping that bytes of the host's file are on their way to, and how many. */
  filling: u64 = 0;
  fillingBytes: u64 = 0;
  /** The piece of the root that the request asks for, and where it is to go. */
  asked: Inode | null = null;
  askedPiece: u32 = 0;
  askedMemory: usize = 0;
  askedBytes: u32 = 0;
  /** A file of the store that could not be read. */
  failedFile: Inode | null = null;

  // Signals (core/signals.ts).
  blocked: u64 = 0;
  pending: u64 = 0;
  stackBase: u64 = 0;
  stackSize: u64 = 0;
  stackFlags: u32 = 2;
  suspended: u64 = u64.MAX_VALUE;
  /** Why each pending signal was sent (SENDER of core/signals.ts). */
  senders: usize = heap.alloc(SENDERS);
  queued: Array<Queued> = new Array<Queued>();

  /** Where a zero is to be written, and waiters woken, at the end (CLONE_CHILD_CLEARTID). */
  clearTid: u64 = 0;
  robustList: u64 = 0;
  /** What another program is to be started with, while that is fetched. */
  exec: Arguments | null = null;
  /** Its process runs another program: it goes at its next call. */
  dismissed: bool = false;
  /** Parents that it is the child of, until that runs a program or ends; the latest last. */
  parents: Array<Suspended> = new Array<Suspended>();
  /** It is outside with a request that does not need its memory. */
  outside: bool = false;
  /** Its stack pointer as it left, where its process may have to make place (task/residence.ts). */
  stackAt: u64 = 0;
  /** It is to let another process have the place. */
  mustYield: bool = false;
  /** It waits for its place with the result of a request, which it goes on with. */
  held: bool = false;
  heldResult: i64 = 0;
  heldThen: i32 = 0;
  heldRequest: usize = heap.alloc(HELD);
  /** It waits for a descriptor before the request that it goes on with; has done so. */
  polls: bool = false;
  polled: bool = false;
  polledThen: i32 = 0;
  polledRequest: usize = heap.alloc(HELD);
  /** Vector registers that it begins with, and where its number is to be written then. */
  vectors: usize = 0;
  setTid: u64 = 0;
  /** It has ended, or waits for the others of its process to end. */
  leaving: bool = false;
  name: usize = heap.alloc(16);

  constructor(
    public tid: i32,
    public slot: i32,
    public process: Process,
  ) {
    memory.fill(this.request, 0, REQUEST_BYTES);
    memory.fill(this.name, 0, 16);
  }

  /** Makes it look again. */
  wake(): void {
    wakes |= (<u64>1) << this.slot;
  }

  /** Leaves all queues. */
  unwatch(): void {
    const watched = this.watched;
    for (let i = 0; i < watched.length; i++) watched[i].remove(this);
    watched.length = 0;
  }

  free(): void {
    this.unwatch();
    heap.free(this.request);
    heap.free(this.name);
    heap.free(this.senders);
    heap.free(this.heldRequest);
    heap.free(this.polledRequest);
    if (this.vectors !== 0) heap.free(this.vectors);
  }
}

/** By slot: the native half knows threads by these numbers. */
export const threads = new StaticArray<Thread | null>(MAX_THREADS);

/** Whose call is served. */
export let current: Thread = changetype<Thread>(0);

export function setCurrentThread(thread: Thread): void {
  current = thread;
  setFiles(thread.process.files);
}

/** Threads to be woken once the lock is free, a bit for each slot. */
let wakes: u64 = 0;

export function takeWakes(): u64 {
  const taken = wakes;
  wakes = 0;
  return taken;
}

export function freeSlot(): i32 {
  for (let slot = 0; slot < MAX_THREADS; slot++) if (threads[slot] === null) return slot;
  return -1;
}

/** A thread by its number, or null. */
export function threadOf(tid: i32): Thread | null {
  for (let slot = 0; slot < MAX_THREADS; slot++) {
    const thread = threads[slot];
    if (thread !== null && thread.tid === tid) return thread;
  }
  return null;
}
