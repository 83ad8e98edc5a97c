/** Calls into an enclave with the protocol of Intel's SDK from C: what they cost without JavaScript. */
import { EXIT_KIND, loadGateLibrary } from '@nestedsgx/cpu/host';
import type { GuestBlock } from '@nestedsgx/guest';
import { cpuid, loadLibrary, type NativeFunction } from '@nestedsgx/os';
import {
  type BuiltEnclave,
  buildEnclave,
  COMMAND,
  type Cvm,
  cpuFlags,
  openImage,
  systemFeatures,
} from '@nestedsgx/sdk';
import { nativePart } from '../floor.js';

const EENTER = 2;
const STACK = 64 * 1024;
const OPERAND = 4096;
const SPIN_CYCLES = 48_000;
/** Offsets in the gate page (packages/cpu/src/layout/gate.ts). */
const REQUEST_RSP = 48;
const REQUEST_RBP = 56;
const RESPONSE_RDI = 72;
const RESPONSE_RSI = 80;

interface CallLibrary {
  time: NativeFunction;
  ocalls: NativeFunction;
}

let loaded: CallLibrary | undefined;

function callLibrary(): CallLibrary {
  if (loaded) return loaded;
  const library = loadLibrary(nativePart('libnsgx-floor.so'));
  const gate = 'uint64_t enter, uint64_t gate, uint64_t page, int64_t index, uint64_t operand';
  loaded = {
    time: library.func(`uint32_t nsgx_calls_time(${gate}, uint32_t count, void *cycles)`),
    ocalls: library.func(`uint32_t nsgx_calls_ocalls(${gate}, uint32_t count, void *cycles)`),
  };
  return loaded;
}

/** An enclave that is entered by its first thread only, by native code. Its OCALLs are answered with success, unseen. */
export class NativeCalls implements Disposable {
  readonly #built: BuiltEnclave;
  readonly #gate: number;
  readonly #memory: GuestBlock;
  readonly #free: () => void;

  private constructor(built: BuiltEnclave, gate: number, memory: GuestBlock, free: () => void) {
    this.#built = built;
    this.#gate = gate;
    this.#memory = memory;
    this.#free = free;
  }

  /** Loads a `.signed.so` and lets its runtime initialise. @throws what loading throws */
  static async load(cvm: Cvm, path: string): Promise<NativeCalls> {
    const { connection, device } = await cvm.guest();
    const built = buildEnclave(device, openImage(path), { debug: false, provision: false, maxThreads: 255 });
    const library = loadGateLibrary();
    const gate = library.open(built.gates.address, connection.cvmPidfd, SPIN_CYCLES);
    const memory = connection.memory.alloc(OPERAND + STACK, { alignment: 4096, zero: true });
    const calls = new NativeCalls(built, gate, memory, () => {
      library.close(gate);
      built.file.close();
      connection.memory.free(memory);
      connection.memory.free(built.gates);
    });
    const page = new DataView(built.gates.bytes.buffer, built.gates.bytes.byteOffset, 4096);
    const top = BigInt(memory.address + OPERAND + STACK - 256);
    page.setBigUint64(REQUEST_RSP, top, true);
    page.setBigUint64(REQUEST_RBP, top, true);
    memory.bytes.set(
      systemFeatures({
        flags: cpuFlags(),
        cpuid: (leaf) => cpuid(leaf, 0),
        edmm: false,
        aexNotify: built.aexNotify ?? false,
        processors: 2,
      }),
    );
    const kind = library.enter(gate, EENTER, COMMAND.INIT, memory.address);
    const status = page.getBigUint64(RESPONSE_RSI, true);
    if (kind === EXIT_KIND.EEXIT && page.getBigInt64(RESPONSE_RDI, true) === -1n && status === 0n)
      return calls;
    calls[Symbol.dispose]();
    throw new Error(`the runtime of ${path} did not initialise: exit ${kind}, status ${status}`);
  }

  /** Cycles of each of `count` calls of an ECALL without parameters. */
  ecalls(index: number, count: number): number[] {
    const cycles = new BigUint64Array(count);
    const done = callLibrary().time(...this.#entry(index, 0), count, cycles);
    if (done !== count) throw new Error(`call ${done} of ECALL ${index} failed`);
    return Array.from(cycles, Number);
  }

  /**
   * Cycles from one OCALL to the next of an ECALL that makes so many. `operand` is its structure.
   */
  ocalls(index: number, operand: Uint8Array, count: number): number[] {
    const cycles = new BigUint64Array(count);
    this.#memory.bytes.set(operand);
    const found = callLibrary().ocalls(...this.#entry(index, this.#memory.address), count, cycles);
    if (found === 0) throw new Error(`ECALL ${index} failed, or made no OCALLs`);
    return Array.from(cycles.subarray(0, found), Number);
  }

  #entry(index: number, operand: number): [number, number, number, number, number] {
    return [loadGateLibrary().enterAddress, this.#gate, this.#built.gates.address, index, operand];
  }

  [Symbol.dispose](): void {
    this.#free();
  }
}
