/** A machine and a processor in a few lines, for tests: guest RAM is an array, every enclave memory too. */
import type {
  CallAnswer,
  CallPort,
  EnclaveMemory,
  EnclaveProcessor,
  ExitPort,
  LeafRequest,
  LeafResult,
  MachinePort,
  PageRange,
  ProcessorCounters,
  ProcessorStart,
  RunningEnclave,
  ThreadStart,
  VcpuPort,
} from '../../src/index.js';

export const EPC_BASE = 0x80_0000_0000;

/** The error with which a machine refuses guest accesses. */
export class FakeFault extends Error {
  readonly code = 'NESTED_PAGE_FAULT';
}

/** A typed error of a lower layer, such as ENOMEM. */
export class FakeOsError extends Error {
  readonly code = 'ENOMEM';
}

export class FakeVcpu implements VcpuPort {
  readonly index: number;
  caaGpa: number;
  request: CallPort | null = null;
  answered: CallAnswer | null = null;
  completed = 0;
  constructor(index: number) {
    this.index = index;
    this.caaGpa = 0x1_0000 + index * 0x2000 + 0x1000;
  }
  pending(): boolean {
    return this.request !== null;
  }
  accept(): number {
    return ++this.completed;
  }
  complete(): void {
    this.request = null;
  }
}

export class FakeMachine implements MachinePort {
  readonly epcBase = EPC_BASE;
  readonly epcBytes: number;
  readonly ram: Uint8Array;
  /** Pages VMPL1 may not touch. */
  readonly denied = new Set<number>();
  /** Pages that the RMP lets nobody have mapped. */
  readonly unmappable = new Set<number>();
  readonly vmsas = new Set<number>();
  readonly list: FakeVcpu[] = [];
  validated = new Map<number, boolean>();

  constructor(frames: number, ramBytes = 0x40_0000) {
    this.epcBytes = frames * 4096;
    this.ram = new Uint8Array(ramBytes);
  }

  #check(gpa: number, length: number): void {
    if (!Number.isSafeInteger(gpa) || gpa < 0 || gpa + length > this.ram.length)
      throw new FakeFault('outside');
    for (let page = Math.floor(gpa / 4096); page * 4096 < gpa + length; page++)
      if (this.denied.has(page)) throw new FakeFault('denied');
  }

  readonly guest = {
    copyIn: (_vmpl: number, gpa: number, length: number): Uint8Array => {
      this.#check(gpa, length);
      return this.ram.slice(gpa, gpa + length);
    },
    copyInto: (_vmpl: number, gpa: number, into: Uint8Array): void => {
      this.#check(gpa, into.length);
      into.set(this.ram.subarray(gpa, gpa + into.length));
    },
    copyOut: (_vmpl: number, gpa: number, bytes: Uint8Array): void => {
      this.#check(gpa, bytes.length);
      this.ram.set(bytes, gpa);
    },
  };
  readonly memory = {
    ramBytes: 0,
    zero: (page: number, pages: number): void => {
      this.ram.fill(0, page * 4096, (page + pages) * 4096);
    },
  };
  readonly rmp = {
    check: (_vmpl: number, gpa: number, length: number): void => this.#check(gpa, length),
  };
  readonly vcpus = {
    get: (index: number): FakeVcpu | undefined => this.list[index],
    registerVmsa: (gpa: number): void => {
      if (this.vmsas.has(gpa)) throw new FakeOsError('a VMSA already');
      this.vmsas.add(gpa);
      this.denied.add(gpa / 4096);
    },
    unregisterVmsa: (gpa: number): boolean => this.vmsas.delete(gpa) && this.denied.delete(gpa / 4096),
    vmsa: (gpa: number): unknown => (this.vmsas.has(gpa) ? gpa : undefined),
  };
  vmgexit(vcpu: VcpuPort): ExitPort {
    return { kind: 'call', call: (vcpu as FakeVcpu).request! };
  }
  answer(vcpu: VcpuPort, answer: CallAnswer): void {
    (vcpu as FakeVcpu).answered = answer;
  }
  rmpadjust(_vmpl: number, gpa: number): number {
    this.denied.delete(gpa / 4096);
    return 0;
  }
  pvalidate(gpa: number, _size: number, validate: boolean): { code: number; carry: boolean } {
    const before = this.validated.get(gpa) ?? true;
    this.validated.set(gpa, validate);
    if (!validate) this.denied.add(gpa / 4096);
    return { code: 0, carry: before === validate };
  }
  effectiveMapping(gpa: number, epcm: { r: boolean; w: boolean; x: boolean }) {
    return this.unmappable.has(gpa / 4096) ? { r: false, w: false, x: false } : { ...epcm };
  }
  alikePages(gpa: number, count: number): number {
    const first = this.unmappable.has(gpa / 4096);
    for (let n = 1; n < count; n++) if (this.unmappable.has(gpa / 4096 + n) !== first) return n;
    return count;
  }
  deposit(gpa: number, length: number): void {
    this.#check(gpa, length);
    for (let at = gpa; at < gpa + length; at += 4096) {
      if (this.validated.get(at) === false) throw new FakeFault('not validated');
    }
    this.ram.fill(0, gpa, gpa + length);
    for (let at = gpa; at < gpa + length; at += 4096) this.denied.add(at / 4096);
  }
  withdraw(gpa: number, length: number): void {
    for (let at = gpa; at < gpa + length; at += 4096) this.denied.delete(at / 4096);
  }
}

/** Sparse memory by page; what was discarded reads as zero. */
export class FakeMemory implements EnclaveMemory {
  readonly size: number;
  readonly pages = new Map<number, Uint8Array>();
  closed = false;
  constructor(size: number) {
    this.size = size;
  }
  read(offset: number, length: number): Uint8Array {
    const out = new Uint8Array(length);
    for (let i = 0; i < length; i++)
      out[i] = this.pages.get(Math.floor((offset + i) / 4096))?.[(offset + i) % 4096] ?? 0;
    return out;
  }
  readInto(offset: number, into: Uint8Array): void {
    into.set(this.read(offset, into.length));
  }
  write(offset: number, bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; ) {
      const page = Math.floor((offset + i) / 4096);
      const at = (offset + i) % 4096;
      const n = Math.min(4096 - at, bytes.length - i);
      let to = this.pages.get(page);
      if (to === undefined) {
        to = new Uint8Array(4096);
        this.pages.set(page, to);
      }
      to.set(bytes.subarray(i, i + n), at);
      i += n;
    }
  }
  reserve(offset: number, length: number): void {
    this.write(offset, new Uint8Array(length));
  }
  discard(offset: number, length: number): void {
    for (const page of [...this.pages.keys()]) {
      if (page * 4096 >= offset && page * 4096 < offset + length) this.pages.delete(page);
    }
  }
  close(): void {
    this.closed = true;
    this.pages.clear();
  }
}

/** A thread of {@link FakeRunning}; tests put it inside and take it out. */
export interface FakeThread {
  inside: boolean;
  entryEpoch: number;
  cssa: number;
  start: ThreadStart | null;
}

export class FakeRunning implements RunningEnclave {
  readonly pid = 4711;
  readonly start: ProcessorStart;
  frozen = false;
  stopped = false;
  lost: string | null = null;
  admitted: boolean[] = [];
  unmapped: [number, number][] = [];
  kicks: number[] = [];
  leaves: LeafRequest[] = [];
  results: LeafResult[] = [];
  epoch = 0;
  readonly threads: FakeThread[] = [];
  /** What threads may do to a page, by offset: some of "rwx"; a page that is not mapped is absent. */
  readonly rights = new Map<number, string>();
  constructor(start: ProcessorStart) {
    this.start = start;
    for (let i = 0; i < start.gates.count; i++)
      this.threads.push({ inside: false, entryEpoch: 0, cssa: 0, start: start.threads[i] ?? null });
    for (const range of start.ranges) this.map(range);
  }
  /** True when any thread is inside; setting it moves thread 0. */
  get inside(): boolean {
    return this.anyInside();
  }
  set inside(on: boolean) {
    this.enter(0, on);
  }
  /** A thread enters (in the epoch of now) or leaves. */
  enter(thread: number, on = true): void {
    const its = this.threads[thread];
    its.inside = on;
    if (on) its.entryEpoch = this.epoch;
  }
  threadState(thread: number) {
    const { inside, cssa, entryEpoch } = this.threads[thread];
    return { state: inside ? 2 : 0, cssa, entryEpoch, admitted: this.admitted[thread] ?? false };
  }
  setAdmitted(thread: number, on: boolean): void {
    this.admitted[thread] = on;
  }
  setThread(thread: number, start: ThreadStart | null, cssa: number): void {
    Object.assign(this.threads[thread], { start, cssa });
  }
  freeze(): void {
    this.frozen = true;
  }
  unfreeze(): void {
    this.frozen = false;
  }
  bumpEpoch(): number {
    return ++this.epoch;
  }
  anyInside(beforeEpoch?: number): boolean {
    return this.threads.some((t) => t.inside && (beforeEpoch === undefined || t.entryEpoch < beforeEpoch));
  }
  map({ offset, length, r, w, x }: PageRange): void {
    const rights = `${r ? 'r' : ''}${w ? 'w' : ''}${x ? 'x' : ''}`;
    for (let at = offset; at < offset + length; at += 4096) this.rights.set(at, rights);
  }
  protect(range: PageRange): void {
    this.map(range);
  }
  renewed: PageRange[] = [];
  renew(range: PageRange): void {
    this.renewed.push(range);
  }
  writeProtect(offset: number, length: number, on: boolean): void {
    for (let at = offset; at < offset + length; at += 4096) {
      const rights = this.rights.get(at)?.replace('w', '');
      if (rights !== undefined) this.rights.set(at, on ? rights : rights.replace('r', 'rw'));
    }
  }
  unmap(offset: number, length: number): void {
    this.unmapped.push([offset, length]);
    for (let at = offset; at < offset + length; at += 4096) this.rights.delete(at);
  }
  kick(thread: number): void {
    this.kicks.push(thread);
  }
  pendingLeaves(): LeafRequest[] {
    return this.leaves.splice(0);
  }
  answerLeaf(_thread: number, result: LeafResult): void {
    this.results.push(result);
  }
  counters(): ProcessorCounters {
    return { eenter: 0, eresume: 0, eexit: 0, aex: new Array(33).fill(0) };
  }
  stop(): void {
    this.stopped = true;
  }
}

export class FakeProcessor implements EnclaveProcessor {
  readonly running: FakeRunning[] = [];
  readonly memories: FakeMemory[] = [];
  failStart = false;
  failMemory = false;
  createMemory(size: number): FakeMemory {
    if (this.failMemory) throw new FakeOsError('no memory');
    const memory = new FakeMemory(size);
    this.memories.push(memory);
    return memory;
  }
  start(start: ProcessorStart): FakeRunning {
    if (this.failStart) throw new FakeOsError('no process');
    const running = new FakeRunning(start);
    this.running.push(running);
    return running;
  }
}

/** Registers of a call as the GHCB would give them. */
export function callOf(protocol: number, call: number, rcx = 0n, rdx = 0n, r8 = 0n, r9 = 0n): CallPort {
  const values = { rcx, rdx, r8, r9 };
  return {
    protocol,
    call,
    rcx: Number(rcx),
    rdx: Number(rdx),
    r8: Number(r8),
    r9: Number(r9),
    big: (register) => values[register],
  };
}
