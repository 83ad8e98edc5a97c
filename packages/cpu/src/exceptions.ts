/**
 * How a signal that the CPU caused becomes an exception of an enclave (Intel SDM volume 3, "Asynchronous Enclave
 * Exit" and "EXITINFO"). The runner's C table is generated from this one.
 */

export interface ExceptionRow {
  /** Architectural name. */
  readonly name: string;
  /** Linux signal number. */
  readonly signal: number;
  /** Trap number in the signal frame; -1 stands for any. */
  readonly trap: number;
  /** SGX vector. */
  readonly vector: number;
  /** Bytes to take off the reported RIP, where the CPU reports a trap and an enclave has a fault. */
  readonly rewind: number;
}

const SIGILL = 4;
const SIGTRAP = 5;
const SIGBUS = 7;
const SIGFPE = 8;
const SIGSEGV = 11;
const SIGSYS = 31;

const row = (name: string, signal: number, trap: number, vector: number, rewind = 0): ExceptionRow =>
  Object.freeze({ name, signal, trap, vector, rewind });

/** The first row that fits decides. A CPU signal without a row costs the enclave its life. */
export const EXCEPTIONS: readonly ExceptionRow[] = Object.freeze([
  row('#DE', SIGFPE, 0, 0),
  row('#MF', SIGFPE, 16, 16),
  row('#XM', SIGFPE, 19, 19),
  row('#DB', SIGTRAP, 1, 1),
  // INT3 is a fault inside an enclave, and #UD without debug opt-in (SDM volume 3, "Behavior of INT3 Inside an Enclave").
  row('#BP', SIGTRAP, 3, 3, 1),
  // INT 4 has a gate that user code may use; INT n is illegal inside an enclave.
  row('#UD', SIGSEGV, 4, 6, 2),
  row('#UD', SIGILL, 6, 6),
  // BOUND does not exist in 64-bit mode; bound registers raised it.
  row('#BR', SIGSEGV, 5, 5),
  row('#GP', SIGSEGV, 13, 13),
  row('#PF', SIGSEGV, 14, 14),
  row('#NP', SIGBUS, 11, 11),
  row('#SS', SIGBUS, 12, 12),
  row('#PF', SIGBUS, 14, 14),
  row('#AC', SIGBUS, 17, 17),
  // A system call refused by the filter: SYSCALL, SYSENTER and INT 80 are illegal inside an enclave.
  row('#UD', SIGSYS, -1, 6),
]);

/** Vectors that EXITINFO always reports: #DE, #DB, #BP, #BR, #UD, #MF, #AC, #XM (SDM volume 3, "VECTOR Field Definition"). */
export const REPORTED_VECTORS: readonly number[] = Object.freeze([0, 1, 3, 5, 6, 16, 17, 19]);

/** Vectors that EXITINFO and EXINFO report when MISCSELECT.EXINFO is set: #GP, #PF. */
export const EXINFO_VECTORS: readonly number[] = Object.freeze([13, 14]);

/**
 * Opcodes that raise #GP, #NP or #SS outside an enclave and #UD inside one (SDM volume 3, "Illegal Instructions Inside
 * an Enclave"): INS, OUTS, MOV to a segment register, far RET, INT n, IRET, IN, OUT; and after 0F: RDPMC, SYSENTER,
 * SYSEXIT, POP FS, CPUID (where it faults), POP GS, LSS, LFS, LGS. Far CALL and JMP (FF /3 and /5) are told by their ModRM byte.
 */
export const ILLEGAL_OPCODES: readonly number[] = Object.freeze([
  0x6c, 0x6d, 0x6e, 0x6f, 0x8e, 0xca, 0xcb, 0xcd, 0xcf, 0xe4, 0xe5, 0xe6, 0xe7, 0xec, 0xed, 0xee, 0xef,
]);
export const ILLEGAL_OPCODES_0F: readonly number[] = Object.freeze([
  0x33, 0x34, 0x35, 0xa1, 0xa2, 0xa9, 0xb2, 0xb4, 0xb5,
]);

/** Signals that the runner handles as possible exceptions. */
export const FAULT_SIGNALS: readonly number[] = Object.freeze([
  ...new Set(EXCEPTIONS.map((entry) => entry.signal)),
]);
