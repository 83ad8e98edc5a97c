/** Switchless calls of Intel's SDK: the native half of their untrusted runtime, and the layout both halves share. */
import type { NativeFunction } from '@nestedsgx/os';

/**
 * A task: what one side asks of the other. Tasks lie one after the other without padding.
 * Source: Intel SGX SDK, struct sl_call_task (sl_fcall_mngr.h).
 */
export const SWITCHLESS_TASK = Object.freeze({
  size: 28,
  at: Object.freeze({ status: 0, function: 8, data: 16, result: 24 }),
  status: Object.freeze({ INIT: 0, SUBMITTED: 1, ACCEPTED: 2, DONE: 3 }),
});

/** Lines come in words of 64; the most words there may be (SL_MAX_TASKS_MAX_QWORDS). */
export const SWITCHLESS_MAX_WORDS = 8;

/** What a wait ends with beside an EXIT_KIND; the line or the worker's number stands above the lowest byte. */
export const SWITCHLESS_WAIT = Object.freeze({ OCALL: 16, WORKER: 17, DONE: 18, FALLBACK: 19 });

/** Places in the native half that its host reads. 32-bit words, then 64-bit words, both by index. */
export const SWITCHLESS_STATE = Object.freeze({
  size: 32,
  result: 0,
  line: 1,
  ecalls: 1,
  missed: 2,
  ocalls: 3,
});

/** Trusted workers that a native half can look after. */
export const SWITCHLESS_MAX_WORKERS = 64;

/** The native functions. Handles and addresses are numbers; limits are microseconds. */
export interface SwitchlessLibrary {
  /**
   * @param setup addresses of event words and tasks of OCALLs, then of ECALLs; address of the word that tells of missed
   * OCALLs; number of words; tries before an ECALL is taken back, and before a wait naps. 0 without memory.
   */
  open(setup: BigUint64Array): number;
  close(handle: number): void;
  /** Adds the gate of a trusted worker; 0 when there are too many. */
  worker(handle: number, gate: number): number;
  /** An entry that waits for its end in no way. */
  post(gate: number, fn: number, rdi: number | bigint, rsi: number | bigint): void;
  /** How that entry ended, or EXIT_KIND.NONE; `thoroughly` looks whether the machine still lives. */
  poll(gate: number, thoroughly: number): number;
  /** As `enterFor` of a gate; also returns with an OCALL, which it accepted. */
  enter(
    handle: number,
    gate: number,
    fn: number,
    rdi: number | bigint,
    rsi: number | bigint,
    limit: number,
  ): number;
  wait(handle: number, gate: number, limit: number): number;
  /** Answers an OCALL and goes on waiting for the exit. */
  answer(handle: number, gate: number, line: number, result: number, limit: number): number;
  /** Answers an OCALL. */
  finish(handle: number, line: number, result: number): void;
  /** An OCALL that arrives within so many tries, or EXIT_KIND.NONE. */
  next(handle: number, tries: number): number;
  /** Puts an ECALL and waits for it. */
  call(handle: number, fn: number, data: number, limit: number): number;
  await(handle: number, line: number, limit: number): number;
  watchAgain(handle: number): void;
  /** Ends a watch; with `wait` = 1 it has when this returns. */
  stop(handle: number, wait: number): void;
  /** Address of the function with which a thread of a call pool watches for OCALLs. */
  readonly watch: number;
}

/** Binds the functions of the gate library. */
export function bindSwitchless(
  bind: (declaration: string) => NativeFunction,
  symbolAddress: (name: string) => number,
): SwitchlessLibrary {
  const wait = (declaration: string) => bind(`uint32_t nsgx_switchless_${declaration}`);
  return {
    open: bind('uint64_t nsgx_switchless_open(void *setup)'),
    close: bind('void nsgx_switchless_close(uint64_t s)'),
    worker: bind('int32_t nsgx_switchless_worker(uint64_t s, uint64_t gate)'),
    post: bind('void nsgx_gate_post(uint64_t gate, uint32_t function, int64_t rdi, int64_t rsi)'),
    poll: bind('uint32_t nsgx_gate_poll(uint64_t gate, uint32_t thoroughly)'),
    enter: wait(
      'enter(uint64_t s, uint64_t gate, uint32_t function, int64_t rdi, int64_t rsi, uint32_t limit)',
    ),
    wait: wait('wait(uint64_t s, uint64_t gate, uint32_t limit)'),
    answer: wait('answer(uint64_t s, uint64_t gate, uint32_t line, uint32_t result, uint32_t limit)'),
    finish: bind('void nsgx_switchless_finish(uint64_t s, uint32_t line, uint32_t result)'),
    next: wait('next(uint64_t s, uint32_t tries)'),
    call: wait('call(uint64_t s, uint64_t function, uint64_t data, uint32_t limit)'),
    await: wait('await(uint64_t s, uint32_t line, uint32_t limit)'),
    watchAgain: bind('void nsgx_switchless_watch_again(uint64_t s)'),
    stop: bind('void nsgx_switchless_stop(uint64_t s, uint32_t wait)'),
    watch: symbolAddress('nsgx_switchless_watch'),
  };
}
