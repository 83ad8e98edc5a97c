/** A probe enclave that runs, and what a case can have it do. */
import { PT_TCS, SECINFO } from '@nestedsgx/arch';
import type { SigningKey } from '@nestedsgx/image/node';
import type { Exit, Platform, PlatformEnclave, UntrustedBlock } from '../platform.js';
import { AT, type ProbeOptions, probePages, probeSecs, probeSigstruct, threadAt } from './image.js';

/** Operations of native/probe.S. */
export const OP = Object.freeze({
  ENCLU: 0,
  LOAD: 1,
  STORE: 2,
  CALL: 3,
  COPY: 4,
  RECOVER: 5,
  UD2: 6,
  DIVIDE: 7,
  INT3: 8,
  NONCANONICAL: 9,
  SYSCALL: 10,
  CPUID: 11,
  SPIN: 12,
  SCRIPT: 13,
});

const EENTER = 2;
const ERESUME = 3;
const PAGE = 4096;
const GPRSGX_SIZE = 184;

/** What an operation gave: registers and flags, or the exception it raised. */
export type Result =
  | { readonly kind: 'done'; readonly rax: bigint; readonly rbx: bigint; readonly rflags: bigint }
  | {
      readonly kind: 'fault';
      readonly vector: number;
      readonly errorCode: number;
      readonly address: number;
    };

/** Registers of an operation; addresses as numbers. */
export interface Registers {
  rax?: number;
  rbx?: number;
  rcx?: number | bigint;
  rdx?: number;
}

/** Zero and carry of RFLAGS. */
export const CF = 1n;
export const ZF = 0x40n;

/** A loaded probe. Every operation leaves its thread where it was: exceptions are recovered before they are returned. */
export class Probe {
  readonly enclave: PlatformEnclave;
  readonly #commands: UntrustedBlock[] = [];
  readonly #recovery: UntrustedBlock;
  readonly #platform: Platform;

  private constructor(platform: Platform, enclave: PlatformEnclave, threads: number) {
    this.enclave = enclave;
    this.#platform = platform;
    for (let i = 0; i < threads; i++) this.#commands.push(platform.allocate(128));
    this.#recovery = platform.allocate(128);
  }

  /** Builds, signs and initialises a probe. `slots` = TCS that may come, those of the image included. */
  static load(platform: Platform, key: SigningKey, options: ProbeOptions = {}, slots?: number): Probe {
    const enclave = platform.open(AT.SIZE);
    try {
      const pages = probePages(options);
      enclave.create(probeSecs(enclave.base, options));
      for (const run of pages) enclave.add(run);
      const tcs = pages.filter((run) => run.flags >> 8 === PT_TCS).length;
      enclave.init(probeSigstruct(pages, options, key), slots ?? tcs);
      return new Probe(platform, enclave, slots ?? tcs);
    } catch (error) {
      enclave.close();
      throw error;
    }
  }

  /** Linear address of an offset. */
  at(offset: number): number {
    return this.enclave.base + offset;
  }

  /** Linear address of SSA frame `frame` of thread `i`. */
  frame(i: number, frame: number): number {
    return this.at(threadAt(i).ssa) + frame * PAGE;
  }

  /** Linear address of GPRSGX in that frame. */
  gprsgx(i: number, frame: number): number {
    return this.frame(i, frame) + PAGE - GPRSGX_SIZE;
  }

  /** Has thread `i` do an operation. */
  run(op: number, registers: Registers = {}, i = 0): Result {
    const exit = this.start(op, registers, i);
    if (exit.kind === 'exit') return this.#result(i);
    this.recover(i);
    const { vector, errorCode, address } = exit;
    return { kind: 'fault', vector, errorCode, address };
  }

  /** Starts an operation and leaves the thread wherever that leads. */
  start(op: number, registers: Registers = {}, i = 0): Exit {
    const command = this.#commands[i];
    fill(command.bytes, op, registers);
    return this.enclave.enter(threadAt(i).tcs, EENTER, command.address);
  }

  /** ERESUME of thread `i`. */
  resume(i = 0): Exit {
    return this.enclave.enter(threadAt(i).tcs, ERESUME, 0);
  }

  /** Status word of thread `i`'s last command: 1 done, 2 continued after {@link recover}. */
  status(i = 0): number {
    return Number(view(this.#commands[i].bytes).getBigUint64(80, true));
  }

  /** After an exception at CSSA 1 of thread `i`: moves the interrupted code to its end and resumes it. */
  recover(i = 0, frame = 0): void {
    fill(this.#recovery.bytes, OP.RECOVER, { rbx: this.gprsgx(i, frame) });
    const handled = this.enclave.enter(threadAt(i).tcs, EENTER, this.#recovery.address);
    if (handled.kind !== 'exit') throw new Error(`the recovery itself raised vector ${handled.vector}`);
    const left = this.resume(i);
    if (left.kind !== 'exit') throw new Error(`the recovered code raised vector ${left.vector}`);
  }

  /** ENCLU with RAX = leaf. */
  enclu(leaf: number, rbx = 0, rcx = 0, rdx = 0, i = 0): Result {
    return this.run(OP.ENCLU, { rax: leaf, rbx, rcx, rdx }, i);
  }

  /** Writes bytes into enclave memory, by the enclave. */
  write(offset: number, bytes: Uint8Array): void {
    const block = this.#platform.allocate(bytes.length);
    block.bytes.set(bytes);
    const result = this.run(OP.COPY, { rbx: block.address, rcx: bytes.length, rdx: this.at(offset) });
    if (result.kind !== 'done') throw new Error(`the probe could not write at offset ${offset}`);
  }

  /** Reads enclave memory, by the enclave. */
  read(offset: number, length: number): Uint8Array {
    const block = this.#platform.allocate(length);
    const result = this.run(OP.COPY, { rbx: this.at(offset), rcx: length, rdx: block.address });
    if (result.kind !== 'done') throw new Error(`the probe could not read at offset ${offset}`);
    return block.bytes.slice(0, length);
  }

  /** Puts a SECINFO into the enclave at `offset` and returns its linear address. */
  secinfo(flags: number, offset: number = AT.DATA): number {
    this.write(offset, SECINFO.encode({ FLAGS: BigInt(flags) }));
    return this.at(offset);
  }

  close(): void {
    this.enclave.close();
  }

  #result(i: number): Result {
    const v = view(this.#commands[i].bytes);
    return {
      kind: 'done',
      rax: v.getBigUint64(40, true),
      rbx: v.getBigUint64(48, true),
      rflags: v.getBigUint64(72, true),
    };
  }
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function fill(bytes: Uint8Array, op: number, { rax = 0, rbx = 0, rcx = 0, rdx = 0 }: Registers): void {
  bytes.fill(0, 0, 128);
  const v = view(bytes);
  [op, rax, rbx, rcx, rdx].forEach((value, index) => {
    v.setBigUint64(index * 8, BigInt.asUintN(64, BigInt(value)), true);
  });
}
