/** Threads of one probe enclave that run scripts at the same time, entered asynchronously. */
import { secinfoBytes } from '@nestedsgx/arch';
import { Gate } from '@nestedsgx/cpu/host';
import {
  encls,
  type GuestBlock,
  type LeafOutcome,
  SGX_PAGE_MEASURE,
  type SgxDevice,
  type SgxEnclaveFile,
} from '@nestedsgx/guest';
import type { SigningKey } from '@nestedsgx/image/node';
import { CallPool } from '@nestedsgx/os';
import { AT, type ProbeOptions, probePages, probeSecs, probeSigstruct, threadAt } from '../probe/image.js';
import { OP, type Registers } from '../probe/probe.js';

const PAGE = 4096;
const COMMAND = 128;
const STACK = 16 * 1024;
const EENTER = 2;
const ERESUME = 3;
const PAGE_FAULT = 14;
const INTERRUPT = 32;
const GPRSGX_SIZE = 184;

/** One command of a script. */
export interface Command extends Registers {
  readonly op: number;
}

/** What a command gave: `status` 1 done, 2 an exception that was skipped, 0 not reached. */
export interface CommandResult {
  readonly status: number;
  readonly rax: number;
  readonly vector: number;
}

/** Places of one thread in guest RAM: first the entry's own command, then recovery, then the script. */
interface Seat {
  readonly gate: Gate;
  readonly address: number;
  readonly view: DataView;
}

/** Largest script. */
export const SCRIPT_MAX = 62;

/** A crew of threads in one enclave. */
export class Crew {
  readonly device: SgxDevice;
  readonly file: SgxEnclaveFile;
  readonly #pool = new CallPool(1);
  readonly #blocks: GuestBlock[] = [];
  readonly #seats: Seat[] = [];
  #closed = false;

  constructor(device: SgxDevice, key: SigningKey, options: ProbeOptions, slots: number) {
    this.device = device;
    this.file = device.open();
    const base = this.file.reserve(AT.SIZE);
    const pages = probePages(options);
    this.file.create(probeSecs(base, options));
    for (const { offset, data, flags, measured } of pages)
      this.file.addPages({
        src: data,
        offset,
        length: data.length,
        secinfo: secinfoBytes(flags),
        flags: measured ? SGX_PAGE_MEASURE : 0,
      });
    const gates = this.#block(slots * PAGE);
    const stacks = this.#block(slots * STACK);
    const commands = this.#block(slots * 2 * PAGE);
    this.file.bindGates(gates, slots);
    this.file.init(probeSigstruct(pages, options, key));
    for (let i = 0; i < slots; i++) {
      const gate = new Gate(gates.address + i * PAGE, { peerPidfd: device.connection.cvmPidfd });
      const top = stacks.address + (i + 1) * STACK - 64;
      gate.setRegisters({ rsp: top, rbp: top });
      const at = i * 2 * PAGE;
      const bytes = commands.bytes.subarray(at, at + 2 * PAGE);
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      this.#seats.push({ gate, address: commands.address + at, view });
    }
  }

  #block(bytes: number): GuestBlock {
    const block = this.device.connection.memory.alloc(bytes, { alignment: PAGE, zero: true });
    this.#blocks.push(block);
    return block;
  }

  /** Linear address of an offset. */
  at(offset: number): number {
    return this.file.base + offset;
  }

  /** Executes an ENCLS leaf on operands as the kernel would pass them. */
  encls(leaf: number, rbx = 0, rcx = 0, rdx = 0): LeafOutcome {
    return encls(this.device.connection.vcpu, leaf, `leaf ${leaf}`, rbx, rcx, rdx);
  }

  /** A word of guest RAM that belongs to thread `i`: its address, and its value. */
  word(i: number): { address: number; get(): number; set(value: number): void } {
    const { address, view } = this.#seats[i];
    const at = 2 * COMMAND - 8;
    return {
      address: address + at,
      get: () => Number(view.getBigUint64(at, true)),
      set: (value) => view.setBigUint64(at, BigInt(value), true),
    };
  }

  /**
   * Has thread `i` run a script; resolves when it is through. Page faults go to the driver; other exceptions skip the
   * command that raised them.
   * @throws what the driver's fault handler throws; an Error when the enclave is lost
   */
  async run(i: number, script: readonly Command[]): Promise<CommandResult[]> {
    const seat = this.#seats[i];
    script.forEach((command, n) => {
      this.#fill(seat, 2 + n, command);
    });
    this.#fill(seat, 0, { op: OP.SCRIPT, rbx: seat.address + 2 * COMMAND, rcx: script.length });
    const vectors = new Map<number, number>();
    let leaf = EENTER;
    for (;;) {
      const exit = await this.#enter(seat, leaf, seat.address);
      if (exit.kind === 'EEXIT') break;
      if (exit.kind === 'LOST') throw new Error('the enclave is lost');
      if (exit.kind === 'ENTRY_FAILED') {
        if (this.file.faults.entryFault(i, exit.vector, 0)) continue;
        throw new Error(`entering thread ${i} raised vector ${exit.vector}`);
      }
      leaf = ERESUME;
      if (exit.vector === INTERRUPT) continue;
      const address = Number(exit.address);
      if (exit.vector === PAGE_FAULT && this.file.faults.pageFault(i, exit.errorCode, address)) continue;
      vectors.set(this.#reached(seat, script.length), exit.vector);
      await this.#skip(i, seat);
    }
    return script.map((_, n) => {
      const at = (2 + n) * COMMAND;
      return {
        status: Number(seat.view.getBigUint64(at + 80, true)),
        rax: Number(BigInt.asUintN(32, seat.view.getBigUint64(at + 40, true))),
        vector: vectors.get(n) ?? -1,
      };
    });
  }

  /** The first command of a script that has no status yet. */
  #reached({ view }: Seat, length: number): number {
    let n = 0;
    while (n < length && view.getBigUint64((2 + n) * COMMAND + 80, true) !== 0n) n++;
    return n;
  }

  /** Enters the handler of the exception that thread `i` is in: it goes on after the command. */
  async #skip(i: number, seat: Seat): Promise<void> {
    const gprsgx = this.at(threadAt(i).ssa) + PAGE - GPRSGX_SIZE;
    this.#fill(seat, 1, { op: OP.RECOVER, rbx: gprsgx });
    for (let leaf = EENTER; ; leaf = ERESUME) {
      const exit = await this.#enter(seat, leaf, seat.address + COMMAND);
      if (exit.kind === 'EEXIT') return;
      if (exit.kind !== 'AEX') throw new Error(`recovering thread ${i} ended with ${exit.kind}`);
      if (exit.vector === INTERRUPT) continue;
      if (exit.vector === PAGE_FAULT && this.file.faults.pageFault(i, exit.errorCode, Number(exit.address)))
        continue;
      throw new Error(`recovering thread ${i} raised vector ${exit.vector}`);
    }
  }

  #enter({ gate }: Seat, leaf: number, rdi: number) {
    const page = gate.address;
    const stack = this.#stackOf(page);
    return gate.enterAsync(this.#pool, leaf as 2 | 3, { rdi, rsp: stack, rbp: stack });
  }

  #stackOf(page: number): number {
    const index = (page - this.#blocks[0].address) / PAGE;
    return this.#blocks[1].address + (index + 1) * STACK - 64;
  }

  #fill({ view }: Seat, index: number, { op, rax = 0, rbx = 0, rcx = 0, rdx = 0 }: Command): void {
    const at = index * COMMAND;
    [op, rax, rbx, rcx, rdx, 0, 0, 0, 0, 0, 0].forEach((value, n) => {
      view.setBigUint64(at + n * 8, BigInt.asUintN(64, BigInt(value)), true);
    });
  }

  /** Closes the enclave; threads must have left. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.file.close();
    for (const { gate } of this.#seats) gate.close();
    await this.#pool.close();
    for (const block of this.#blocks) this.device.connection.memory.free(block);
  }
}
