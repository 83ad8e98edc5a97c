/** A processor without code: threads that enter, leave and are interrupted when the driver says so. */
import type {
  EnclaveProcessor,
  LeafRequest,
  PageRange,
  ProcessorCounters,
  ProcessorStart,
  RunningEnclave,
  ThreadStart,
} from '@nestedsgx/monitor';
import { PAGE } from '../layout.js';
import { SimMemory, SimOsError } from './memory.js';

const R = 1;
const W = 2;
const X = 4;

/** One thread slot: the TCS it has, and where its thread is. */
export interface SimThread {
  start: ThreadStart | null;
  inside: boolean;
  entryEpoch: number;
  cssa: number;
  admitted: boolean;
}

/** An enclave in execution. */
export class SimRunning implements RunningEnclave {
  readonly pid = 1;
  readonly start: ProcessorStart;
  readonly threads: SimThread[] = [];
  /** R | W | X of mapped pages by page number; a page that is not there is not mapped. */
  readonly rights = new Map<number, number>();
  lost: string | null = null;
  frozen = false;
  stopped = false;
  #epoch = 0;

  constructor(start: ProcessorStart) {
    this.start = start;
    for (let i = 0; i < start.gates.count; i++)
      this.threads.push({
        start: start.threads[i] ?? null,
        inside: false,
        entryEpoch: 0,
        cssa: 0,
        admitted: false,
      });
    for (const range of start.ranges) this.map(range);
  }

  /** Slot of the TCS at this offset, or −1. */
  slotOf(tcsOffset: number): number {
    return this.threads.findIndex((thread) => thread.start?.tcsOffset === tcsOffset);
  }

  /** EENTER or ERESUME as the runner decides it from the control page. False: the thread is not let in. */
  enter(slot: number, resume: boolean): boolean {
    const thread = this.threads[slot];
    if (thread === undefined || thread.start === null || this.frozen || this.lost !== null) return false;
    if (!thread.admitted || thread.inside) return false;
    const frame = resume ? thread.cssa - 1 : thread.cssa;
    if (frame < 0 || frame >= thread.start.nssa) return false;
    if (resume) thread.cssa--;
    thread.inside = true;
    thread.entryEpoch = this.#epoch;
    return true;
  }

  /** EEXIT. */
  leave(slot: number): void {
    this.threads[slot].inside = false;
  }

  /** AEX: the state goes to the SSA frame. */
  interrupt(slot: number): void {
    this.threads[slot].inside = false;
    this.threads[slot].cssa++;
  }

  threadState(slot: number) {
    const { inside, cssa, entryEpoch, admitted } = this.threads[slot];
    return { state: inside ? 2 : 0, cssa, entryEpoch, admitted };
  }
  setAdmitted(slot: number, on: boolean): void {
    this.threads[slot].admitted = on;
  }
  setThread(slot: number, start: ThreadStart | null, cssa: number): void {
    Object.assign(this.threads[slot], { start, cssa });
  }
  freeze(): void {
    this.frozen = true;
  }
  unfreeze(): void {
    this.frozen = false;
  }
  bumpEpoch(): number {
    return ++this.#epoch;
  }
  anyInside(beforeEpoch?: number): boolean {
    for (const thread of this.threads)
      if (thread.inside && (beforeEpoch === undefined || thread.entryEpoch < beforeEpoch)) return true;
    return false;
  }
  map({ offset, length, r, w, x }: PageRange): void {
    const rights = (r ? R : 0) | (w ? W : 0) | (x ? X : 0);
    for (let at = offset; at < offset + length; at += PAGE) this.rights.set(at / PAGE, rights);
  }
  protect(range: PageRange): void {
    this.map(range);
  }
  /** Nothing gets lost here. */
  renew(): void {}
  writeProtect(offset: number, length: number, on: boolean): void {
    for (let at = offset; at < offset + length; at += PAGE) {
      const rights = this.rights.get(at / PAGE);
      if (rights !== undefined) this.rights.set(at / PAGE, on ? rights & ~W : rights | W);
    }
  }
  unmap(offset: number, length: number): void {
    for (let at = offset; at < offset + length; at += PAGE) this.rights.delete(at / PAGE);
  }
  kick(): void {}
  pendingLeaves(): LeafRequest[] {
    return [];
  }
  answerLeaf(): void {}
  counters(): ProcessorCounters {
    return { eenter: 0, eresume: 0, eexit: 0, aex: [] };
  }
  stop(): void {
    this.stopped = true;
  }
}

/** What the processor refuses next. */
export type Refusal = 'memory' | 'start' | 'write';

/** Makes enclave memories and starts enclaves; `refuse` makes the next such request fail. */
export class SimProcessor implements EnclaveProcessor {
  refuse: Refusal | null = null;
  readonly #writes = () => this.refuse === 'write';

  createMemory(size: number): SimMemory {
    if (this.refuse === 'memory') throw new SimOsError('no memory');
    return new SimMemory(size, this.#writes);
  }
  start(start: ProcessorStart): SimRunning {
    if (this.refuse === 'start') throw new SimOsError('no process');
    return new SimRunning(start);
  }
}
