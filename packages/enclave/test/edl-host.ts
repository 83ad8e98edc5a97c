/** The untrusted half of Intel's protocol over the harness: memory that both share, ECALLs, OCALLs, exceptions. */
import { closeSync, openSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { type EdlDescription, marshalEcall, marshalOcall, type UntrustedMemory } from '@nestedsgx/edl';
import type { IntelImage } from '@nestedsgx/image';
import { Harness, work } from './harness.js';

const SIZE = 512 * 1024;
/** Structures and buffers of ECALLs lie below, the untrusted stack above. */
const STACK_LOW = SIZE / 2;
const ERET = -1;
export const ECMD = { INIT: -1, ORET: -2, EXCEPT: -3, MKTCS: -4, UNINIT: -5, PTHREAD: -6 };
/** cpu_features of a machine with all that the runtime looks at. */
export const ALL_FEATURES = 0x27fffn;

/** How the enclave was left. */
export type Leave =
  | { readonly kind: 'left'; readonly rdi: number; readonly rsi: bigint; readonly dirty: number; rsp: bigint }
  | { readonly kind: 'aex'; readonly vector: number };

// biome-ignore lint/suspicious/noExplicitAny: handlers of calls that only the EDL file types
type Handler = (...args: any[]) => unknown;

export class StatusError extends Error {
  constructor(readonly status: number) {
    super(`status 0x${status.toString(16)}`);
  }
}

export class EdlHost implements UntrustedMemory {
  readonly bytes = new Uint8Array(SIZE);
  base = 0n;
  handlers: Record<string, Handler> = {};
  /** Looks at, or changes, the structure of each OCALL. */
  onOcall: ((name: string, address: bigint, rsp: bigint) => void) | undefined;
  /** RSP of the next ECALL where it shall not be a sensible one. */
  rsp: bigint | undefined;
  #top = 64;
  #stack = SIZE - 256;
  #fd = -1;

  private constructor(
    readonly harness: Harness,
    readonly edl: EdlDescription,
  ) {}

  /** Loads an image; `init` is what initialisation must return. */
  static async load(name: string, image: IntelImage, edl: EdlDescription, init = true): Promise<EdlHost> {
    const host = new EdlHost(await Harness.loadImage(name, image), edl);
    const path = join(work, `arena-${process.hrtime.bigint()}`);
    writeFileSync(path, host.bytes);
    host.#fd = openSync(path, 'r+');
    const [, base] = await host.harness.words(`arena ${path} ${SIZE}`);
    host.base = BigInt(`0x${base}`);
    if (init) {
      const status = await host.init();
      if (status !== 0) throw new StatusError(status);
    }
    return host;
  }

  async close(): Promise<void> {
    await this.harness.close();
    closeSync(this.#fd);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  alloc(length: number, align: number): bigint {
    this.#top = Math.ceil(this.#top / align) * align;
    const address = this.base + BigInt(this.#top);
    this.#top += length;
    if (this.#top > STACK_LOW) throw new Error('the arena is full');
    return address;
  }

  view(address: bigint, length: number): Uint8Array {
    const at = Number(address - this.base);
    if (at < 0 || at + length > SIZE) throw new RangeError(`0x${address.toString(16)} is not in the arena`);
    return this.bytes.subarray(at, at + length);
  }

  /** A word of the arena, or what it becomes. */
  word(address: bigint, value?: bigint): bigint {
    const view = new DataView(this.view(address, 8).buffer, Number(address - this.base), 8);
    if (value !== undefined) view.setBigUint64(0, value, true);
    return view.getBigUint64(0, true);
  }

  /** One entry. */
  async go(rdi: number, rsi: bigint, thread = 0, rsp?: bigint): Promise<Leave> {
    writeSync(this.#fd, this.bytes, 0, SIZE, 0);
    const at = rsp ?? this.base + BigInt(this.#stack);
    const left = leave(
      await this.harness.words(`go ${thread} ${rdi} ${rsi.toString(16)} ${at.toString(16)}`),
    );
    readSync(this.#fd, this.bytes, 0, SIZE, 0);
    return left;
  }

  /** ERESUME. */
  async resume(thread = 0): Promise<Leave> {
    const left = leave(await this.harness.words(`back ${thread}`));
    readSync(this.#fd, this.bytes, 0, SIZE, 0);
    return left;
  }

  /** Status of the command INIT. */
  async init(features = ALL_FEATURES, address?: bigint): Promise<number> {
    const structure = this.alloc(184, 16);
    this.word(structure, features);
    this.word(structure + 16n, 1n << 63n);
    return this.status(ECMD.INIT, address ?? structure);
  }

  /** Status of a command that returns without leaving in between. */
  async status(rdi: number, rsi = 0n, thread = 0): Promise<number> {
    const left = await this.go(rdi, rsi, thread);
    if (left.kind !== 'left' || left.rdi !== ERET) throw new Error(`left with ${JSON.stringify(left)}`);
    if (left.dirty !== 0) throw new Error(`registers 0x${left.dirty.toString(16)} were left behind`);
    return Number(left.rsi);
  }

  /** Serves what comes until the ECALL returns; its status. */
  async serve(first: Leave, thread = 0): Promise<number> {
    const stack = this.#stack;
    for (let left = first; ; ) {
      if (left.kind === 'aex') {
        const except = await this.go(ECMD.EXCEPT, 0n, thread);
        if (except.kind !== 'left' || except.rsi !== 0n) {
          this.#stack = stack;
          return except.kind === 'left' ? Number(except.rsi) : -1;
        }
        left = await this.resume(thread);
        continue;
      }
      if (left.dirty !== 0) throw new Error(`registers 0x${left.dirty.toString(16)} were left behind`);
      if (left.rdi === ERET) {
        this.#stack = stack;
        return Number(left.rsi);
      }
      const status = await this.#ocall(left.rdi, left.rsi, left.rsp);
      this.#stack = stack;
      left = await this.go(ECMD.ORET, BigInt(status), thread);
    }
  }

  async #ocall(index: number, address: bigint, rsp: bigint): Promise<number> {
    const call = marshalOcall(this.edl, index, address, this);
    // A nested ECALL must not touch what the enclave put on the stack.
    this.#stack = Math.floor((Number(rsp - this.base) - 256) / 64) * 64;
    const handler = this.handlers[call.name];
    if (handler === undefined) return 1;
    call.finish(await handler(...call.args));
    this.onOcall?.(call.name, address, rsp);
    return 0;
  }

  /** An ECALL by name. @throws StatusError */
  async call(name: string, args: readonly unknown[] = [], thread = 0): Promise<unknown> {
    const top = this.#top;
    try {
      const marshalled = marshalEcall(this.edl, name, args, this);
      const first = await this.go(marshalled.index, marshalled.address, thread, this.rsp);
      const status = await this.serve(first, thread);
      if (status !== 0) throw new StatusError(status);
      return marshalled.finish();
    } finally {
      this.#top = top;
    }
  }

  /** Status of an ECALL whose structure `change` spoils after it was laid out. */
  async spoilt(name: string, args: readonly unknown[], change: (structure: bigint) => void): Promise<number> {
    const top = this.#top;
    const { index, address } = marshalEcall(this.edl, name, args, this);
    change(address);
    const status = await this.serve(await this.go(index, address));
    this.#top = top;
    return status;
  }

  /** Address of the field of a parameter. */
  field(name: string, parameter: string, structure: bigint): bigint {
    const call = [...this.edl.ecalls, ...this.edl.ocalls].find((candidate) => candidate.name === name);
    const found = call?.parameters.find((p) => p.name === parameter);
    if (found === undefined) throw new Error(`no parameter ${name}.${parameter}`);
    return structure + BigInt(found.offset);
  }
}

function leave(words: readonly string[]): Leave {
  if (words[0] === 'aex') return { kind: 'aex', vector: Number(words[1]) };
  const [rdi, rsi, dirty, rsp] = words.slice(1);
  return { kind: 'left', rdi: Number(rdi), rsi: BigInt(rsi), dirty: Number(`0x${dirty}`), rsp: BigInt(rsp) };
}
