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
  /** As `read`, into all of the caller's buffer. */
  readInto(offset: number, into: Uint8Array): void;
  /** Writes bytes (runs of up to 1 MiB are expected). */
  write(offset: number, bytes: Uint8Array): void;
  /** Backs the range with zero pages now, so that later use cannot fail for want of memory. */
  reserve(offset: number, length: number): void;
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
  /** TCS.FLAGS.DBGOPTIN. */
  debugOptIn: boolean;
  /** TCS.FLAGS.AEXNOTIFY. */
  aexNotify: boolean;
}

/** What one enclave's threads did since it started; only the processor sees these events. */
export interface ProcessorCounters {
  eenter: number;
  eresume: number;
  eexit: number;
  /** Asynchronous exits by vector; index 32 counts interrupts. */
  aex: number[];
}

/** Everything the processor needs to execute an enclave. */
export interface ProcessorStart {
  enclaveId: number;
  base: number;
  size: number;
  memory: EnclaveMemory;
  ranges: PageRange[];
  /** TCS pages; index = thread = gate. Gates beyond these get spare threads for TCS that come later. */
  threads: ThreadStart[];
  ssaFrameBytes: number;
  xfrm: bigint;
  miscselect: number;
  debug: boolean;
  /** ATTRIBUTES.AEXNOTIFY. */
  aexNotify: boolean;
  gates: GateArea;
}

/** Gate pages of an enclave in guest RAM. */
export interface GateArea {
  gpa: number;
  count: number;
  /** Where the guest keeps room for trampolines beside the ELRANGE: R9 of BIND_GATES; 0 or nothing leaves it open. */
  beside?: number;
  /** The host may grant descriptors to the enclave: `takeGrants` of what runs. */
  descriptors?: boolean;
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
  /** Gives a thread its TCS, or (null) takes it away. The thread is idle and not admitted; `cssa` is TCS.CSSA. */
  setThread(thread: number, start: ThreadStart | null, cssa: number): void;
  /** Maps pages that the memory holds. When it returns, the threads have these permissions. */
  map(range: PageRange): void;
  /** Changes the permissions of mapped pages. When it returns, no thread has more. */
  protect(range: PageRange): void;
  /** Takes W away from mapped pages (`on`), or gives it back. */
  writeProtect(offset: number, length: number, on: boolean): void;
  /**
   * Brings mapped pages back that the processor has lost by itself: Linux takes pages out of a process's tables when it
   * reclaims memory, and a fault there is nothing that the enclave or its driver should ever see. Permissions stay.
   */
  renew(range: PageRange): void;
  /** Takes pages away from the threads. `discarded`: the memory holds no contents for them any more. */
  unmap(offset: number, length: number, discarded?: boolean): void;
  kick(thread: number): void;
  pendingLeaves(): readonly LeafRequest[];
  answerLeaf(thread: number, result: LeafResult): void;
  counters(): ProcessorCounters;
  /** The socket over which the host grants descriptors, the caller's from now on; null when there is none, or it was taken. */
  takeGrants?(): number | null;
  /** Why the enclave cannot go on, or null. */
  readonly lost: string | null;
  stop(): void;
}

/** Executes enclaves. `start` returns when the enclave can be entered, or throws. */
export interface EnclaveProcessor {
  createMemory(size: number): EnclaveMemory;
  start(start: ProcessorStart): RunningEnclave;
}
