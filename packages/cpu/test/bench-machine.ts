import type { PageRange, ThreadStart } from '@nestedsgx/arch';
import { close, futexWake, type Mapping, memfdCreate, mmap } from '@nestedsgx/os';
import { Gate } from '../src/host/index.js';
import {
  type MemfdEnclaveMemory,
  type NativeEnclave,
  NativeProcessor,
  type NativeProcessorOptions,
  readRunnerProgram,
  sealRunnerProgram,
} from '../src/monitor/index.js';

const PAGE = 4096;

/** Offsets in the ELRANGE of the enclaves that the tests make. */
export const AT = Object.freeze({ CODE: 0x1000, DATA: 0x10000, SSA: 0x20000, TCS: 0x80000, SIZE: 0x100000 });
export const RAM_BYTES = 16 << 20;
const GATES_GPA = 0x100000;
const DOORBELL_GPA = 0x1000;

/** What a test enclave shall look like. */
export interface EnclaveOptions {
  code: Uint8Array;
  threads?: number;
  nssa?: number;
  xfrm?: bigint;
  miscselect?: number;
  ranges?: PageRange[];
  base?: number;
  dataPages?: number;
  /** Bytes of the ELRANGE; default AT.SIZE. */
  size?: number;
  /** Gates with spare threads, beyond those of `threads`. */
  spareGates?: number;
  ofsbase?: number;
  /** Pages of one SSA frame. */
  framePages?: number;
  /** ATTRIBUTES.DEBUG, and TCS.FLAGS.DBGOPTIN of every thread. */
  debug?: boolean;
  optIn?: boolean;
  /** A page behind the gates, by which a guest takes mappings back. */
  revoke?: boolean;
  /** ATTRIBUTES.AEXNOTIFY, and TCS.FLAGS.AEXNOTIFY (the same unless given). */
  aexNotify?: boolean;
  tcsAexNotify?: boolean;
  /** Patience of the gates. */
  spinCycles?: number;
  /** The host may grant descriptors. */
  descriptors?: boolean;
}

/** Guest RAM, a doorbell and a processor in this process: both the monitor's and the host's side. */
export class BenchMachine {
  readonly base: number;
  readonly ramFd: number;
  readonly ram: Mapping;
  readonly runnerFd: number;
  readonly processor: NativeProcessor;
  #nextGate = GATES_GPA;

  constructor(options: Partial<NativeProcessorOptions> = {}, slot = 10 + (process.pid % 40)) {
    this.base = 0x1000_0000_0000 + slot * 2 ** 40;
    this.ramFd = memfdCreate('ram', { size: RAM_BYTES, seal: true });
    this.ram = mmap({
      fd: this.ramFd,
      length: RAM_BYTES,
      address: this.base,
      prot: 'rw',
      shared: true,
      noReplace: true,
    });
    this.runnerFd = sealRunnerProgram(readRunnerProgram());
    this.processor = new NativeProcessor({
      ramFd: this.ramFd,
      ramBase: this.base,
      ramBytes: RAM_BYTES,
      doorbell: this.base + DOORBELL_GPA,
      runnerFd: this.runnerFd,
      ...options,
    });
  }

  /** gPA of the first gate of the next enclave. */
  get nextGate(): number {
    return this.#nextGate;
  }

  /** Wakes whoever sleeps on a word of guest RAM. */
  wake(gpa: number): void {
    futexWake(this.base + gpa, 8);
  }

  start(options: EnclaveOptions): TestEnclave {
    const threads = options.threads ?? 1;
    const gpa = this.#nextGate;
    const gateCount = threads + (options.spareGates ?? 0);
    this.#nextGate += (gateCount + (options.revoke ? 1 : 0)) * PAGE;
    if (this.#nextGate > RAM_BYTES / 2) this.#nextGate = GATES_GPA;
    const nssa = options.nssa ?? 2;
    const base = options.base ?? this.base + 0x80_0000_0000;
    const size = options.size ?? AT.SIZE;
    const memory = this.processor.createMemory(size) as MemfdEnclaveMemory;
    const codeBytes = Math.ceil(options.code.byteLength / PAGE) * PAGE;
    const dataBytes = (options.dataPages ?? 4) * PAGE;
    const frameBytes = (options.framePages ?? 1) * PAGE;
    const ssaBytes = threads * nssa * frameBytes;
    const code = new Uint8Array(codeBytes);
    code.set(options.code);
    memory.write(AT.CODE, code);
    memory.write(AT.DATA, new Uint8Array(dataBytes));
    memory.write(AT.SSA, new Uint8Array(ssaBytes));
    const starts = Array.from({ length: threads }, (_, i) => ({
      tcsOffset: AT.TCS + i * PAGE,
      ossa: AT.SSA + i * nssa * frameBytes,
      nssa,
      oentry: AT.CODE,
      ofsbase: options.ofsbase ?? AT.DATA,
      ogsbase: AT.DATA + PAGE,
      debugOptIn: options.optIn ?? false,
      aexNotify: options.tcsAexNotify ?? options.aexNotify ?? false,
    }));
    const running = this.processor.start({
      enclaveId: 1,
      base,
      size,
      memory,
      ranges: options.ranges ?? [
        { offset: AT.CODE, length: codeBytes, r: true, w: false, x: true },
        { offset: AT.DATA, length: dataBytes, r: true, w: true, x: false },
        { offset: AT.SSA, length: ssaBytes, r: true, w: true, x: false },
      ],
      threads: starts,
      ssaFrameBytes: frameBytes,
      xfrm: options.xfrm ?? 0x7n,
      miscselect: options.miscselect ?? 0,
      debug: options.debug ?? false,
      aexNotify: options.aexNotify ?? false,
      gates: { gpa, count: gateCount, descriptors: options.descriptors },
    });
    for (let i = 0; i < threads; i++) running.setAdmitted(i, true);
    const gates = Array.from(
      { length: gateCount },
      (_, i) => new Gate(this.base + gpa + i * PAGE, { spinCycles: options.spinCycles }),
    );
    return new TestEnclave(base, memory, running, gates, starts);
  }

  close(): void {
    this.processor.close();
    this.ram.unmap();
    close(this.ramFd);
    close(this.runnerFd);
  }
}

/** A started enclave with the host's gates. */
export class TestEnclave {
  constructor(
    readonly base: number,
    readonly memory: MemfdEnclaveMemory,
    readonly running: NativeEnclave,
    readonly gates: Gate[],
    private readonly starts: ThreadStart[],
  ) {}

  /** Thread 0 has no frame in use any more, as if its TCS had come anew. */
  forgetExits(): void {
    this.running.setAdmitted(0, false);
    this.running.setThread(0, this.starts[0]!, 0);
    this.running.setAdmitted(0, true);
  }

  get gate(): Gate {
    return this.gates[0]!;
  }

  /** SSA frame `frame` of thread 0 as it lies in the enclave's memory. */
  ssa(frame = 0): DataView {
    const bytes = this.memory.read(AT.SSA + frame * PAGE, PAGE);
    return new DataView(bytes.buffer, bytes.byteOffset, PAGE);
  }

  close(): void {
    this.running.stop();
    for (const gate of this.gates) gate.close();
    this.memory.close();
  }
}
