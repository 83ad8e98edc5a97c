/** A thread of an enclave of Intel's SDK: marshalled ECALLs, OCALLs whose structures lie on the untrusted stack. */
import { EENTER, type GuestBlock } from '@nestedsgx/guest';
import { sdkError } from '../errors.js';
import {
  type CallState,
  GATE_COMMAND,
  type GateOwner,
  GateThread,
  MAX_DEPTH,
  type PolledGate,
  type ThreadGate,
} from '../gate-thread.js';
import { type ArenaMark, CallArena } from './call-arena.js';
import { type EdlDispatch, SGX_ERROR_UNEXPECTED, SGX_SUCCESS } from './ocall-dispatch.js';
import { SgxStatusError } from './sgx-status.js';

/** Commands of EENTER beside ECALL numbers. Source: Intel SGX SDK, rts_cmd.h. */
export const ECMD = Object.freeze({ ...GATE_COMMAND, MKTCS: -4, ECALL_PTHREAD: -6 } as const);

/** OCALL numbers that the trusted runtime uses by itself: rts.h, edmm_ocall_t. */
const FIRST_BUILTIN = -7;
const LAST_BUILTIN = -2;

/** Gap below what the enclave laid on the stack, where a nested call begins. */
const RED_ZONE = 256;
const OUTER_ROOM = 4096;

/** Answers an OCALL of the trusted runtime itself (dynamic memory); gives why that was refused, or null. */
export type RuntimeOcall = (index: number, address: number) => Error | null;

/** What a thread needs of its enclave. */
export interface IntelThreadOwner extends GateOwner {
  readonly dispatch: EdlDispatch;
  readonly runtimeOcall: RuntimeOcall;
  /** Told of an OCALL that failed in an ECALL that succeeded. */
  readonly ocallFailed: (error: Error) => void;
  readonly stackBytes: number;
  readonly maxMessageBytes: number;
  /** ATTRIBUTES.AEXNOTIFY. */
  readonly aexNotify: boolean;
}

/** Failures of OCALLs that are the host's own, and not for the enclave to cope with. */
const HOST_MISTAKES: ReadonlySet<unknown> = new Set(['OCALL_PROMISE_IN_SYNC_ECALL', 'OCALL_STACK_OVERFLOW']);

/** One ECALL under way. */
interface IntelCall extends CallState {
  /** RSP at EENTER. */
  readonly top: number;
  readonly mark: ArenaMark;
  /** JavaScript waits for it without running the event loop. */
  readonly blocking: boolean;
  /** Where the next call inside an OCALL of this one may put its stack. */
  below: number;
  /** Why a change of the enclave's memory was refused, if one was. */
  memoryError: Error | null;
  /** The outermost synchronous call of its thread: it can go on without its caller. */
  mayGoOn: boolean;
}

/**
 * An OCALL of a synchronous call that only the event loop can answer. Its caller is told, and the call goes on by itself: an
 * enclave whose thread waits for another cannot do without the answer, and would ask again and again.
 */
class LateAnswer extends Error {
  constructor(
    readonly error: Error,
    readonly answer: Promise<number>,
  ) {
    super(error.message);
  }
}

/** The host's side of one TCS. */
export class IntelThread extends GateThread<IntelCall> {
  readonly #host: IntelThreadOwner;
  readonly #calls: IntelCall[] = [];
  /** Made with the first call: an enclave may have many more threads than are ever used. */
  #stack: GuestBlock | null = null;
  #arena: CallArena | null = null;
  /** RSP in the gate page. */
  #top = 0;

  /** @param page the view of this TCS's gate page */
  constructor(owner: IntelThreadOwner, index: number, page: Uint8Array, gate: ThreadGate) {
    super(owner, index, page, gate, owner.aexNotify);
    this.#host = owner;
  }

  /** Marshalling memory of the call that `begin` began. */
  get arena(): CallArena {
    this.#arena ??= new CallArena(this.#host.memory, this.#host.maxMessageBytes);
    return this.#arena;
  }

  /**
   * Makes one call: `marshal` lays its structure out in the arena and gives ECALL number and address, `finish` reads what
   * came back. `what` names the call in errors.
   * @throws SgxStatusError, EnclaveFault, OCALL_FAILED and what entering may throw
   */
  call<T>(marshal: () => { index: number; address: bigint; finish(): T }, what: string): T {
    const call = this.#begin(true);
    call.mayGoOn = call.top === this.#calls[0].top;
    let late: LateAnswer | null = null;
    try {
      const { index, address, finish } = marshal();
      this.#check(call, this.run(call, index, Number(address)), what);
      return finish();
    } catch (error) {
      if (!(error instanceof LateAnswer)) throw error;
      late = error;
      this.rest = this.#finishLater(call, late.answer);
      throw error.error;
    } finally {
      if (late === null) this.#end(call);
    }
  }

  /** The rest of a call that its caller was told has failed. Nobody learns its result. */
  async #finishLater(call: IntelCall, answer: Promise<number>): Promise<void> {
    try {
      this.#check(call, await this.runLater(call, answer), 'a call that went on without its caller');
    } catch {
      // Said already, or a crash, which later calls report.
    } finally {
      this.#end(call);
      this.rest = null;
    }
  }

  /** As `call`, without blocking the event loop. `alsoReturns` is a status that is a return like SGX_SUCCESS. */
  async callAsync<T>(
    marshal: () => { index: number; address: bigint; finish(): T },
    what: string,
    alsoReturns: number = SGX_SUCCESS,
  ): Promise<T> {
    const call = this.#begin(false);
    try {
      const { index, address, finish } = marshal();
      const status = await this.runAsync(call, index, Number(address));
      this.#check(call, status === alsoReturns ? SGX_SUCCESS : status, what);
      return finish();
    } finally {
      this.#end(call);
    }
  }

  /** Begins a call that nobody waits for; `step` goes on with it. `gate` is the thread's own. */
  post(gate: PolledGate, marshal: () => { index: number; address: bigint }): void {
    const call = this.#begin(true);
    try {
      const { index, address } = marshal();
      gate.post(EENTER, index, Number(address));
    } catch (error) {
      this.#end(call);
      throw error;
    }
  }

  /** Answers what the call of `post` left the enclave for; gives whether it is over. @throws as `call`; it is over then */
  step(gate: PolledGate, what: string, thoroughly: boolean): boolean {
    const call = this.#calls[0];
    let over = true;
    try {
      over = this.stepOn(gate, call, thoroughly);
      if (over) this.#check(call, this.returnedStatus, what);
      return over;
    } finally {
      if (over) this.#end(call);
    }
  }

  /** What the innermost call has met so far, an OCALL's failure before an exception; it is forgotten. */
  takeFailure(): Error | undefined {
    const call = this.#calls.at(-1);
    if (call === undefined) return undefined;
    const failure = call.ocallError ?? call.exception ?? undefined;
    call.ocallError = null;
    call.exception = null;
    return failure;
  }

  /** The call under way on whose untrusted stack `pointer` lies: whether it blocks, and where to note an OCALL's failure. */
  origin(pointer: number): { readonly blocking: boolean; failed(error: Error): void } | undefined {
    const call = this.#calls.at(-1);
    if (call === undefined || pointer > call.top || pointer < this.#stackBlock().address) return undefined;
    return {
      blocking: call.blocking,
      failed: (error) => {
        call.ocallError ??= error;
      },
    };
  }

  override close(): void {
    super.close();
    this.#arena?.close();
    this.#arena = null;
    if (this.#stack !== null) this.#host.memory.free(this.#stack);
    this.#stack = null;
  }

  protected serve(call: IntelCall, number: number, pointer: number): number {
    const index = number | 0;
    this.owner.counters.ocalls++;
    try {
      if (isBuiltin(index)) return this.#runtime(call, index, pointer);
      this.#below(call, pointer);
      const promise = this.#host.dispatch(index, pointer);
      if (promise === undefined) return SGX_SUCCESS;
      const error = sdkError(
        'OCALL_PROMISE_IN_SYNC_ECALL',
        `the handler of OCALL ${index} returned a promise during a synchronous ECALL`,
        'call the ECALL through e.async, or make the handler synchronous',
      );
      if (!call.mayGoOn) {
        promise.catch(() => undefined);
        throw error;
      }
      throw new LateAnswer(error, this.#lateStatus(call, promise));
    } catch (error) {
      if (error instanceof LateAnswer) throw error;
      call.ocallError ??= error as Error;
      return SGX_ERROR_UNEXPECTED;
    }
  }

  async #lateStatus(call: IntelCall, answer: Promise<void>): Promise<number> {
    try {
      await answer;
      return SGX_SUCCESS;
    } catch (error) {
      call.ocallError ??= error as Error;
      return SGX_ERROR_UNEXPECTED;
    }
  }

  protected async serveAsync(call: IntelCall, number: number, pointer: number): Promise<number> {
    const index = number | 0;
    this.owner.counters.ocalls++;
    try {
      if (isBuiltin(index)) return this.#runtime(call, index, pointer);
      this.#below(call, pointer);
      const promise = this.#host.dispatch(index, pointer);
      if (promise !== undefined) await promise;
      return SGX_SUCCESS;
    } catch (error) {
      call.ocallError ??= error as Error;
      return SGX_ERROR_UNEXPECTED;
    }
  }

  protected override serveAtOnce(call: IntelCall, number: number, pointer: number): number | undefined {
    const index = number | 0;
    if (!isBuiltin(index)) return undefined;
    this.owner.counters.ocalls++;
    try {
      return this.#runtime(call, index, pointer);
    } catch (error) {
      call.ocallError ??= error as Error;
      return SGX_ERROR_UNEXPECTED;
    }
  }

  #runtime(call: IntelCall, index: number, pointer: number): number {
    const refusal = this.#host.runtimeOcall(index, pointer);
    if (refusal !== null) call.memoryError ??= refusal;
    return SGX_SUCCESS;
  }

  #begin(blocking: boolean): IntelCall {
    this.refuseDepth();
    const { depth } = this;
    const stack = this.#stackBlock();
    const bottom = stack.address + OUTER_ROOM;
    const top =
      depth === 0
        ? stack.address + stack.length - RED_ZONE
        : Math.floor((this.#calls[depth - 1].below - RED_ZONE) / 64) * 64;
    if (top < bottom) throw overflow(stack.length);
    const call = {
      exception: null,
      ocallError: null,
      memoryError: null,
      top,
      blocking,
      mayGoOn: false,
      below: top,
      mark: this.arena.mark(),
    };
    this.#calls.push(call);
    this.depth = depth + 1;
    this.#stackAt(top);
    this.owner.counters.ecalls++;
    return call;
  }

  #end(call: IntelCall): void {
    this.#calls.pop();
    this.depth--;
    this.#arena?.release(call.mark);
    if (this.depth !== 0) this.#stackAt(this.#calls[this.depth - 1].top);
  }

  #stackAt(top: number): void {
    if (top === this.#top) return;
    this.#top = top;
    this.setStack(top);
  }

  /**
   * What the enclave laid on the untrusted stack for an OCALL begins with its structure. A nested call goes below that;
   * an address outside of this thread's stack means that the enclave wrote over other memory, or does as it likes.
   */
  #below(call: IntelCall, pointer: number): void {
    if (pointer === 0) {
      call.below = call.top - (call.top - this.#stackBlock().address) / MAX_DEPTH;
      return;
    }
    const { address, length } = this.#stackBlock();
    if (pointer >= address && pointer <= call.top) call.below = pointer;
    else if (pointer < address && pointer > address - length && this.#host.memory.contains(pointer, 1))
      throw overflow(length);
    else call.below = call.top;
  }

  #stackBlock(): GuestBlock {
    this.#stack ??= this.#host.memory.alloc(this.#host.stackBytes, { alignment: 4096 });
    return this.#stack;
  }

  /** @throws SgxStatusError; the first failure of an OCALL where the enclave did not cope with it */
  #check(call: IntelCall, status: number, what: string): void {
    if (status === SGX_SUCCESS && call.ocallError === null) return;
    if (call.ocallError !== null) {
      const { code } = call.ocallError as { code?: unknown };
      if (status !== SGX_SUCCESS || HOST_MISTAKES.has(code)) throw call.ocallError;
      this.#host.ocallFailed(call.ocallError);
    }
    if (status === SGX_SUCCESS) return;
    const error = new SgxStatusError(status, what, {
      cause: call.memoryError ?? call.exception ?? undefined,
    });
    if (error.statusName === 'SGX_ERROR_ENCLAVE_CRASHED' || error.statusName === 'SGX_ERROR_STACK_OVERRUN')
      throw this.crash(error);
    throw error;
  }
}

function isBuiltin(index: number): boolean {
  return index >= FIRST_BUILTIN && index <= LAST_BUILTIN;
}

function overflow(length: number): Error {
  return sdkError(
    'OCALL_STACK_OVERFLOW',
    `OCALLs under way need more than the ${length} bytes of untrusted stack of their thread`,
    'load the enclave with a larger stackBytes, or pass less data in OCALLs',
  );
}
