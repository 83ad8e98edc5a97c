/** An enclave played by a generator: it yields how it leaves and is told how it is entered again. */
import { EXIT_KIND, GuestMemory } from '@nestedsgx/guest';
import type { FrameSizes } from '../src/call-frame.js';
import type { ThreadGate } from '../src/gate-thread.js';
import { EnclaveThread, type OcallDispatch, type ThreadOwner } from '../src/thread.js';

export const BASE = 0x1000_0000_0000;
export const GPA = 0x40_0000;
const PAGE = 4096;

/** How an enclave leaves: registers as numbers; rdi may have an upper half. */
export interface Exit {
  kind: number;
  rdi?: number;
  rsi?: number;
  /** Upper half of RDI (error code of exceptions). */
  high?: number;
}

export interface Entry {
  leaf: number;
  rdi: number;
  rsi: number;
}

/** An enclave's code: started by an EENTER, continued by the entries that follow its exits. */
export type Program = (entry: Entry, memory: GuestMemory) => Generator<Exit, Exit, Entry>;

/** A program that leaves only once. */
export const direct = (body: (entry: Entry, memory: GuestMemory) => Exit): Program =>
  function* (entry, memory) {
    yield* [];
    return body(entry, memory);
  };

export const eret = (status = 0): Exit => ({ kind: EXIT_KIND.EEXIT, rdi: -1, rsi: status });
export const aex = (vector: number, errorCode = 0, address = 0): Exit => ({
  kind: EXIT_KIND.AEX,
  rdi: vector,
  high: errorCode,
  rsi: address,
});

/** A gate whose other side is a program. `delay` makes asynchronous entries take that many milliseconds. */
export class FakeGate implements ThreadGate {
  readonly page = new Uint8Array(PAGE);
  readonly entries: Entry[] = [];
  closed = false;
  readonly #words = new Uint32Array(this.page.buffer);
  readonly #running: Generator<Exit, Exit, Entry>[] = [];

  constructor(
    private readonly program: Program,
    private readonly memory: GuestMemory,
    private readonly delay = 0,
  ) {}

  enter(leaf: number, rdi: number, rsi: number): number {
    const entry = { leaf, rdi, rsi };
    this.entries.push(entry);
    const fresh = leaf === 2 && rdi !== -2 && rdi !== -3;
    if (fresh) this.#running.push(this.program(entry, this.memory));
    const current = this.#running[this.#running.length - 1];
    const { value, done } = current.next(entry);
    if (done) this.#running.pop();
    const { kind, rdi: outDi = 0, rsi: outSi = 0, high } = value;
    this.#put(72 / 4, outDi, high);
    this.#put(80 / 4, outSi);
    return kind;
  }

  async enterAsync(leaf: number, rdi: number, rsi: number): Promise<number> {
    await new Promise<void>((resolve) =>
      this.delay > 0 ? setTimeout(resolve, this.delay) : setImmediate(resolve),
    );
    return this.enter(leaf, rdi, rsi);
  }

  close(): void {
    this.closed = true;
  }

  #put(word: number, value: number, high?: number): void {
    this.#words[word] = value < 0 ? 0xffff_ffff : value % 2 ** 32;
    this.#words[word + 1] = high ?? (value < 0 ? 0xffff_ffff : Math.floor(value / 2 ** 32));
  }
}

/** The marshalling structure of an ECALL or OCALL at an address. */
export class Structure {
  readonly #view: DataView;

  constructor(
    private readonly memory: GuestMemory,
    address: number,
    length = 64,
  ) {
    const bytes = memory.viewAt(address, length);
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, length);
  }

  get(index: number): number {
    return Number(this.#view.getBigUint64(index * 8, true));
  }

  set(index: number, value: number): void {
    this.#view.setBigUint64(index * 8, BigInt(value), true);
  }

  request(): Uint8Array {
    return this.memory.viewAt(this.get(0), this.get(1)).slice();
  }

  /** Writes a response as the runtime does; false when it does not fit. */
  respond(bytes: Uint8Array): boolean {
    this.set(4, bytes.length);
    if (bytes.length > this.get(3)) return false;
    this.memory.viewAt(this.get(2), bytes.length).set(bytes);
    return true;
  }

  /** Makes an OCALL structure in the OCALL buffer of this ECALL, as the runtime does; returns its address. */
  ocall(request: Uint8Array): number {
    const buffer = this.get(6);
    this.memory.viewAt(buffer + 48, request.length).set(request);
    const at = new Structure(this.memory, buffer, 48);
    const response = buffer + 48 + Math.ceil(request.length / 8) * 8;
    [buffer + 48, request.length, response, buffer + this.get(7) - response, 0, 0].forEach((v, i) => {
      at.set(i, v);
    });
    return buffer;
  }
}

/** A thread over a fake gate, with its own memory. */
export function makeThread(
  program: Program,
  options: { dispatch?: OcallDispatch; sizes?: Partial<FrameSizes>; pages?: number; delay?: number } = {},
) {
  const length = (options.pages ?? 1024) * PAGE;
  const memory = new GuestMemory({ base: BASE, slice: new Uint8Array(length), gpa: GPA, length });
  const failures: Error[] = [];
  const owner: ThreadOwner = {
    memory,
    sizes: { ocallBufferBytes: 16_384, maxMessageBytes: 2 ** 20, ...options.sizes },
    dispatch: options.dispatch ?? (() => new Uint8Array(0)),
    counters: { ecalls: 0, ocalls: 0, exceptions: 0, interrupts: 0, causes: {} },
    closing: false,
    unusable: (error) => failures.push(error),
  };
  const gate = new FakeGate(program, memory, options.delay);
  const thread = new EnclaveThread(owner, 0, gate.page, gate);
  return { thread, gate, memory, owner, failures };
}
