/**
 * Entering an enclave with the semantics of the kernel's `__vdso_sgx_enter_enclave`
 * (arch/x86/include/uapi/asm/sgx.h): EENTER or ERESUME, exceptions reported in the run structure, an exit handler that
 * may ask for another entry.
 */
import { guestError } from './errors.js';
import type { FaultServer } from './paging/fault.js';

/** ENCLU leaves that enter. */
export const EENTER = 2;
export const ERESUME = 3;
export const EEXIT = 4;

/** How an entry ended, as the gate reports it. */
export const EXIT_KIND = Object.freeze({ NONE: 0, EEXIT: 1, AEX: 2, ENTRY_FAILED: 3, LOST: 4 } as const);

/** Registers of an exit. 64-bit values whose upper half is all ones read as negative numbers. */
export interface ExitRegisters {
  kind: number;
  rdi: number;
  rsi: number;
  rdx: number;
  r8: number;
  r9: number;
}

/** Registers of an entry. */
export interface EntryRegisters {
  rdi: number;
  rsi: number;
  rdx: number;
  r8: number;
  r9: number;
}

/** One TCS's gate as seen from here. `exchange` blocks until the thread has left the enclave again. */
export interface EntryGate {
  exchange(leaf: number, registers: EntryRegisters): ExitRegisters;
  /** The driver's fault handler of this enclave, and the gate's number; without it every exception is the caller's. */
  readonly faults?: { readonly server: FaultServer; readonly gate: number };
}

/** `struct sgx_enclave_run` without the TCS, which the gate stands for. */
export interface SgxEnclaveRun {
  /** Leaf of the last event: EEXIT after an exit, EENTER or ERESUME when that leaf or the enclave faulted. */
  function: number;
  exceptionVector: number;
  exceptionErrorCode: number;
  exceptionAddress: number;
  /** Called on every exit and exception; ≤ 0 is the result of the whole entry, a leaf number enters again. */
  userHandler?: (rdi: number, rsi: number, rdx: number, r8: number, r9: number, run: SgxEnclaveRun) => number;
  userData?: unknown;
}

/** Vector of asynchronous exits that no exception caused (cpu/host INTERRUPT_VECTOR). */
const INTERRUPT_VECTOR = 32;
const PAGE_FAULT_VECTOR = 14;
const EINVAL = 22;
const EFAULT = 14;

/** An empty run structure. */
export function enclaveRun(fields: Partial<SgxEnclaveRun> = {}): SgxEnclaveRun {
  return { function: 0, exceptionVector: 0, exceptionErrorCode: 0, exceptionAddress: 0, ...fields };
}

/**
 * Enters the enclave through `gate`.
 * @returns 0 after EEXIT, -EINVAL for a leaf other than EENTER and ERESUME, -EFAULT after an exception; or what the
 *   handler returned last
 * @throws ENCLAVE_LOST when the enclave, its runner or the cvm has ended; EPC_PAGE_DAMAGED, EPC_EXHAUSTED when a page of
 *   the enclave cannot be brought back
 */
export function sgxEnterEnclave(
  gate: EntryGate,
  rdi: number,
  rsi: number,
  rdx: number,
  leaf: number,
  r8: number,
  r9: number,
  run: SgxEnclaveRun,
): number {
  let next = leaf;
  const registers: EntryRegisters = { rdi, rsi, rdx, r8, r9 };
  const { faults } = gate;
  let refusals = 0;
  for (;;) {
    if (next !== EENTER && next !== ERESUME) return -EINVAL;
    const exit = gate.exchange(next, registers);
    // An interrupt is the kernel's business: its return to the AEP resumes the enclave, and the caller sees nothing.
    if (exit.kind === EXIT_KIND.AEX && exit.rdi % 2 ** 32 === INTERRUPT_VECTOR) {
      faults?.server.check();
      next = ERESUME;
      continue;
    }
    if (faults !== undefined) {
      const vector = exit.rdi % 2 ** 32;
      if (exit.kind === EXIT_KIND.AEX && vector === PAGE_FAULT_VECTOR) {
        if (faults.server.pageFault(faults.gate, Math.floor(exit.rdi / 2 ** 32), exit.rsi)) {
          next = ERESUME;
          continue;
        }
      } else if (
        exit.kind === EXIT_KIND.ENTRY_FAILED &&
        faults.server.entryFault(faults.gate, vector, refusals++)
      )
        continue;
      else if (exit.kind === EXIT_KIND.EEXIT) refusals = 0;
    }
    let result = 0;
    if (exit.kind === EXIT_KIND.EEXIT) run.function = EEXIT;
    else if (exit.kind === EXIT_KIND.AEX || exit.kind === EXIT_KIND.ENTRY_FAILED) {
      // After an AEX the registers are synthetic: RAX = ERESUME, so that is what the vDSO reports.
      run.function = exit.kind === EXIT_KIND.AEX ? ERESUME : next;
      run.exceptionVector = (exit.rdi % 2 ** 32) & 0xffff;
      run.exceptionErrorCode = Math.floor(exit.rdi / 2 ** 32) & 0xffff;
      run.exceptionAddress = exit.rsi;
      result = -EFAULT;
    } else {
      throw guestError(
        'ENCLAVE_LOST',
        'the enclave or its confidential VM has ended',
        'load the enclave again',
      );
    }
    if (run.userHandler === undefined) return result;
    registers.rdi = exit.rdi;
    registers.rsi = exit.rsi;
    registers.rdx = exit.rdx;
    registers.r8 = exit.r8;
    registers.r9 = exit.r9;
    const answer = run.userHandler(exit.rdi, exit.rsi, exit.rdx, exit.r8, exit.r9, run);
    if (answer <= 0) return answer;
    next = answer;
  }
}
