/**
 * One thread of an enclave (one TCS) from the host's side: enters it, serves its OCALLs, offers it its exceptions.
 * The trusted ABI is that of Intel's SDK: EENTER with RDI = ECALL number or command and RSI = marshalling structure;
 * EEXIT with RDI = −1 (RSI = status) or an OCALL number (RSI = its structure).
 */
import { EENTER, ERESUME, EXIT_KIND, type GuestBlock, type GuestMemory } from '@nestedsgx/guest';
import { CallFrame, EMPTY, type FrameSizes } from './call-frame.js';
import { EnclaveFault, enclaveLost, sdkError } from './errors.js';
import { EnclaveStatusError } from './status.js';

/** Commands of EENTER beside ECALL numbers. */
export const COMMAND = Object.freeze({
  INIT: -1,
  ORET: -2,
  EXCEPT: -3,
  UNINIT: -5,
  FETCH: -100,
  REPORT: -110,
  ADD_THREAD: -120,
  ACCEPT_THREAD: -121,
  TRIM_HEAP: -122,
  ACCEPT_TRIM: -123,
} as const);

/** Entering through a gate: returns an EXIT_KIND; registers are then in the response line of the gate page. */
export interface ThreadGate {
  enter(leaf: number, rdi: number, rsi: number): number;
  enterAsync(leaf: number, rdi: number, rsi: number): Promise<number>;
  close(): void;
}

/** Answers an OCALL: request bytes (a copy) in, response bytes out. */
export type OcallDispatch = (index: number, request: Uint8Array) => Uint8Array | Promise<Uint8Array>;

/** What an enclave's threads have done. */
export interface CallCounters {
  ecalls: number;
  ocalls: number;
  exceptions: number;
  interrupts: number;
  /** Exceptions by name, such as `#UD`. */
  readonly causes: Record<string, number>;
}

/** What a thread needs of its enclave. */
export interface ThreadOwner {
  readonly memory: GuestMemory;
  readonly sizes: FrameSizes;
  readonly dispatch: OcallDispatch;
  readonly counters: CallCounters;
  /** Set once the enclave is being closed: an interrupted thread is not resumed. */
  closing: boolean;
  /** Called when the enclave must not be entered any more. */
  unusable(error: Error): void;
}

// 32-bit word indices in the gate page (layout of packages/cpu).
const REQUEST_RSP = 48 / 4;
const RESPONSE_RDI = 72 / 4;
const RESPONSE_RSI = 80 / 4;
const MINUS_ONE = 0xffff_ffff;
const TWO_32 = 2 ** 32;

const STATUS_RESPONSE_TOO_LARGE = 2;
const STATUS_CRASHED = 6;
const INTERRUPT_VECTOR = 32;
const MAX_DEPTH = 8;
const STACK = 64 * 1024;
const OCALL_STRUCTURE = 48;

enum Next {
  Returned,
  Resume,
  Exception,
  Ocall,
}

/** The host's side of one TCS. */
export class EnclaveThread {
  readonly index: number;
  /** ECALLs under way on this thread: 0, or more inside OCALL handlers. */
  depth = 0;
  readonly #owner: ThreadOwner;
  readonly #gate: ThreadGate;
  readonly #words: Uint32Array;
  readonly #stack: GuestBlock;
  readonly #frames: CallFrame[] = [];
  #offering = false;
  #ocallIndex = 0;
  #ocallPointer = 0;

  /** @param page the view of this TCS's gate page */
  constructor(owner: ThreadOwner, index: number, page: Uint8Array, gate: ThreadGate) {
    this.#owner = owner;
    this.index = index;
    this.#gate = gate;
    this.#words = new Uint32Array(page.buffer, page.byteOffset, 1024);
    this.#stack = owner.memory.alloc(STACK, { alignment: 4096 });
    this.#frames.push(new CallFrame(owner.memory, owner.sizes));
    this.#setStack(0);
  }

  /** Enters; what the driver cannot answer (EPC_PAGE_DAMAGED, EPC_EXHAUSTED) ends the enclave. */
  #enter(leaf: number, rdi: number, rsi: number): number {
    try {
      return this.#gate.enter(leaf, rdi, rsi);
    } catch (error) {
      throw this.#crash(error as Error);
    }
  }

  async #enterAsync(leaf: number, rdi: number, rsi: number): Promise<number> {
    try {
      return await this.#gate.enterAsync(leaf, rdi, rsi);
    } catch (error) {
      throw this.#crash(error as Error);
    }
  }

  /** Calls synchronously; returns a copy of the response. `what` names the call in errors. */
  call(command: number, request: Uint8Array, what: string): Uint8Array {
    const frame = this.#begin(request);
    try {
      if (!this.#returned(this.#enter(EENTER, command, frame.address))) this.#settle(frame);
      const status = this.#words[RESPONSE_RSI];
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
      if (!this.#returned(await this.#enterAsync(EENTER, command, frame.address)))
        await this.#settleAsync(frame);
      const status = this.#words[RESPONSE_RSI];
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
    if (!this.#returned(this.#enter(EENTER, command, address))) this.#settle(frame);
    return this.#words[RESPONSE_RSI];
  }

  /** Frees the thread's memory. The enclave must be gone or idle. */
  close(): void {
    this.#gate.close();
    for (const frame of this.#frames.splice(0)) frame.free();
    this.#owner.memory.free(this.#stack);
  }

  #begin(request: Uint8Array): CallFrame {
    const { depth } = this;
    if (depth >= MAX_DEPTH)
      throw sdkError(
        'ECALL_DEPTH',
        `ECALLs are nested ${depth} deep`,
        'return from OCALL handlers before calling again',
      );
    let frame = this.#frames[depth];
    if (frame === undefined) {
      frame = new CallFrame(this.#owner.memory, this.#owner.sizes);
      this.#frames.push(frame);
    }
    frame.prepare(request);
    this.depth = depth + 1;
    if (depth !== 0) this.#setStack(depth);
    this.#owner.counters.ecalls++;
    return frame;
  }

  #end(frame: CallFrame): void {
    this.depth--;
    if (this.depth !== 0) this.#setStack(this.depth - 1);
    if (frame.bulky) frame.trim();
  }

  /** URSP for a nesting level: every level has its own part of the stack. 16-byte aligned, as after a call's push. */
  #setStack(depth: number): void {
    const top = this.#stack.address + STACK - depth * (STACK / MAX_DEPTH) - 64;
    for (const word of [REQUEST_RSP, REQUEST_RSP + 2]) {
      this.#words[word] = top % TWO_32;
      this.#words[word + 1] = top / TWO_32;
    }
  }

  /** The usual case, inlined into `call`: the enclave has returned. Otherwise remembers the exit for `#advance`. */
  #returned(kind: number): boolean {
    this.#kind = kind;
    return kind === EXIT_KIND.EEXIT && this.#words[RESPONSE_RDI] === MINUS_ONE;
  }

  #kind = 0;

  #settle(frame: CallFrame): void {
    for (;;) {
      switch (this.#advance(frame)) {
        case Next.Returned:
          return;
        case Next.Resume:
          this.#kind = this.#enter(ERESUME, 0, 0);
          break;
        case Next.Exception:
          this.#kind = this.#enter(EENTER, COMMAND.EXCEPT, 0);
          break;
        case Next.Ocall: {
          const pointer = this.#ocallPointer;
          this.#serve(frame, this.#ocallIndex, pointer);
          this.#kind = this.#enter(EENTER, COMMAND.ORET, pointer);
        }
      }
    }
  }

  async #settleAsync(frame: CallFrame): Promise<void> {
    for (;;) {
      switch (this.#advance(frame)) {
        case Next.Returned:
          return;
        case Next.Resume:
          this.#kind = await this.#enterAsync(ERESUME, 0, 0);
          break;
        case Next.Exception:
          this.#kind = await this.#enterAsync(EENTER, COMMAND.EXCEPT, 0);
          break;
        case Next.Ocall: {
          const pointer = this.#ocallPointer;
          await this.#serveAsync(frame, this.#ocallIndex, pointer);
          this.#kind = await this.#enterAsync(EENTER, COMMAND.ORET, pointer);
        }
      }
    }
  }

  /** What the last exit asks for. @throws EnclaveFault, ENCLAVE_LOST, ENCLAVE_BAD_ENTRY, ENCLAVE_CLOSED */
  #advance(frame: CallFrame): Next {
    const words = this.#words;
    switch (this.#kind) {
      case EXIT_KIND.EEXIT: {
        if (words[RESPONSE_RDI] === MINUS_ONE) {
          if (!this.#offering) return Next.Returned;
          this.#offering = false;
          if (words[RESPONSE_RSI] === 0) return Next.Resume;
          throw this.#crash(frame.exception as Error);
        }
        this.#ocallIndex = words[RESPONSE_RDI] + words[RESPONSE_RDI + 1] * TWO_32;
        this.#ocallPointer = words[RESPONSE_RSI] + words[RESPONSE_RSI + 1] * TWO_32;
        return Next.Ocall;
      }
      case EXIT_KIND.AEX: {
        const vector = words[RESPONSE_RDI] & 0xffff;
        if (vector === INTERRUPT_VECTOR) {
          this.#owner.counters.interrupts++;
          if (this.#owner.closing) throw sdkError('ENCLAVE_CLOSED', 'the enclave was closed during the call');
          return Next.Resume;
        }
        this.#owner.counters.exceptions++;
        const address = words[RESPONSE_RSI] + words[RESPONSE_RSI + 1] * TWO_32;
        const fault = new EnclaveFault(vector, words[RESPONSE_RDI + 1] & 0xffff, address);
        const { causes } = this.#owner.counters;
        causes[fault.vectorName] = (causes[fault.vectorName] ?? 0) + 1;
        if (this.#offering) throw this.#crash(frame.exception ?? fault);
        frame.exception = fault;
        this.#offering = true;
        return Next.Exception;
      }
      case EXIT_KIND.ENTRY_FAILED:
        if (frame.exception !== null) throw this.#crash(frame.exception);
        throw this.#crash(
          sdkError(
            'ENCLAVE_BAD_ENTRY',
            `entering thread ${this.index} raised vector ${words[RESPONSE_RDI] & 0xffff}`,
            'load the enclave again',
          ),
        );
      default: {
        const lost = enclaveLost('its runner or the confidential VM has ended');
        this.#owner.unusable(lost);
        throw lost;
      }
    }
  }

  #crash(error: Error): Error {
    this.#offering = false;
    this.#owner.unusable(error);
    return error;
  }

  #unusual(frame: CallFrame, status: number, what: string): Uint8Array {
    if (frame.ocallError !== null && (status !== 0 || isPromiseError(frame.ocallError)))
      throw frame.ocallError;
    if (status === 0) return frame.take();
    if (status === STATUS_RESPONSE_TOO_LARGE) return this.#fetch(frame, what);
    if (status === STATUS_CRASHED) {
      const error = frame.exception ?? new EnclaveStatusError(status, what);
      throw this.#crash(error);
    }
    throw new EnclaveStatusError(status, what);
  }

  /** Fetches a response that the enclave kept because the buffer was too small; it never makes OCALLs. */
  #fetch(frame: CallFrame, what: string): Uint8Array {
    frame.grow();
    if (!this.#returned(this.#enter(EENTER, COMMAND.FETCH, frame.address))) this.#settle(frame);
    const status = this.#words[RESPONSE_RSI];
    if (status !== 0) throw new EnclaveStatusError(status, `fetching the response of ${what}`);
    return frame.take();
  }

  #serve(frame: CallFrame, index: number, pointer: number): void {
    let answer: Uint8Array | null = null;
    try {
      const result = this.#owner.dispatch(index, this.#ocallRequest(frame, pointer));
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
  }

  async #serveAsync(frame: CallFrame, index: number, pointer: number): Promise<void> {
    let answer: Uint8Array | null = null;
    try {
      answer = await this.#owner.dispatch(index, this.#ocallRequest(frame, pointer));
    } catch (error) {
      frame.ocallError ??= error as Error;
    }
    this.#ocallAnswer(frame, pointer, answer);
  }

  /** A copy of an OCALL's request. Every address comes from the enclave and is checked. */
  #ocallRequest(frame: CallFrame, pointer: number): Uint8Array {
    this.#owner.counters.ocalls++;
    if (pointer === frame.ocallAddress && frame.ocallWords[2] === 0 && frame.ocallWords[3] === 0)
      return EMPTY;
    const { memory, sizes } = this.#owner;
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
    const { memory } = this.#owner;
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
