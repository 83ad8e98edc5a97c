import type {
  LeafRequest,
  LeafResult,
  PageRange,
  ProcessorCounters,
  RunningEnclave,
  ThreadStart,
} from '@nestedsgx/arch';
import { close, futexWake, viewOf } from '@nestedsgx/os';
import { CpuError } from '../errors.js';
import { ANSWER, CONTROL, CONTROL_TCS, LOST_REASON, TCS_STATE } from '../layout/control.js';
import { EXIT_KIND, GATE, PROGRESS } from '../layout/gate.js';
import type { ControlMemory } from './control-memory.js';
import type { MemfdEnclaveMemory } from './enclave-memory.js';
import { Patience } from './patience.js';
import type { Protections } from './protections.js';
import { RunnerMappings } from './runner-mappings.js';
import type { RunnerProcess } from './runner-process.js';

const ALL = 0x7fff_ffff;
const NO_LEAVES: readonly LeafRequest[] = Object.freeze([]);
const word = (offset: number) => offset >> 2;

const LOST_TEXT: Readonly<Record<number, string>> = Object.freeze({
  [LOST_REASON.SSA_WRITE]: 'an SSA frame could not be written',
  [LOST_REASON.STUB_FAULT]: 'the runner’s own code faulted',
  [LOST_REASON.PEER_GONE]: 'the runner lost its monitor',
  [LOST_REASON.STOPPED]: 'the enclave was stopped',
});

/** Which parts of the address space belong to this enclave. */
export interface EnclavePlace {
  base: number;
  /** Virtual address of the first gate page. */
  gates: number;
  /** Threads with a TCS at start; the others are spare. */
  threads: number;
  /** Virtual address of the word by which a guest with a kernel of its own is interrupted. */
  wakeWord?: number;
}

/** An enclave in a runner, as the monitor steers it. What it reads of the runner holds for this enclave only. */
export class NativeEnclave implements RunningEnclave {
  readonly pid: number;
  /** For an event pump; the enclave is lost when it fires. */
  readonly pidfd: number;
  /** False when the kernel refused a userfaultfd: mappings then hold for honest enclaves only. */
  readonly userfault: boolean;
  #lost: string | null = null;
  #stopped = false;
  readonly #runner: RunnerProcess;
  readonly #control: ControlMemory;
  readonly #memory: MemfdEnclaveMemory;
  readonly #place: EnclavePlace;
  readonly #mappings: RunnerMappings;
  readonly #patience = new Patience(performance.now());
  readonly #answered: Int32Array;
  /** Threads beyond have never had a TCS: none of them can be inside or ask for anything. */
  #used: number;
  #seenRing = 0;
  #grants: number | null;
  readonly #onEnd: (enclave: NativeEnclave) => void;
  readonly #watched: boolean;

  constructor(parts: {
    runner: RunnerProcess;
    control: ControlMemory;
    memory: MemfdEnclaveMemory;
    place: EnclavePlace;
    uffd: number | null;
    /** The host's end of the socket over which it grants descriptors. */
    grants: number | null;
    protections: Protections;
    onEnd: (enclave: NativeEnclave) => void;
    /** Whether the pidfd is watched, so that nobody needs to look at the process. */
    watched: boolean;
  }) {
    this.#runner = parts.runner;
    this.pid = parts.runner.pid;
    this.pidfd = parts.runner.pidfd;
    this.#control = parts.control;
    this.#memory = parts.memory;
    this.#place = parts.place;
    this.userfault = parts.uffd !== null;
    this.#answered = new Int32Array(parts.control.threads);
    this.#used = parts.place.threads;
    this.#onEnd = parts.onEnd;
    this.#watched = parts.watched;
    this.#grants = parts.grants;
    this.#mappings = new RunnerMappings({
      base: parts.place.base,
      memory: parts.memory,
      uffd: parts.uffd,
      protections: parts.protections,
      order: (address, length, prot) => this.#protect(address, length, prot),
    });
  }

  takeGrants(): number | null {
    const fd = this.#grants;
    this.#grants = null;
    return fd;
  }

  /** ENCLU sites that are patched now. */
  get patchedSites(): number {
    return this.#memory.patches?.count ?? 0;
  }

  /** Mappings that the ELRANGE consists of. */
  get mappings(): number {
    return this.#mappings.count;
  }

  #tcs(thread: number): number {
    if (!Number.isInteger(thread) || thread < 0 || thread >= this.#control.threads)
      throw new CpuError(
        'PROCESSOR_ARGUMENT',
        `There is no thread ${thread}; there are ${this.#control.threads}.`,
      );
    return this.#control.tcs(thread);
  }

  #load(offset: number): number {
    return this.#control.load(offset);
  }

  threadState(thread: number) {
    const at = this.#tcs(thread);
    return {
      state: this.#load(at + CONTROL_TCS.at.state),
      cssa: this.#load(at + CONTROL_TCS.at.cssa),
      entryEpoch: this.#load(at + CONTROL_TCS.at.entryEpoch),
      admitted: this.#load(at + CONTROL_TCS.at.admitted) !== 0,
    };
  }

  setAdmitted(thread: number, on: boolean): void {
    this.#control.store(this.#tcs(thread) + CONTROL_TCS.at.admitted, on ? 1 : 0);
    if (on) this.#used = Math.max(this.#used, thread + 1);
  }

  setThread(thread: number, start: ThreadStart | null, cssa: number): void {
    this.#tcs(thread);
    this.#used = Math.max(this.#used, thread + 1);
    this.#control.setThread(thread, this.#place.base, start, cssa);
  }

  counters(): ProcessorCounters {
    const sum = { eenter: 0, eresume: 0, eexit: 0, aex: new Array<number>(33).fill(0) };
    for (let i = 0; i < this.#used; i++) {
      const at = this.#control.tcs(i);
      const count = (offset: number) => Number(this.#control.loadQuad(at + offset));
      sum.eenter += count(CONTROL_TCS.at.eenter);
      sum.eresume += count(CONTROL_TCS.at.eresume);
      sum.eexit += count(CONTROL_TCS.at.eexit);
      for (let v = 0; v < sum.aex.length; v++) sum.aex[v]! += count(CONTROL_TCS.at.aex + v * 8);
    }
    return sum;
  }

  freeze(): void {
    this.#control.store(CONTROL.at.freeze, 1);
  }

  unfreeze(): void {
    this.#control.store(CONTROL.at.freeze, 0);
    if (!this.#stopped) futexWake(this.#control.address + CONTROL.at.freeze, ALL);
  }

  bumpEpoch(): number {
    return this.#control.add(CONTROL.at.epoch, 1);
  }

  anyInside(beforeEpoch?: number): boolean {
    if (this.#lost !== null || this.#stopped) return false;
    for (let i = 0; i < this.#used; i++) {
      const at = this.#control.tcs(i);
      if (this.#load(at + CONTROL_TCS.at.state) === TCS_STATE.IDLE) continue;
      if (beforeEpoch === undefined) return true;
      if ((this.#load(at + CONTROL_TCS.at.entryEpoch) - beforeEpoch) >> 31) return true;
    }
    return false;
  }

  /**
   * Maps pages that the enclave's memory holds (a hole is a page of zeros). Executable pages that cannot be written are
   * searched for ENCLU sites and patched first.
   *
   * @throws CpuError PROCESSOR_LIMIT (mappings), ENCLAVE_STOPPED (also when the enclave was lost over it); OsError
   */
  map(range: PageRange): void {
    this.#alive();
    this.#mappings.map(range);
  }

  /**
   * Takes pages out of the threads' reach. Their contents stay in the enclave's memory, no write is lost. `discarded`:
   * there are none any more; discarding memory has removed it from every address space already.
   *
   * @throws CpuError ENCLAVE_STOPPED; OsError
   */
  unmap(offset: number, length: number, discarded = false): void {
    this.#alive();
    this.#mappings.unmap(offset, length, discarded);
  }

  /**
   * Changes the permissions of mapped pages. When it returns no thread has more.
   *
   * @throws CpuError PROCESSOR_LIMIT (mappings), ENCLAVE_STOPPED (also when the enclave was lost over it); OsError
   */
  protect(range: PageRange): void {
    this.#alive();
    this.#mappings.protect(range);
  }

  /** Takes W away from mapped pages, or gives it back to pages that had it. @throws CpuError ENCLAVE_STOPPED; OsError */
  writeProtect(offset: number, length: number, on: boolean): void {
    this.#alive();
    this.#mappings.writeProtect(offset, length, on);
  }

  /** Brings mapped pages back that the kernel took out of the runner's tables. @throws CpuError ENCLAVE_STOPPED; OsError */
  renew(range: PageRange): void {
    this.#alive();
    this.#mappings.renew(range);
  }

  #alive(): void {
    if (this.#stopped) throw new CpuError('ENCLAVE_STOPPED', 'The enclave was stopped.');
  }

  /** Has the runner's agent change a protection. Returns its errno, or 0. */
  #protect(address: number, length: number, prot: number): number {
    const began = performance.now();
    const errno = this.#runner.protect(this.#control, address, length, prot);
    const patient = this.#patience.spend(began, performance.now());
    if (errno !== null && patient) return errno;
    this.markLost('the runner did not change its mappings in time');
    throw new CpuError(
      'ENCLAVE_STOPPED',
      'The enclave was lost: the runner did not change its mappings in time.',
    );
  }

  kick(thread: number): void {
    this.#tcs(thread);
    this.#runner.kick(thread);
  }

  /** Counter that the runner increments with every leaf request. */
  get ring(): number {
    return this.#load(CONTROL.at.ring);
  }

  pendingLeaves(): readonly LeafRequest[] {
    if (this.#stopped) return NO_LEAVES;
    // A thread publishes its request before it rings, so an unchanged ring means that there is nothing new.
    const { ring } = this;
    if (ring === this.#seenRing) return NO_LEAVES;
    this.#seenRing = ring;
    const pending: LeafRequest[] = [];
    for (let thread = 0; thread < this.#used; thread++) {
      const at = this.#control.tcs(thread);
      const seq = this.#load(at + CONTROL_TCS.at.leafSeq) | 0;
      if (seq === this.#answered[thread]) continue;
      pending.push({
        thread,
        leaf: this.#load(at + CONTROL_TCS.at.leaf),
        rbx: this.#control.loadQuad(at + CONTROL_TCS.at.leafRbx),
        rcx: this.#control.loadQuad(at + CONTROL_TCS.at.leafRcx),
        rdx: this.#control.loadQuad(at + CONTROL_TCS.at.leafRdx),
      });
    }
    return pending;
  }

  answerLeaf(thread: number, result: LeafResult): void {
    const at = this.#tcs(thread);
    const seq = this.#load(at + CONTROL_TCS.at.leafSeq) | 0;
    if (seq === this.#answered[thread] || this.#stopped) return;
    const { fault } = result;
    const control = this.#control;
    control.storeQuad(at + CONTROL_TCS.at.answerRax, result.rax);
    control.storeQuad(at + CONTROL_TCS.at.answerAddress, fault?.address ?? 0n);
    control.store(at + CONTROL_TCS.at.answerVector, fault?.vector ?? 0);
    control.store(at + CONTROL_TCS.at.answerErrorCode, fault?.errorCode ?? 0);
    control.store(
      at + CONTROL_TCS.at.answerFlags,
      (result.zf ? ANSWER.ZF : 0) | (result.cf ? ANSWER.CF : 0) | (fault ? ANSWER.FAULT : 0),
    );
    this.#answered[thread] = seq;
    control.store(at + CONTROL_TCS.at.answerSeq, seq);
    futexWake(this.#control.address + at + CONTROL_TCS.at.answerSeq, 1);
  }

  /**
   * Why the enclave cannot go on, or null. Unless somebody watches the pidfd and calls {@link markLost}, this looks at
   * the process.
   */
  get lost(): string | null {
    if (!this.#watched && this.#lost === null && !this.#stopped && this.#runner.exited()) this.markLost();
    return this.#lost;
  }

  /** As {@link lost}, and notices a runner that is stopped as well. */
  check(): string | null {
    if (this.lost === null && this.#runner.stopped()) this.markLost('the runner was stopped by a signal');
    return this.#lost;
  }

  /** Declares the enclave lost, for instance when the runner's pidfd fires: hosts waiting at its gates wake. */
  markLost(why?: string): void {
    if (this.#lost !== null) return;
    const reason = this.#load(CONTROL.at.lostReason);
    this.#lost = why ?? LOST_TEXT[reason] ?? 'the runner ended';
    this.#closeGates();
    this.stop();
  }

  #closeGates(): void {
    for (let i = 0; i < this.#control.threads; i++) {
      const address = this.#place.gates + i * GATE.size;
      const page = viewOf(address, GATE.size);
      const words = new Int32Array(page.buffer, page.byteOffset, GATE.size / 4);
      words[word(GATE.at.responseKind)] = EXIT_KIND.LOST;
      Atomics.store(words, word(GATE.at.progressState), PROGRESS.LOST);
      futexWake(address + GATE.at.responseSeq, ALL);
    }
    const { wakeWord } = this.#place;
    if (wakeWord === undefined) return;
    const view = viewOf(wakeWord, 4);
    Atomics.add(new Int32Array(view.buffer, view.byteOffset, 1), 0, 1);
    futexWake(wakeWord, ALL);
  }

  /** Ends the runner and gives back what belongs to it; the enclave's memory is its owner's to close. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#runner.kill();
    const grants = this.takeGrants();
    if (grants !== null) close(grants);
    if (this.#lost === null) {
      this.#lost = LOST_TEXT[LOST_REASON.STOPPED]!;
      this.#closeGates();
    }
    this.#mappings.close();
    // The control memory goes; its last state stays readable.
    this.#control.detach();
    this.#onEnd(this);
  }
}
