import type {
  LeafRequest,
  LeafResult,
  PageRange,
  ProcessorCounters,
  RunningEnclave,
  ThreadStart,
} from '@nestedsgx/arch';
import { close, futexWake, type Mapping, uffdContinue, uffdWriteProtect, viewOf } from '@nestedsgx/os';
import { CpuError } from '../errors.js';
import { ANSWER, CONTROL, CONTROL_TCS, LOST_REASON, TCS_FLAG, TCS_STATE } from '../layout/control.js';
import { EXIT_KIND, GATE, PROGRESS } from '../layout/gate.js';
import { writeFields } from '../layout/writer.js';
import type { MemfdEnclaveMemory } from './enclave-memory.js';
import type { RunnerProcess } from './runner-process.js';

const ALL = 0x7fff_ffff;
const NO_LEAVES: readonly LeafRequest[] = Object.freeze([]);
const PAGE = 4096;
const EMPTY_PAGE = new Uint8Array(PAGE);
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
  threads: number;
  /** Offset → offset in the overlay file, for pages whose mapping is a patched copy. */
  overlayPages: ReadonlyMap<number, number>;
}

/** An enclave in a runner, as the monitor steers it. What it reads of the runner holds for this enclave only. */
export class NativeEnclave implements RunningEnclave {
  readonly pid: number;
  /** For an event pump; the enclave is lost when it fires. */
  readonly pidfd: number;
  /** False when the kernel refused a userfaultfd: mappings then hold for honest enclaves only. */
  readonly userfault: boolean;
  readonly patchedSites: number;
  #lost: string | null = null;
  #stopped = false;
  readonly #runner: RunnerProcess;
  readonly #control: Mapping;
  #words: Int32Array;
  #quads: BigUint64Array;
  readonly #memory: MemfdEnclaveMemory;
  readonly #place: EnclavePlace;
  readonly #uffd: number | null;
  readonly #answered: Int32Array;
  #seenRing = 0;
  readonly #punchOverlay: (offset: number) => void;
  readonly #onEnd: (enclave: NativeEnclave) => void;
  readonly #watched: boolean;

  constructor(parts: {
    runner: RunnerProcess;
    control: Mapping;
    memory: MemfdEnclaveMemory;
    place: EnclavePlace;
    uffd: number | null;
    patchedSites: number;
    punchOverlay: (offset: number) => void;
    onEnd: (enclave: NativeEnclave) => void;
    /** Whether the pidfd is watched, so that nobody needs to look at the process. */
    watched: boolean;
  }) {
    this.#runner = parts.runner;
    this.pid = parts.runner.pid;
    this.pidfd = parts.runner.pidfd;
    this.#control = parts.control;
    const { buffer, byteOffset, byteLength } = parts.control.bytes;
    this.#words = new Int32Array(buffer, byteOffset, byteLength / 4);
    this.#quads = new BigUint64Array(buffer, byteOffset, byteLength / 8);
    this.#memory = parts.memory;
    this.#place = parts.place;
    this.#uffd = parts.uffd;
    this.userfault = parts.uffd !== null;
    this.patchedSites = parts.patchedSites;
    this.#answered = new Int32Array(parts.place.threads);
    this.#punchOverlay = parts.punchOverlay;
    this.#onEnd = parts.onEnd;
    this.#watched = parts.watched;
  }

  #tcs(thread: number): number {
    if (!Number.isInteger(thread) || thread < 0 || thread >= this.#place.threads)
      throw new CpuError(
        'PROCESSOR_ARGUMENT',
        `There is no thread ${thread}; there are ${this.#place.threads}.`,
      );
    return CONTROL.size + thread * CONTROL_TCS.size;
  }

  #load(offset: number): number {
    return Atomics.load(this.#words, word(offset)) >>> 0;
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
    Atomics.store(this.#words, word(this.#tcs(thread) + CONTROL_TCS.at.admitted), on ? 1 : 0);
  }

  setThread(thread: number, start: ThreadStart | null, cssa: number): void {
    const at = this.#tcs(thread);
    const linear = (offset: number) => BigInt(this.#place.base) + BigInt(offset);
    const values =
      start === null
        ? { tcs: 0n, ssa: 0n, entry: 0n, fsBase: 0n, gsBase: 0n, nssa: 0, startCssa: 0, tcsFlags: 0 }
        : {
            tcs: linear(start.tcsOffset),
            ssa: linear(start.ossa),
            entry: linear(start.oentry),
            fsBase: linear(start.ofsbase),
            gsBase: linear(start.ogsbase),
            nssa: start.nssa,
            startCssa: cssa,
            tcsFlags: (start.debugOptIn ? TCS_FLAG.DBGOPTIN : 0) | (start.aexNotify ? TCS_FLAG.AEXNOTIFY : 0),
          };
    writeFields(CONTROL_TCS, values, new Uint8Array(this.#words.buffer, this.#words.byteOffset), at);
    Atomics.add(this.#words, word(at + CONTROL_TCS.at.generation), 1);
  }

  counters(): ProcessorCounters {
    const sum = { eenter: 0, eresume: 0, eexit: 0, aex: new Array<number>(33).fill(0) };
    for (let i = 0; i < this.#place.threads; i++) {
      const at = this.#tcs(i);
      const count = (offset: number) => Number(this.#quads[(at + offset) >> 3]);
      sum.eenter += count(CONTROL_TCS.at.eenter);
      sum.eresume += count(CONTROL_TCS.at.eresume);
      sum.eexit += count(CONTROL_TCS.at.eexit);
      for (let v = 0; v < sum.aex.length; v++) sum.aex[v]! += count(CONTROL_TCS.at.aex + v * 8);
    }
    return sum;
  }

  freeze(): void {
    Atomics.store(this.#words, word(CONTROL.at.freeze), 1);
  }

  unfreeze(): void {
    Atomics.store(this.#words, word(CONTROL.at.freeze), 0);
    if (!this.#stopped) futexWake(this.#control.address + CONTROL.at.freeze, ALL);
  }

  bumpEpoch(): number {
    return (Atomics.add(this.#words, word(CONTROL.at.epoch), 1) + 1) >>> 0;
  }

  anyInside(beforeEpoch?: number): boolean {
    if (this.#lost !== null || this.#stopped) return false;
    for (let i = 0; i < this.#place.threads; i++) {
      const { state, entryEpoch } = this.threadState(i);
      if (state !== TCS_STATE.IDLE && (beforeEpoch === undefined || (entryEpoch - beforeEpoch) >> 31))
        return true;
    }
    return false;
  }

  /**
   * Maps pages that the enclave's memory holds, readable and, if `w`, writable.
   *
   * @throws CpuError MAPPING_UNSUPPORTED for X, which is fixed at start, and where there is no userfaultfd
   */
  map(range: PageRange): void {
    const uffd = this.#faults('mapped');
    if (range.x)
      throw new CpuError('MAPPING_UNSUPPORTED', 'Execute permission cannot be given to a running enclave.', {
        advice: 'Add executable pages before EINIT.',
      });
    uffdContinue(uffd, this.#place.base + range.offset, range.length, { writeProtect: !range.w });
  }

  /**
   * Takes pages out of the runner's reach; their contents stay in the enclave's memory. `discarded`: there are none,
   * since discarding memory removes it from every address space; only patched copies are left to take away.
   */
  unmap(offset: number, length: number, discarded = false): void {
    this.#faults('unmapped');
    if (discarded && this.#place.overlayPages.size === 0) return;
    for (let at = offset; at < offset + length; at += PAGE) {
      const patched = this.#place.overlayPages.get(at);
      if (patched !== undefined) this.#punchOverlay(patched);
      if (discarded) continue;
      // Punching the page is what removes it from every address space; writing it back does not map it again.
      const contents = this.#memory.read(at, PAGE);
      this.#memory.discard(at, PAGE);
      if (Buffer.compare(contents, EMPTY_PAGE) !== 0) this.#memory.write(at, contents);
    }
  }

  /**
   * Changes the permissions of mapped pages that keep their X.
   *
   * @throws CpuError MAPPING_UNSUPPORTED for X, and where there is no userfaultfd
   */
  protect(range: PageRange): void {
    if (!range.r) this.unmap(range.offset, range.length);
    else this.map(range);
  }

  /** Takes W away from mapped pages, or gives it back. */
  writeProtect(offset: number, length: number, on: boolean): void {
    uffdWriteProtect(this.#faults('write-protected'), this.#place.base + offset, length, on);
  }

  #faults(what: string): number {
    if (this.#uffd === null)
      throw new CpuError(
        'MAPPING_UNSUPPORTED',
        `Without userfaultfd a running enclave’s pages cannot be ${what}.`,
        {
          advice: 'Allow userfaultfd in the container’s seccomp profile.',
        },
      );
    if (this.#stopped) throw new CpuError('ENCLAVE_STOPPED', 'The enclave was stopped.');
    return this.#uffd;
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
    for (let thread = 0; thread < this.#place.threads; thread++) {
      const at = CONTROL.size + thread * CONTROL_TCS.size;
      const seq = Atomics.load(this.#words, word(at + CONTROL_TCS.at.leafSeq));
      if (seq === this.#answered[thread]) continue;
      pending.push({
        thread,
        leaf: this.#load(at + CONTROL_TCS.at.leaf),
        rbx: this.#quads[(at + CONTROL_TCS.at.leafRbx) >> 3]!,
        rcx: this.#quads[(at + CONTROL_TCS.at.leafRcx) >> 3]!,
        rdx: this.#quads[(at + CONTROL_TCS.at.leafRdx) >> 3]!,
      });
    }
    return pending;
  }

  answerLeaf(thread: number, result: LeafResult): void {
    const at = this.#tcs(thread);
    const seq = Atomics.load(this.#words, word(at + CONTROL_TCS.at.leafSeq));
    if (seq === this.#answered[thread] || this.#stopped) return;
    const { fault } = result;
    this.#quads[(at + CONTROL_TCS.at.answerRax) >> 3] = BigInt.asUintN(64, result.rax);
    this.#quads[(at + CONTROL_TCS.at.answerAddress) >> 3] = BigInt.asUintN(64, fault?.address ?? 0n);
    this.#words[word(at + CONTROL_TCS.at.answerVector)] = fault?.vector ?? 0;
    this.#words[word(at + CONTROL_TCS.at.answerErrorCode)] = fault?.errorCode ?? 0;
    this.#words[word(at + CONTROL_TCS.at.answerFlags)] =
      (result.zf ? ANSWER.ZF : 0) | (result.cf ? ANSWER.CF : 0) | (fault ? ANSWER.FAULT : 0);
    this.#answered[thread] = seq;
    Atomics.store(this.#words, word(at + CONTROL_TCS.at.answerSeq), seq);
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
    for (let i = 0; i < this.#place.threads; i++) {
      const address = this.#place.gates + i * GATE.size;
      const page = viewOf(address, GATE.size);
      const words = new Int32Array(page.buffer, page.byteOffset, GATE.size / 4);
      words[word(GATE.at.responseKind)] = EXIT_KIND.LOST;
      Atomics.store(words, word(GATE.at.progressState), PROGRESS.LOST);
      futexWake(address + GATE.at.responseSeq, ALL);
    }
  }

  /** Ends the runner and gives back what belongs to it; the enclave's memory is its owner's to close. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#runner.kill();
    if (this.#lost === null) {
      this.#lost = LOST_TEXT[LOST_REASON.STOPPED]!;
      this.#closeGates();
    }
    if (this.#uffd !== null) close(this.#uffd);
    // The control memory goes; its last state stays readable.
    const last = this.#control.bytes.slice();
    this.#words = new Int32Array(last.buffer);
    this.#quads = new BigUint64Array(last.buffer);
    this.#onEnd(this);
  }
}
