/** Operands of leaves in guest RAM, EPC frames, and single leaves timed from request to answer. */
import {
  ENCLS,
  PAGEINFO,
  SVSM_PROTOCOL_SGX,
  secinfoBytes,
  sgxErrorName,
  svsmResultName,
} from '@nestedsgx/arch';
import type { GuestBlock, GuestConnection } from '@nestedsgx/guest';
import { rdtsc } from '@nestedsgx/os';
import { median } from './statistics.js';

const PAGE = 4096;
// Places in the block of operands.
const SECINFO_AT = 64;
const SCRATCH_AT = 128;
const PCMD_AT = 256;
const PAGE_AT = PAGE;
const SECS_AT = 2 * PAGE;
const BLOCK = 3 * PAGE;

/** Name of an ENCLS leaf. */
export type EnclsName = keyof typeof ENCLS;

/** What leaves are executed on. */
export class LeafBed implements Disposable {
  /** Called before every timed leaf. */
  before: () => void = () => undefined;
  readonly #connection: GuestConnection;
  readonly #operands: GuestBlock;
  readonly #frames: { gpa: number; count: number }[] = [];
  readonly #overhead = median(Array.from({ length: 101 }, () => -(rdtsc() - rdtsc())));

  constructor(connection: GuestConnection) {
    this.#connection = connection;
    this.#operands = connection.memory.alloc(BLOCK, { alignment: PAGE, zero: true });
  }

  /** gPA of a PAGEINFO with these fields; `secinfo` 0 means that of {@link secinfo}. */
  pageinfo(fields: { linaddr?: number; source?: number; secinfo?: number; secs?: number }): number {
    const { linaddr = 0, source = 0, secinfo = this.#operands.gpa + SECINFO_AT, secs = 0 } = fields;
    const values = { LINADDR: linaddr, SRCPGE: source, SECINFO: secinfo, SECS: secs };
    for (const [name, value] of Object.entries(values))
      this.#word(PAGEINFO.offsets[name as keyof typeof values], value);
    return this.#operands.gpa;
  }

  /** gPA of a SECINFO with these flags. */
  secinfo(flags: number): number {
    this.#operands.bytes.set(secinfoBytes(flags), SECINFO_AT);
    return this.#operands.gpa + SECINFO_AT;
  }

  /** gPA of 32 bytes that leaves write to. */
  get scratch(): number {
    return this.#operands.gpa + SCRATCH_AT;
  }

  /** gPA of a PCMD. */
  get pcmd(): number {
    return this.#operands.gpa + PCMD_AT;
  }

  /** gPA of a page of guest RAM. */
  get page(): number {
    return this.#operands.gpa + PAGE_AT;
  }

  /** gPA of the page with this SECS. */
  secs(bytes: Uint8Array): number {
    this.#operands.bytes.set(bytes, SECS_AT);
    return this.#operands.gpa + SECS_AT;
  }

  /** gPA of the first of `count` consecutive EPC frames, given back with the bed. */
  frames(count: number): number {
    const run = this.#connection.epc.take(count);
    this.#frames.push(run);
    if (run.count !== count) throw new Error(`there are no ${count} consecutive EPC frames`);
    return run.gpa;
  }

  /** Cycles of one leaf with RBX, RCX, RDX. `code`: the SGX code it must give. Throws when it gives another. */
  leaf(name: EnclsName, rbx = 0, rcx = 0, rdx = 0, code = 0): number {
    return this.#timed(name, SVSM_PROTOCOL_SGX, ENCLS[name], [rbx, rcx, rdx], code);
  }

  /** Cycles of another call of protocol 0x4E53. */
  call(name: string, number: number, rcx: number, rdx = 0, r8 = 0): number {
    return this.#timed(name, SVSM_PROTOCOL_SGX, number, [rcx, rdx, r8], 0);
  }

  /** Cycles of the shortest call there is: what a doorbell costs both ways. */
  doorbell(): number {
    return this.#timed('QUERY_PROTOCOL', 0, 6, [0, 0, 0], 0);
  }

  [Symbol.dispose](): void {
    for (const { gpa, count } of this.#frames) this.#connection.epc.give(gpa, count);
    this.#connection.memory.free(this.#operands);
  }

  #timed(
    name: string,
    protocol: number,
    call: number,
    operands: [number, number, number],
    code: number,
  ): number {
    this.before();
    const start = rdtsc();
    const { rax, rcx } = this.#connection.vcpu.call(protocol, call, ...operands);
    const cycles = rdtsc() - start - this.#overhead;
    if (rax !== 0) throw new Error(`${name} gave ${svsmResultName(rax)}`);
    if (rcx % 2 ** 32 !== code) throw new Error(`${name} gave ${sgxErrorName(rcx % 2 ** 32)}`);
    return Math.max(cycles, 0);
  }

  #word(at: number, value: number): void {
    const { buffer, byteOffset } = this.#operands.bytes;
    new DataView(buffer, byteOffset, BLOCK).setBigUint64(at, BigInt(value), true);
  }
}
