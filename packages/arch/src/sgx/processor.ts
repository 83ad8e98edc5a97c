/**
 * The processor that executes enclaves, as the monitor drives it. Package cpu implements it natively and package monitor
 * uses it; neither may import the other. Offsets are bytes from BASEADDR, addresses guest-physical unless said.
 */

/** Private memory of one enclave; offset = linear address − BASEADDR. */
export interface EnclaveMemory {
  /** Bytes of the ELRANGE. */
  readonly size: number;
  /** A copy of `length` bytes at `offset`. */
  read(offset: number, length: number): Uint8Array;
  /** Writes bytes (runs of up to 1 MiB are expected). */
  write(offset: number, bytes: Uint8Array): void;
  /** Scrubs and unmaps the range everywhere. */
  discard(offset: number, length: number): void;
  /** Gives everything back. */
  close(): void;
}

/** A run of pages with one effective permission (RMP ∩ EPCM ∩ page table). */
export interface PageRange {
  offset: number;
  length: number;
  r: boolean;
  w: boolean;
  x: boolean;
}

/** What the processor must know of one TCS. `nssa` counts the usable SSA frames. */
export interface ThreadStart {
  tcsOffset: number;
  /** Offset of SSA frame 0. */
  ossa: number;
  nssa: number;
  oentry: number;
  ofsbase: number;
  ogsbase: number;
  debugOptIn: boolean;
}

/** Everything the processor needs to execute an enclave. */
export interface ProcessorStart {
  enclaveId: number;
  base: number;
  size: number;
  memory: EnclaveMemory;
  ranges: PageRange[];
  threads: ThreadStart[];
  ssaFrameBytes: number;
  xfrm: bigint;
  miscselect: number;
  debug: boolean;
  gates: { gpa: number; count: number };
}

/** An ENCLU leaf that an enclave thread asks the monitor to execute. Operands are the raw registers. */
export interface LeafRequest {
  thread: number;
  leaf: number;
  rbx: bigint;
  rcx: bigint;
  rdx: bigint;
}

/** The answer: RAX and flags, or a fault to be delivered to the thread. */
export interface LeafResult {
  rax: bigint;
  zf: boolean;
  cf: boolean;
  fault?: { vector: number; errorCode: number; address: bigint };
}

/** An enclave that is being executed. */
export interface RunningEnclave {
  readonly pid: number;
  threadState(thread: number): { state: number; cssa: number; entryEpoch: number; admitted: boolean };
  setAdmitted(thread: number, on: boolean): void;
  freeze(): void;
  unfreeze(): void;
  bumpEpoch(): number;
  /** True when a thread is not idle (with `beforeEpoch`: entered before that epoch). */
  anyInside(beforeEpoch?: number): boolean;
  map(range: PageRange): void;
  /** Takes pages away from the threads. `discarded`: the memory holds no contents for them any more. */
  unmap(offset: number, length: number, discarded?: boolean): void;
  kick(thread: number): void;
  pendingLeaves(): readonly LeafRequest[];
  answerLeaf(thread: number, result: LeafResult): void;
  /** Why the enclave cannot go on, or null. */
  readonly lost: string | null;
  stop(): void;
}

/** Executes enclaves. `start` returns when the enclave can be entered, or throws. */
export interface EnclaveProcessor {
  createMemory(size: number): EnclaveMemory;
  start(start: ProcessorStart): RunningEnclave;
}
