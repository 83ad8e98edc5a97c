/** The guest's kernel turned hostile: leaves and calls with operands of its own making, past all checks of the driver. */
import {
  ADD_RANGE,
  type AddRange,
  ENCLS,
  PAGEINFO,
  SECS,
  SVSM_PROTOCOL,
  secinfoBytes,
} from '@nestedsgx/arch';
import { type GuestConnection, SGX_PROTOCOL, type Vcpu } from '@nestedsgx/guest';
import { leafCode } from '../answers.js';

const PAGE = 4096;
const PAGES = 24;

/** What the monitor answered. `code` is `success`, an SGX or SVSM code, or the exception. */
export interface Answer {
  readonly code: string;
  readonly rax: number;
  readonly rcx: number;
  readonly rdx: number;
  readonly r8: number;
}

/** Addresses of a PAGEINFO; `secinfo` is the gPA of a SECINFO or PCMD. */
export interface PageinfoFields {
  linaddr?: number;
  source?: number;
  secinfo?: number;
  secs?: number;
}

/**
 * Operand memory, frames and raw calls of one attack. Pages of the block: 0 for small operands, the others for
 * contents and outputs. Close it: its frames are emptied and given back.
 */
export class HostileKernel {
  readonly block;
  readonly #frames: number[] = [];
  #next = 0;

  constructor(
    readonly connection: GuestConnection,
    public vcpu: Vcpu = connection.vcpu,
  ) {
    this.block = connection.memory.alloc(PAGES * PAGE, { alignment: PAGE, zero: true });
  }

  /** gPA of page `n` of the block, 1 to 23. */
  page(n: number): number {
    return this.block.gpa + n * PAGE;
  }

  /** The bytes of page `n`. */
  bytes(n: number): Uint8Array {
    return this.block.bytes.subarray(n * PAGE, (n + 1) * PAGE);
  }

  /** One call of protocol 0x4E53: a leaf (below 0x100) or a call of this machine. BUSY is not tried again. */
  sgx(call: number, rcx = 0, rdx = 0, r8 = 0): Answer {
    const { rax, rcx: c, rdx: d, r8: e } = this.vcpu.call(SGX_PROTOCOL, call, rcx, rdx, r8);
    return { code: leafCode(rax, c), rax, rcx: c, rdx: d, r8: e };
  }

  /** A call whose RCX is no SGX code: `success` whenever RAX is 0. */
  service(call: number, rcx = 0, rdx = 0, r8 = 0): string {
    const { rax, code } = this.sgx(call, rcx, rdx, r8);
    return rax === 0 ? 'success' : code;
  }

  /** One call of the core protocol. */
  core(call: number, rcx = 0, rdx = 0, r8 = 0): Answer {
    const { rax, rcx: c, rdx: d, r8: e } = this.vcpu.call(SVSM_PROTOCOL.CORE, call, rcx, rdx, r8);
    return { code: leafCode(rax, 0), rax, rcx: c, rdx: d, r8: e };
  }

  /** A core call with a page list of one entry: page size in bits 1:0 of `flags`, bit 2 = validate. */
  listed(call: number, gpa: number, flags = 0): Answer {
    const list = new Uint8Array(16);
    const view = new DataView(list.buffer);
    view.setUint16(0, 1, true);
    view.setBigUint64(8, BigInt(gpa) | BigInt(flags), true);
    return this.core(call, this.put(list, PAGE / 8));
  }

  /** Puts an operand where it does not cross what came before it; returns its gPA. */
  put(bytes: Uint8Array, alignment = 128): number {
    let at = Math.ceil(this.#next / alignment) * alignment;
    if (at + bytes.length > PAGE) at = 0;
    this.block.bytes.set(bytes, at);
    this.#next = at + bytes.length;
    return this.block.gpa + at;
  }

  /** A SECINFO with these FLAGS. */
  secinfo(flags: number): number {
    return this.put(secinfoBytes(flags));
  }

  pageinfo({ linaddr = 0, source = 0, secinfo = 0, secs = 0 }: PageinfoFields): number {
    return this.put(
      PAGEINFO.encode({
        LINADDR: BigInt(linaddr),
        SRCPGE: BigInt(source),
        SECINFO: BigInt(secinfo),
        SECS: BigInt(secs),
      }),
    );
  }

  /** Operand of ADD_RANGE. */
  range(fields: Partial<Record<keyof AddRange, number>>): number {
    const entries = Object.entries(fields).map(([name, value]) => [name, BigInt(value ?? 0)]);
    return this.put(ADD_RANGE.encode(Object.fromEntries(entries) as Partial<AddRange>));
  }

  /** ECREATE of a SECS with these fields in `frame`. */
  ecreate(fields: Parameters<typeof SECS.encode>[0], frame: number): Answer {
    this.bytes(22).set(SECS.encode(fields));
    const operand = this.pageinfo({ source: this.page(22), secinfo: this.secinfo(0) });
    return this.sgx(ENCLS.ECREATE, operand, frame);
  }

  /** EADD of page `n` of the block. */
  eadd(secs: number, linaddr: number, frame: number, flags: number, n = 1): Answer {
    const secinfo = this.secinfo(flags);
    return this.sgx(ENCLS.EADD, this.pageinfo({ linaddr, source: this.page(n), secinfo, secs }), frame);
  }

  /** One free EPC frame of this connection; nobody else uses it. */
  frame(): number {
    const { gpa } = this.connection.epc.take(1);
    this.#frames.push(gpa);
    return gpa;
  }

  /** Consecutive free frames. @throws Error when there is no such run */
  frames(count: number): number {
    const { gpa, count: got } = this.connection.epc.take(count);
    for (let i = 0; i < got; i++) this.#frames.push(gpa + i * PAGE);
    if (got < count) throw new Error(`only ${got} consecutive frames of EPC are free`);
    return gpa;
  }

  /** Empties the frames, children before the SECS they belong to, and gives everything back. */
  close(): void {
    const stuck = new Set(this.#frames);
    for (let round = 0; round < 3; round++)
      for (const gpa of stuck) if (this.sgx(ENCLS.EREMOVE, 0, gpa).code === 'success') stuck.delete(gpa);
    for (const gpa of this.#frames.splice(0)) if (!stuck.has(gpa)) this.connection.epc.give(gpa, 1);
    this.connection.memory.free(this.block);
  }
}

/** Runs `action` with a hostile kernel of its own. */
export async function asKernel<T>(
  connection: GuestConnection,
  action: (kernel: HostileKernel) => T | Promise<T>,
): Promise<T> {
  const kernel = new HostileKernel(connection);
  try {
    return await action(kernel);
  } finally {
    kernel.close();
  }
}

/** Protocol number, for attacks that fill GHCBs themselves. */
export const SGX = SGX_PROTOCOL;
