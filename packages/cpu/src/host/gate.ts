import { type CallPool, viewOf } from '@nestedsgx/os';
import { CpuError } from '../errors.js';
import { EXIT_KIND, GATE, GATE_FUNCTION, GATE_FUNCTION_TF } from '../layout/gate.js';
import { SPIN_MAX_CYCLES } from '../layout/memory.js';
import { collectorOf } from './collector.js';
import { type GateLibrary, loadGateLibrary } from './library.js';

const MASK = 0xffff_ffff_ffff_ffffn;

/** Registers of an entry; what is left out is zero. RSP and RBP are the untrusted stack (URSP, URBP). */
export interface EntryRegisters {
  rdi?: number | bigint;
  rsi?: number | bigint;
  rdx?: number | bigint;
  r8?: number | bigint;
  r9?: number | bigint;
  rsp?: number | bigint;
  rbp?: number | bigint;
}

/** How an entry ended. Everything here comes from untrusted memory. */
export type ExitInfo =
  | { kind: 'EEXIT'; rdi: bigint; rsi: bigint; rdx: bigint; r8: bigint; r9: bigint; rbx: bigint }
  | { kind: 'AEX'; vector: number; errorCode: number; address: bigint }
  | { kind: 'ENTRY_FAILED'; vector: number; errorCode: number; address: bigint }
  | { kind: 'LOST' };

/** Options of {@link Gate}. */
export interface GateOptions {
  /** pidfd of the cvm: an entry ends with LOST when that process is gone. */
  peerPidfd?: number;
  /**
   * Longest time, in TSC cycles, that an entry spins for its answer while the runner is awake on another CPU
   * (default 4000). More pays only where enclaves take longer and a CPU can be spared.
   */
  spinCycles?: number;
}

function exitInfo(kind: number, words: (index: number) => bigint): ExitInfo {
  if (kind === EXIT_KIND.EEXIT)
    return {
      kind: 'EEXIT',
      rdi: words(0),
      rsi: words(1),
      rdx: words(2),
      r8: words(3),
      r9: words(4),
      rbx: words(5),
    };
  if (kind === EXIT_KIND.AEX || kind === EXIT_KIND.ENTRY_FAILED) {
    const what = words(0);
    return {
      kind: kind === EXIT_KIND.AEX ? 'AEX' : 'ENTRY_FAILED',
      vector: Number(what & 0xffffffffn),
      errorCode: Number(what >> 32n),
      address: words(1),
    };
  }
  return { kind: 'LOST' };
}

/**
 * The host's end of one TCS: EENTER and ERESUME through its gate page. The fast path is one foreign call with
 * numbers; results are read from a view of the response line.
 *
 * A gate serves one entry at a time; its page must stay mapped until {@link close}.
 */
export class Gate {
  readonly address: number;
  readonly #library: GateLibrary;
  readonly #enter: GateLibrary['enter'];
  #handle: number;
  #busy = false;
  #trapFlag = 0;
  readonly #request: DataView;
  readonly #response: BigUint64Array;
  readonly #responseWords: Uint32Array;
  readonly #registers = new BigUint64Array(7);

  /** @param address virtual address of the gate page in this process */
  constructor(address: number, options: GateOptions = {}) {
    this.address = address;
    this.#library = loadGateLibrary();
    this.#enter = this.#library.enter;
    const page = viewOf(address, GATE.size);
    this.#request = new DataView(page.buffer, page.byteOffset, GATE.size);
    this.#response = new BigUint64Array(page.buffer, page.byteOffset + GATE.at.responseRdi, 6);
    this.#responseWords = new Uint32Array(page.buffer, page.byteOffset + GATE.at.responseRdi, 12);
    this.#handle = this.#library.open(
      address,
      options.peerPidfd ?? -1,
      options.spinCycles ?? SPIN_MAX_CYCLES,
    );
    if (this.#handle === 0) throw new CpuError('GATE_CLOSED', 'No memory for a gate.');
  }

  /** Sets the registers that {@link enter} does not pass; they stay until set again. */
  setRegisters(registers: EntryRegisters): void {
    this.#check();
    for (const [name, value] of Object.entries(registers)) {
      const at = {
        rdx: GATE.at.requestRdx,
        r8: GATE.at.requestR8,
        r9: GATE.at.requestR9,
        rsp: GATE.at.requestRsp,
        rbp: GATE.at.requestRbp,
      }[name];
      if (at !== undefined) this.#request.setBigUint64(at, BigInt(value) & MASK, true);
    }
  }

  /**
   * The host's RFLAGS.TF for the entries that follow: with it a thread with debug opt-in leaves by #DB after one
   * instruction (before the first one of an EENTER). Others ignore it.
   */
  set singleStep(on: boolean) {
    this.#trapFlag = on ? GATE_FUNCTION_TF : 0;
  }

  /** EENTER with RDI and RSI. Blocks until the enclave is left; returns an EXIT_KIND. @throws CpuError GATE_BUSY */
  enter(rdi: number | bigint, rsi: number | bigint): number {
    if (this.#busy || this.#handle === 0) this.#check();
    return this.#enter(this.#handle, GATE_FUNCTION.EENTER | this.#trapFlag, rdi, rsi);
  }

  /** ERESUME of the last asynchronous exit. Returns an EXIT_KIND. @throws CpuError GATE_BUSY */
  resume(): number {
    if (this.#busy || this.#handle === 0) this.#check();
    return this.#enter(this.#handle, GATE_FUNCTION.ERESUME | this.#trapFlag, 0, 0);
  }

  /** RDI at EEXIT as a signed 32-bit number: the exit's command or OCALL index. */
  get exitRdi32(): number {
    return this.#responseWords[0]! | 0;
  }

  /** A register of the response as a number; exact below 2⁵³. 0 RDI, 1 RSI, 2 RDX, 3 R8, 4 R9, 5 RBX. */
  responseNumber(index: number): number {
    return this.#responseWords[index * 2]! + this.#responseWords[index * 2 + 1]! * 0x1_0000_0000;
  }

  /** All of the last exit. */
  exit(kind: number): ExitInfo {
    return exitInfo(kind, (index) => this.#response[index]!);
  }

  /**
   * EENTER (2) or ERESUME (3), leaving the event loop free; a thread of `pool` waits for the exit.
   *
   * @throws (rejects) CpuError GATE_BUSY; OsError of the pool
   */
  async enterAsync(pool: CallPool, fn: 2 | 3, registers: EntryRegisters = {}): Promise<ExitInfo> {
    this.#check();
    this.#busy = true;
    try {
      const { rdi = 0, rsi = 0, rdx = 0, r8 = 0, r9 = 0, rsp = 0, rbp = 0 } = registers;
      [rdi, rsi, rdx, r8, r9, rsp, rbp].forEach((value, i) => {
        this.#registers[i] = BigInt(value) & MASK;
      });
      const kind = await collectorOf(pool).enter(this.#handle, fn | this.#trapFlag, this.#registers);
      return this.exit(kind);
    } finally {
      this.#busy = false;
    }
  }

  /** Entries, sleeps of the host, and wakes of the runner's thread so far. */
  counters(): { calls: bigint; sleeps: bigint; wakes: bigint } {
    this.#check();
    const out = new BigUint64Array(3);
    this.#library.counters(this.#handle, out);
    return { calls: out[0]!, sleeps: out[1]!, wakes: out[2]! };
  }

  /** Gives the host's bookkeeping back. @throws CpuError GATE_BUSY while an entry is under way */
  close(): void {
    if (this.#handle === 0) return;
    this.#check();
    this.#library.close(this.#handle);
    this.#handle = 0;
  }

  #check(): void {
    if (this.#handle === 0) throw new CpuError('GATE_CLOSED', 'The gate was closed.');
    if (this.#busy)
      throw new CpuError('GATE_BUSY', 'This thread is inside the enclave already.', {
        advice: 'Use another TCS, or wait for the call under way.',
      });
  }
}

/** Opens `count` gates that lie one after another from `address`. */
export function openGates(address: number, count: number, options: GateOptions = {}): Gate[] {
  return Array.from({ length: count }, (_, i) => new Gate(address + i * GATE.size, options));
}
