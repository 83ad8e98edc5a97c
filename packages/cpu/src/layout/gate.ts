import { defineLayout } from './layout.js';

/**
 * The gate page of one TCS, in guest RAM. Every cache line has one writer. The runner believes nothing in it but
 * the request line, which it copies once; the host treats everything in it as untrusted.
 */
export const GATE = defineLayout('gate', 4096, {
  // Request line: written by the host, published by storing the sequence number last.
  requestSeq: ['u32', 0],
  requestFunction: ['u32', 4],
  requestRdi: ['u64', 8],
  requestRsi: ['u64', 16],
  requestRdx: ['u64', 24],
  requestR8: ['u64', 32],
  requestR9: ['u64', 40],
  requestRsp: ['u64', 48],
  requestRbp: ['u64', 56],
  // Response line: written by the runner.
  responseSeq: ['u32', 64],
  responseKind: ['u32', 68],
  responseRdi: ['u64', 72],
  responseRsi: ['u64', 80],
  responseRdx: ['u64', 88],
  responseR8: ['u64', 96],
  responseR9: ['u64', 104],
  responseRbx: ['u64', 112],
  /** TSC cycles from request to response. */
  responseCycles: ['u32', 120],
  // Progress line: written by the runner, and by the cvm once the runner is gone.
  progressState: ['u32', 128],
  runnerAsleep: ['u32', 132],
  runnerCpu: ['u32', 136],
  // Host line.
  hostAsleep: ['u32', 192],
  hostCpu: ['u32', 196],
  /** Cycles that the host spins for an answer. */
  hostPatience: ['u32', 200],
  // The lines below are used in vm mode only. Host: what a processor has beside the request line.
  /** RCX after EENTER: the address behind the ENCLU. */
  requestRcx: ['u64', 256],
  requestR10: ['u64', 264],
  requestR11: ['u64', 272],
  requestR12: ['u64', 280],
  requestR13: ['u64', 288],
  requestR14: ['u64', 296],
  requestR15: ['u64', 304],
  /** Root of the guest's page tables (CR3), and VM_ROOT_LA57. */
  requestRoot: ['u64', 312],
  // Runner: the other registers of an EEXIT, and the whole address of a page fault outside of the ELRANGE.
  responseRsp: ['u64', 384],
  responseRbp: ['u64', 392],
  responseRflags: ['u64', 400],
  responseR10: ['u64', 408],
  responseR11: ['u64', 416],
  responseR12: ['u64', 424],
  responseR13: ['u64', 432],
  responseR14: ['u64', 440],
  responseR15: ['u64', 448],
});

/** Bit of requestRoot: five levels of page tables. */
export const VM_ROOT_LA57 = 1;

/** ENCLU leaves that a host may ask a gate for. */
export const GATE_FUNCTION = Object.freeze({ EENTER: 2, ERESUME: 3 });

/** With a function: the host's RFLAGS.TF is set. It means something to a TCS with debug opt-in only. */
export const GATE_FUNCTION_TF = 0x100;

/** How an entry ended. For AEX and ENTRY_FAILED: RDI holds vector | error code << 32, RSI the address. */
export const EXIT_KIND = Object.freeze({ NONE: 0, EEXIT: 1, AEX: 2, ENTRY_FAILED: 3, LOST: 4 });

/**
 * Where the runner's thread is. IDLE is also stored while the enclave runs: the sequence numbers tell the two apart,
 * and the line stays in both caches.
 */
export const PROGRESS = Object.freeze({ IDLE: 0, IN_ENCLAVE: 1, IN_MONITOR: 2, IN_KERNEL: 3, LOST: 4 });

/** Vector that an AEX reports for an interrupt (a kick); it has no valid EXITINFO. */
export const INTERRUPT_VECTOR = 32;

/** "No CPU named" in the host and progress lines. */
export const NO_CPU = 0xffff_ffff;
