/**
 * How a signal that the CPU caused becomes an exception of an enclave (Intel SDM volume 3, "Asynchronous Enclave
 * Exit" and "EXITINFO"). The runner's C table is generated from this one.
 */

/** When the SSA frame's EXITINFO is valid. */
export type ExitInfo = 'always' | 'with EXINFO' | 'never';

export interface ExceptionRow {
  /** Architectural name. */
  readonly name: string;
  /** Linux signal number. */
  readonly signal: number;
  /** Trap number in the signal frame; -1 stands for any. */
  readonly trap: number;
  /** SGX vector. */
  readonly vector: number;
  readonly exitInfo: ExitInfo;
  /** EXITINFO.EXIT_TYPE: 3 hardware exception, 6 software exception. */
  readonly exitType: 3 | 6;
  /** Bytes to take off the reported RIP: a breakpoint inside an enclave is a fault, not a trap. */
  readonly rewind: number;
}

const SIGILL = 4;
const SIGTRAP = 5;
const SIGBUS = 7;
const SIGFPE = 8;
const SIGSEGV = 11;
const SIGSYS = 31;

const row = (
  name: string,
  signal: number,
  trap: number,
  vector: number,
  exitInfo: ExitInfo,
  exitType: 3 | 6 = 3,
  rewind = 0,
): ExceptionRow => Object.freeze({ name, signal, trap, vector, exitInfo, exitType, rewind });

/** The first row that fits decides. A CPU signal without a row costs the enclave its life. */
export const EXCEPTIONS: readonly ExceptionRow[] = Object.freeze([
  row('#DE', SIGFPE, 0, 0, 'always'),
  row('#MF', SIGFPE, 16, 16, 'always'),
  row('#XM', SIGFPE, 19, 19, 'always'),
  row('#DB', SIGTRAP, 1, 1, 'always'),
  row('#BP', SIGTRAP, 3, 3, 'always', 6, 1),
  row('#UD', SIGILL, 6, 6, 'always'),
  row('#BR', SIGSEGV, 5, 5, 'always'),
  row('#GP', SIGSEGV, 13, 13, 'with EXINFO'),
  row('#PF', SIGSEGV, 14, 14, 'with EXINFO'),
  row('#NP', SIGBUS, 11, 11, 'never'),
  row('#SS', SIGBUS, 12, 12, 'never'),
  row('#PF', SIGBUS, 14, 14, 'with EXINFO'),
  row('#AC', SIGBUS, 17, 17, 'always'),
  // A system call refused by the filter: SYSCALL, SYSENTER and INT 80 are illegal inside an enclave.
  row('#UD', SIGSYS, -1, 6, 'always'),
]);

/**
 * Opcodes that raise #GP outside an enclave for want of privilege, and #UD inside one (SDM volume 3, "Illegal
 * Instructions"): INS, OUTS, INT n, IN, OUT; and after 0F: RDPMC, SYSENTER, SYSEXIT.
 */
export const ILLEGAL_OPCODES: readonly number[] = Object.freeze([
  0x6c, 0x6d, 0x6e, 0x6f, 0xcd, 0xe4, 0xe5, 0xe6, 0xe7, 0xec, 0xed, 0xee, 0xef,
]);
export const ILLEGAL_OPCODES_0F: readonly number[] = Object.freeze([0x33, 0x34, 0x35]);

/** Signals that the runner handles as possible exceptions. */
export const FAULT_SIGNALS: readonly number[] = Object.freeze([
  ...new Set(EXCEPTIONS.map((entry) => entry.signal)),
]);
