import { defineLayout } from './layout.js';

/** Runner to cvm, first message. */
export const HELLO = defineLayout('hello', 128, {
  magic: ['u32', 0],
  flags: ['u32', 4],
  layout: ['u64', 8],
  xcr0: ['u64', 16],
  xsaveBytes: ['u32', 24],
  signalStackBytes: ['u32', 28],
  /** Selector whose descriptor limit names the thread. */
  selector: ['u32', 32],
  /** Where trampolines of patched sites go. */
  patchedEnclu: ['u32', 36],
  reason: ['u8', 64, 64],
});

/** cvm to runner, with the files of PLAN_FILE. */
export const START = defineLayout('start', 16, {
  magic: ['u32', 0],
  files: ['u32', 4],
  planBytes: ['u64', 8],
});

/** Runner to cvm: everything is mapped (with the userfaultfd, when there is one), or what failed. */
export const STARTED = defineLayout('started', 64, {
  magic: ['u32', 0],
  flags: ['u32', 4],
  step: ['u32', 8],
  errorNumber: ['u32', 12],
  address: ['u64', 16],
  reason: ['u8', 32, 32],
});

/** cvm to a running runner's agent. */
export const AGENT = defineLayout('agent', 40, {
  magic: ['u32', 0],
  op: ['u32', 4],
  /** KICK: which thread. */
  thread: ['u32', 8],
  /** PROTECT: acknowledged as CONTROL.agentSeq. */
  seq: ['u32', 12],
  address: ['u64', 16],
  length: ['u64', 24],
  /** PROT_* flags. */
  prot: ['u32', 32],
});

export const MAGIC = Object.freeze({
  HELLO: 0x4c45_484e,
  START: 0x5453_534e,
  STARTED: 0x5241_534e,
  AGENT: 0x4e47_414e,
});

/** Bits of HELLO.flags. */
export const HELLO_FLAG = Object.freeze({
  REFUSED: 1,
  THREAD_LOOKUP: 2,
  NOT_DUMPABLE_FROM_START: 4,
  USERFAULT: 8,
});

/** Bits of STARTED.flags. */
export const STARTED_FLAG = Object.freeze({ FAILED: 1, USERFAULT: 2, VDSO_SEALED: 4 });

export const AGENT_OP = Object.freeze({ KICK: 1, STOP: 2, PROTECT: 3 });
