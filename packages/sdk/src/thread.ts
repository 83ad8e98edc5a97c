/** A thread of an enclave with this project's own runtime: its commands, and the structures of its calls. */
import type { GuestBlock } from '@nestedsgx/guest';
import { CallFrame, EMPTY, type FrameSizes } from './call-frame.js';
import { sdkError } from './errors.js';
import { GATE_COMMAND, type GateOwner, GateThread, MAX_DEPTH, type ThreadGate } from './gate-thread.js';
import { EnclaveStatusError } from './status.js';

/** Commands of EENTER beside ECALL numbers. */
export const COMMAND = Object.freeze({
  ...GATE_COMMAND,
  FETCH: -100,
  REPORT: -110,
  ADD_THREAD: -120,
  ACCEPT_THREAD: -121,
  TRIM_HEAP: -122,
  ACCEPT_TRIM: -123,
} as const);

/** Answers an OCALL: request bytes (a copy) in, response bytes out. */
export type OcallDispatch = (index: number, request: Uint8Array) => Uint8Array | Promise<Uint8Array>;

/** What a thread needs of its enclave. */
export interface ThreadOwner extends GateOwner {
  readonly sizes: FrameSizes;
  readonly dispatch: OcallDispatch;
}

const TWO_32 = 2 ** 32;
const STATUS_RESPONSE_TOO_LARGE = 2;
const STATUS_CRASHED = 6;
const STACK = 64 * 1024;
const OCALL_STRUCTURE = 48;

/** The host's side of one TCS. */
export class EnclaveThread extends GateThread<CallFrame> {
  readonly #host: ThreadOwner;
  readonly #stack: GuestBlock;
  readonly #frames: CallFrame[] = [];

  /** @param page the view of this TCS's gate page */
  constructor(owner: ThreadOwner, index: number, page: Uint8Array, gate: ThreadGate) {
    super(owner, index, page, gate);
    this.#host = owner;
    this.#stack = owner.memory.alloc(STACK, { alignment: 4096 });
    this.#frames.push(new CallFrame(owner.memory, owner.sizes));
    this.#stackOf(0);
  }

  /** Calls synchronously; returns a copy of the response. `what` names the call in errors. */
  call(command: number, request: Uint8Array, what: string): Uint8Array {
    const frame = this.#begin(request);
    try {
      const status = this.run(frame, command, frame.address);
      if (status === 0 && frame.ocallError === null) return frame.take();
      return this.#unusual(frame, status, what);
    } finally {
      this.#end(frame);
    }
  }

  /** Calls without blocking the event loop. */
  async callAsync(command: number, request: Uint8Array, what: string): Promise<Uint8Array> {
    const frame = this.#begin(request);
    try {
      const status = await this.runAsync(frame, command, frame.address);
      if (status === 0 && frame.ocallError === null) return frame.take();
      return this.#unusual(frame, status, what);
    } finally {
      this.#end(frame);
    }
  }

  /** A command whose operand is not a call's structure (INIT). Returns the status. */
  command(command: number, address: number): number {
    const frame = this.#frames[0];
    frame.exception = null;
    return this.run(frame, command, address);
  }

  override close(): void {
    super.close();
    for (const frame of this.#frames.splice(0)) frame.free();
    this.#host.memory.free(this.#stack);
  }

  #begin(request: Uint8Array): CallFrame {
    const { depth } = this;
    this.refuseDepth();
    let frame = this.#frames[depth];
    if (frame === undefined) {
      frame = new CallFrame(this.#host.memory, this.#host.sizes);
      this.#frames.push(frame);
    }
    frame.prepare(request);
    this.depth = depth + 1;
    if (depth !== 0) this.#stackOf(depth);
    this.#host.counters.ecalls++;
    return frame;
  }

  #end(frame: CallFrame): void {
    this.depth--;
    if (this.depth !== 0) this.#stackOf(this.depth - 1);
    if (frame.bulky) frame.trim();
  }

  /** Every nesting level has its own part of the stack. */
  #stackOf(depth: number): void {
    this.setStack(this.#stack.address + STACK - depth * (STACK / MAX_DEPTH) - 64);
  }

  #unusual(frame: CallFrame, status: number, what: string): Uint8Array {
    if (frame.ocallError !== null && (status !== 0 || isPromiseError(frame.ocallError)))
      throw frame.ocallError;
    if (status === 0) return frame.take();
    if (status === STATUS_RESPONSE_TOO_LARGE) return this.#fetch(frame, what);
    if (status === STATUS_CRASHED) {
      const error = frame.exception ?? new EnclaveStatusError(status, what);
      throw this.crash(error);
    }
    throw new EnclaveStatusError(status, what);
  }

  /** Fetches a response that the enclave kept because the buffer was too small; it never makes OCALLs. */
  #fetch(frame: CallFrame, what: string): Uint8Array {
    frame.grow();
    const status = this.run(frame, COMMAND.FETCH, frame.address);
    if (status !== 0) throw new EnclaveStatusError(status, `fetching the response of ${what}`);
    return frame.take();
  }

  protected serve(frame: CallFrame, index: number, pointer: number): number {
    let answer: Uint8Array | null = null;
    try {
      const result = this.#host.dispatch(index, this.#ocallRequest(frame, pointer));
      if (result instanceof Uint8Array) answer = result;
      else {
        Promise.resolve(result).catch(() => undefined);
        throw sdkError(
          'OCALL_PROMISE_IN_SYNC_ECALL',
          `the handler of OCALL ${index} returned a promise during a synchronous ECALL`,
          'call the ECALL through e.async, or make the handler synchronous',
        );
      }
    } catch (error) {
      frame.ocallError ??= error as Error;
    }
    this.#ocallAnswer(frame, pointer, answer);
    return pointer;
  }

  protected async serveAsync(frame: CallFrame, index: number, pointer: number): Promise<number> {
    let answer: Uint8Array | null = null;
    try {
      answer = await this.#host.dispatch(index, this.#ocallRequest(frame, pointer));
    } catch (error) {
      frame.ocallError ??= error as Error;
    }
    this.#ocallAnswer(frame, pointer, answer);
    return pointer;
  }

  /** A copy of an OCALL's request. Every address comes from the enclave and is checked. */
  #ocallRequest(frame: CallFrame, pointer: number): Uint8Array {
    this.#host.counters.ocalls++;
    if (pointer === frame.ocallAddress && frame.ocallWords[2] === 0 && frame.ocallWords[3] === 0)
      return EMPTY;
    const { memory, sizes } = this.#host;
    if (pointer % 8 !== 0 || !memory.contains(pointer, OCALL_STRUCTURE))
      throw sdkError(
        'MESSAGE_MALFORMED',
        `an OCALL’s structure at 0x${pointer.toString(16)} is outside the host’s slice`,
      );
    const view = dataView(memory.viewAt(pointer, OCALL_STRUCTURE));
    const request = u64(view, 0);
    const length = u64(view, 8);
    if (length > sizes.maxMessageBytes || !memory.contains(request, length))
      throw sdkError(
        'MESSAGE_MALFORMED',
        `an OCALL’s request of ${length} bytes is outside the host’s slice`,
      );
    return memory.viewAt(request, length).slice();
  }

  #ocallAnswer(frame: CallFrame, pointer: number, answer: Uint8Array | null): void {
    if (pointer === frame.ocallAddress && answer !== null && answer.length === 0) {
      frame.ocallWords.fill(0, 8, 12);
      return;
    }
    const { memory } = this.#host;
    if (pointer % 8 !== 0 || !memory.contains(pointer, OCALL_STRUCTURE)) return;
    const view = dataView(memory.viewAt(pointer, OCALL_STRUCTURE));
    let status = answer === null ? 1 : 0;
    if (answer !== null && answer.length > 0) {
      const response = u64(view, 16);
      const capacity = u64(view, 24);
      if (answer.length <= capacity && memory.contains(response, answer.length))
        memory.viewAt(response, answer.length).set(answer);
      else
        try {
          const block = frame.answerMemory(answer.length);
          block.bytes.set(answer);
          view.setBigUint64(16, BigInt(block.address), true);
          view.setBigUint64(24, BigInt(block.length), true);
        } catch (error) {
          frame.ocallError ??= error as Error;
          status = 1;
        }
    }
    view.setBigUint64(32, BigInt(status === 0 ? (answer?.length ?? 0) : 0), true);
    view.setBigUint64(40, BigInt(status), true);
  }
}

function isPromiseError(error: Error): boolean {
  return (error as { code?: unknown }).code === 'OCALL_PROMISE_IN_SYNC_ECALL';
}

function dataView(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function u64(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * TWO_32;
}
