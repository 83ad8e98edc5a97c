import { defineLayout } from './layout.js';

/**
 * The runner's block for one thread, at RUNNER_MEMORY.THREADS + index * 4096. The register area has GPRSGX's
 * layout, so that an AEX copies it into the SSA frame as it is.
 */
export const THREAD = defineLayout('thread', 4096, {
  hostRsp: ['u64', 0],
  /** Site index << 1 | ZF at the site; negative for a trap. */
  site: ['u32', 8],
  /** 1 from the last steps of an entry until the stub has taken over again. */
  inside: ['u32', 12],
  kickPending: ['u32', 16],
  index: ['u32', 20],
  vector: ['u32', 24],
  errorCode: ['u32', 28],
  address: ['u64', 32],
  exitInfo: ['u32', 40],
  hasExinfo: ['u32', 44],
  // GPRSGX
  rax: ['u64', 64],
  rcx: ['u64', 72],
  rdx: ['u64', 80],
  rbx: ['u64', 88],
  rsp: ['u64', 96],
  rbp: ['u64', 104],
  rsi: ['u64', 112],
  rdi: ['u64', 120],
  r8: ['u64', 128],
  r9: ['u64', 136],
  r10: ['u64', 144],
  r11: ['u64', 152],
  r12: ['u64', 160],
  r13: ['u64', 168],
  r14: ['u64', 176],
  r15: ['u64', 184],
  rflags: ['u64', 192],
  rip: ['u64', 200],
  ursp: ['u64', 208],
  urbp: ['u64', 216],
  fsBase: ['u64', 232],
  gsBase: ['u64', 240],
  // The TCS, taken over from the control memory whenever its generation has changed.
  gate: ['u64', 256],
  control: ['u64', 264],
  tcs: ['u64', 272],
  ssa: ['u64', 280],
  entry: ['u64', 288],
  tcsFsBase: ['u64', 296],
  tcsGsBase: ['u64', 304],
  nssa: ['u32', 312],
  cssa: ['u32', 316],
  tid: ['u32', 320],
  leafSeq: ['u32', 324],
  /** CONTROL_TCS.generation of the TCS fields above. */
  generation: ['u32', 328],
  tcsFlags: ['u32', 332],
  /** Last access by a guarded function that faulted: linear address and the error code as the CPU gave it. */
  guardAddress: ['u64', 336],
  guardError: ['u32', 344],
  /** 1 when a single step ended behind a patched ENCLU's jump: the trap is due after the leaf. */
  step: ['u32', 348],
  // Waiting.
  seen: ['u32', 384],
  mode: ['u32', 388],
  spin: ['u32', 392],
  grace: ['u32', 396],
  hot: ['u32', 400],
  hotNeeded: ['u32', 404],
  cpu: ['u32', 408],
  hits: ['u32', 412],
  published: ['u64', 416],
  accepted: ['u64', 424],
  /** Waits that sleep without letting the host run first, and how many after the next failure. */
  yieldsOff: ['u32', 432],
  yieldsOffFor: ['u32', 436],
  /** In vm mode: root of the page tables of the entry that runs. */
  root: ['u64', 440],
});

/** Why control came back to a runner thread's loop; TRAMPOLINE: it did not, the thread goes on there. */
export const BACK = Object.freeze({ ENCLU: 1, FAULT: 2, RETRY: 3, RESUME_FAULT: 4, TRAMPOLINE: 5 });
