/**
 * One thread of an enclave (one TCS) from the host's side, whatever the enclave's runtime: enters it, tells returns from
 * OCALLs, resumes it after interrupts and offers it its exceptions. The trusted ABI at the level of registers is that of
 * Intel's SDK: EENTER with RDI = ECALL number or command and RSI = its operand; EEXIT with RDI = −1 (RSI = status) or an
 * OCALL number (RSI = its structure).
 */
import { EENTER, ERESUME, EXIT_KIND, type GuestMemory } from '@nestedsgx/guest';
import { EnclaveFault, enclaveLost, sdkError } from './errors.js';

/** Commands of EENTER beside ECALL numbers that every runtime knows (Intel SGX SDK, rts_cmd.h). */
export const GATE_COMMAND = Object.freeze({ INIT: -1, ORET: -2, EXCEPT: -3, UNINIT: -5 } as const);

/** Registers of an entry. */
export interface GateEntry {
  readonly leaf: number;
  readonly rdi: number;
  readonly rsi: number;
}

/** How an exit is answered where it arrives, also while another call blocks the event loop; null: the caller must see it. */
export type Onward = (kind: number) => GateEntry | null;

/** Entering through a gate: returns an EXIT_KIND; registers are then in the response line of the gate page. */
export interface ThreadGate {
  enter(leaf: number, rdi: number, rsi: number): number;
  /** `onward` may be asked about exits, and need not be. */
  enterAsync(leaf: number, rdi: number, rsi: number, onward?: Onward): Promise<number>;
  /** The enclave is being offered an exception natively, and what left it came in between. */
  readonly offering?: boolean;
  close(): void;
}

/** A gate whose entries can also be looked at instead of waited for. */
export interface PolledGate extends ThreadGate {
  /** Enters without waiting. */
  post(leaf: number, rdi: number, rsi: number): void;
  /** How that ended, or EXIT_KIND.NONE; `thoroughly` looks whether the machine still lives. */
  poll(thoroughly: boolean): number;
}

/** What an enclave's threads have done. */
export interface CallCounters {
  ecalls: number;
  ocalls: number;
  exceptions: number;
  interrupts: number;
  /** Exceptions by name, such as `#UD`. */
  readonly causes: Record<string, number>;
}

/** What a thread needs of its enclave, whatever its runtime. */
export interface GateOwner {
  readonly memory: GuestMemory;
  readonly counters: CallCounters;
  /** Set once the enclave is being closed: an interrupted thread is not resumed. */
  closing: boolean;
  /** Calls under way had their time: OCALLs are not answered any more either. */
  refusing?: boolean;
  /** Interrupts are offered to the enclave, which may go on elsewhere then (`interrupt` of LoadedEnclave). */
  readonly offersInterrupts?: boolean;
  /** Interrupts that the enclave took. */
  interruptsTaken?: number;
  /** Called when the enclave must not be entered any more. */
  unusable(error: Error): void;
}

/** What one ECALL under way has met. */
export interface CallState {
  /** The latest exception during the call. */
  exception: EnclaveFault | null;
  /** The first OCALL of the call that failed. */
  ocallError: Error | null;
}

// 32-bit word indices in the gate page (layout of packages/cpu).
const REQUEST_RSP = 48 / 4;
const RESPONSE_RDI = 72 / 4;
const RESPONSE_RSI = 80 / 4;
const MINUS_ONE = 0xffff_ffff;
const TWO_32 = 2 ** 32;
const INTERRUPT_VECTOR = 32;

/** ECALLs of one thread inside each other, with OCALLs between them. */
export const MAX_DEPTH = 8;

const RESUME: GateEntry = Object.freeze({ leaf: ERESUME, rdi: 0, rsi: 0 });
const OFFER: GateEntry = Object.freeze({ leaf: EENTER, rdi: GATE_COMMAND.EXCEPT, rsi: 0 });

enum Next {
  Returned,
  Resume,
  Exception,
  Ocall,
}

/** The host's side of one TCS. */
export abstract class GateThread<State extends CallState> {
  readonly index: number;
  /** ECALLs under way on this thread: 0, or more inside OCALL handlers. */
  depth = 0;
  /** While a call goes on whose caller has been told that it failed: settles when the thread is outside again. */
  rest: Promise<void> | null = null;
  protected readonly owner: GateOwner;
  /** The enclave takes its exceptions itself (AEX-Notify): EXCEPT does not return, its frame goes on with the call. */
  protected readonly takesExceptions: boolean;
  readonly #gate: ThreadGate;
  readonly #words: Uint32Array;
  #kind = 0;
  #offering = false;
  /** The enclave looks whether an interrupt is of interest to it: whatever it says, the thread goes on. */
  #looking = false;
  #ocallIndex = 0;
  #ocallPointer = 0;

  /** @param page the view of this TCS's gate page */
  constructor(owner: GateOwner, index: number, page: Uint8Array, gate: ThreadGate, takesExceptions = false) {
    this.owner = owner;
    this.index = index;
    this.takesExceptions = takesExceptions;
    this.#gate = gate;
    this.#words = new Uint32Array(page.buffer, page.byteOffset, 1024);
  }

  /** Answers an OCALL; gives RSI of the ORET that follows. */
  protected abstract serve(state: State, index: number, pointer: number): number;
  /** As `serve`, with handlers that may take their time. */
  protected abstract serveAsync(state: State, index: number, pointer: number): Promise<number>;
  /**
   * Answers an OCALL of an asynchronous call where it arrives; undefined leaves it to `serveAsync`. The enclave may hold a
   * lock that a blocking call of another thread waits for.
   */
  protected serveAtOnce(_state: State, _index: number, _pointer: number): number | undefined {
    return undefined;
  }

  /** Frees the thread's memory. The enclave must be gone or idle. */
  close(): void {
    this.#gate.close();
  }

  /** Runs one call or command to its end; gives the status in RSI. */
  protected run(state: State, command: number, operand: number): number {
    if (!this.#returned(this.#enter(EENTER, command, operand))) this.#settle(state);
    return this.#words[RESPONSE_RSI];
  }

  /** As `run`, without blocking the event loop. */
  protected async runAsync(state: State, command: number, operand: number): Promise<number> {
    const onward: Onward = (kind) => this.#onward(state, kind);
    if (!this.#returned(await this.#enterAsync(EENTER, command, operand, onward)))
      await this.#settleAsync(state, onward);
    return this.#words[RESPONSE_RSI];
  }

  /** Goes on with a call whose OCALL is answered only later, to its end; gives the status. */
  protected async runLater(state: State, answer: Promise<number>): Promise<number> {
    const onward: Onward = (kind) => this.#onward(state, kind);
    const operand = await answer;
    if (!this.#returned(await this.#enterAsync(EENTER, GATE_COMMAND.ORET, operand, onward)))
      await this.#settleAsync(state, onward);
    return this.#words[RESPONSE_RSI];
  }

  /**
   * Goes on with a call that was posted to the thread's gate, as far as it has come; gives whether it has returned.
   * @throws EnclaveFault, ENCLAVE_LOST, ENCLAVE_BAD_ENTRY, ENCLAVE_CLOSED
   */
  protected stepOn(gate: PolledGate, state: State, thoroughly: boolean): boolean {
    try {
      this.#kind = gate.poll(thoroughly);
    } catch (error) {
      throw this.crash(error as Error);
    }
    if (this.#kind === EXIT_KIND.NONE) return false;
    switch (this.#advance(state)) {
      case Next.Returned:
        return true;
      case Next.Resume:
        gate.post(ERESUME, 0, 0);
        break;
      case Next.Exception:
        gate.post(EENTER, GATE_COMMAND.EXCEPT, 0);
        break;
      case Next.Ocall:
        gate.post(EENTER, GATE_COMMAND.ORET, this.serve(state, this.#ocallIndex, this.#ocallPointer));
    }
    return false;
  }

  /** RSI of the exit with which a call returned. */
  protected get returnedStatus(): number {
    return this.#words[RESPONSE_RSI];
  }

  /** @throws ECALL_DEPTH */
  protected refuseDepth(): void {
    if (this.depth >= MAX_DEPTH)
      throw sdkError(
        'ECALL_DEPTH',
        `ECALLs are nested ${this.depth} deep`,
        'return from OCALL handlers before calling again',
      );
  }

  /** URSP and URBP of the next entries: 16-byte aligned, as after a call's push. */
  protected setStack(top: number): void {
    for (const word of [REQUEST_RSP, REQUEST_RSP + 2]) {
      this.#words[word] = top % TWO_32;
      this.#words[word + 1] = top / TWO_32;
    }
  }

  protected crash(error: Error): Error {
    this.#offering = this.#looking = false;
    this.owner.unusable(error);
    return error;
  }

  /** Enters; what the driver cannot answer (EPC_PAGE_DAMAGED, EPC_EXHAUSTED) ends the enclave. */
  #enter(leaf: number, rdi: number, rsi: number): number {
    try {
      return this.#gate.enter(leaf, rdi, rsi);
    } catch (error) {
      throw this.crash(error as Error);
    }
  }

  async #enterAsync(leaf: number, rdi: number, rsi: number, onward: Onward): Promise<number> {
    try {
      return await this.#gate.enterAsync(leaf, rdi, rsi, onward);
    } catch (error) {
      throw this.crash(error as Error);
    }
  }

  /** The usual case, inlined into `run`: the enclave has returned. Otherwise remembers the exit for `#advance`. */
  #returned(kind: number): boolean {
    this.#kind = kind;
    return kind === EXIT_KIND.EEXIT && this.#words[RESPONSE_RDI] === MINUS_ONE;
  }

  #settle(state: State): void {
    for (;;) {
      switch (this.#advance(state)) {
        case Next.Returned:
          return;
        case Next.Resume:
          this.#kind = this.#enter(ERESUME, 0, 0);
          break;
        case Next.Exception:
          this.#kind = this.#enter(EENTER, GATE_COMMAND.EXCEPT, 0);
          break;
        case Next.Ocall: {
          const answer = this.serve(state, this.#ocallIndex, this.#ocallPointer);
          this.#kind = this.#enter(EENTER, GATE_COMMAND.ORET, answer);
        }
      }
    }
  }

  async #settleAsync(state: State, onward: Onward): Promise<void> {
    for (;;) {
      switch (this.#advance(state)) {
        case Next.Returned:
          return;
        case Next.Resume:
          this.#kind = await this.#enterAsync(ERESUME, 0, 0, onward);
          break;
        case Next.Exception:
          this.#kind = await this.#enterAsync(EENTER, GATE_COMMAND.EXCEPT, 0, onward);
          break;
        case Next.Ocall: {
          const answer = await this.serveAsync(state, this.#ocallIndex, this.#ocallPointer);
          this.#kind = await this.#enterAsync(EENTER, GATE_COMMAND.ORET, answer, onward);
        }
      }
    }
  }

  /** What to enter with after an exit that needs nobody; null for a return and for OCALLs of the host's handlers. */
  #onward(state: State, kind: number): GateEntry | null {
    if (this.#returned(kind) && !this.#offering && !this.#looking) return null;
    switch (this.#advance(state)) {
      case Next.Returned:
        return null;
      case Next.Resume:
        return RESUME;
      case Next.Exception:
        return OFFER;
      case Next.Ocall: {
        const answer = this.serveAtOnce(state, this.#ocallIndex, this.#ocallPointer);
        return answer === undefined ? null : { leaf: EENTER, rdi: GATE_COMMAND.ORET, rsi: answer };
      }
    }
  }

  /** The enclave is being asked about an exception or interrupt: another one cannot be offered. */
  get #busy(): boolean {
    return this.#offering || this.#looking || this.#gate.offering === true;
  }

  /** What the last exit asks for. @throws EnclaveFault, ENCLAVE_LOST, ENCLAVE_BAD_ENTRY, ENCLAVE_CLOSED */
  #advance(state: State): Next {
    const words = this.#words;
    switch (this.#kind) {
      case EXIT_KIND.EEXIT: {
        if (words[RESPONSE_RDI] === MINUS_ONE) {
          if (this.#looking) {
            this.#looking = false;
            if (words[RESPONSE_RSI] === 0) this.owner.interruptsTaken = (this.owner.interruptsTaken ?? 0) + 1;
            return Next.Resume;
          }
          if (!this.#offering) return Next.Returned;
          this.#offering = false;
          if (words[RESPONSE_RSI] === 0) return Next.Resume;
          throw this.crash(state.exception as Error);
        }
        if (this.owner.refusing) throw sdkError('ENCLAVE_CLOSED', 'the enclave was closed during the call');
        const high = words[RESPONSE_RDI + 1];
        // Negative numbers as such: beyond 2^53 the sum would be another one.
        this.#ocallIndex = high === MINUS_ONE ? words[RESPONSE_RDI] | 0 : words[RESPONSE_RDI] + high * TWO_32;
        this.#ocallPointer = words[RESPONSE_RSI] + words[RESPONSE_RSI + 1] * TWO_32;
        return Next.Ocall;
      }
      case EXIT_KIND.AEX: {
        const vector = words[RESPONSE_RDI] & 0xffff;
        if (vector === INTERRUPT_VECTOR) {
          this.owner.counters.interrupts++;
          if (this.owner.closing) throw sdkError('ENCLAVE_CLOSED', 'the enclave was closed during the call');
          if (this.owner.offersInterrupts !== true || this.#busy) return Next.Resume;
          this.#looking = true;
          return Next.Exception;
        }
        this.owner.counters.exceptions++;
        const address = words[RESPONSE_RSI] + words[RESPONSE_RSI + 1] * TWO_32;
        const fault = new EnclaveFault(vector, words[RESPONSE_RDI + 1] & 0xffff, address);
        const { causes } = this.owner.counters;
        causes[fault.vectorName] = (causes[fault.vectorName] ?? 0) + 1;
        if (this.#busy) throw this.crash(state.exception ?? fault);
        state.exception = fault;
        this.#offering = !this.takesExceptions;
        return Next.Exception;
      }
      case EXIT_KIND.ENTRY_FAILED:
        if (state.exception !== null) throw this.crash(state.exception);
        throw this.crash(
          sdkError(
            'ENCLAVE_BAD_ENTRY',
            `entering thread ${this.index} raised vector ${words[RESPONSE_RDI] & 0xffff}`,
            'load the enclave again',
          ),
        );
      default: {
        const lost = enclaveLost('its runner or the confidential VM has ended');
        this.owner.unusable(lost);
        throw lost;
      }
    }
  }
}
