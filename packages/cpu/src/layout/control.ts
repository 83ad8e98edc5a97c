import { defineLayout } from './layout.js';

/** Head of the control memory: shared by the monitor's process and one runner, never by a host. */
export const CONTROL = defineLayout('control', 4096, {
  // Written by the monitor.
  freeze: ['u32', 0],
  epoch: ['u32', 4],
  /** Rows of the site table (PLAN_SITE) that count; it grows while the enclave runs. */
  sites: ['u32', 8],
  // Written by the runner: incremented with every leaf that waits for the monitor.
  ring: ['u32', 64],
  // Written by the runner once: 1 when its filter is in place and its threads serve.
  ready: ['u32', 128],
  lostReason: ['u32', 192],
  lostDetail: ['u32', 196],
  lostAddress: ['u64', 200],
  // Written by the runner's agent: the last PROTECT carried out, and its errno or 0.
  agentSeq: ['u32', 256],
  agentResult: ['u32', 260],
});

/** One TCS in the control memory, at CONTROL.size + index * CONTROL_TCS.size. */
export const CONTROL_TCS = defineLayout('control_tcs', 640, {
  // Written by the runner.
  state: ['u32', 0],
  entryEpoch: ['u32', 4],
  cssa: ['u32', 8],
  tid: ['u32', 12],
  // Written by the monitor.
  admitted: ['u32', 64],
  /** Incremented after the fields below have changed; the runner takes them over at the next entry. */
  generation: ['u32', 68],
  tcs: ['u64', 72],
  ssa: ['u64', 80],
  entry: ['u64', 88],
  fsBase: ['u64', 96],
  gsBase: ['u64', 104],
  nssa: ['u32', 112],
  startCssa: ['u32', 116],
  tcsFlags: ['u32', 120],
  // Leaf mailbox, question: written by the runner.
  leafSeq: ['u32', 128],
  leaf: ['u32', 132],
  leafRbx: ['u64', 136],
  leafRcx: ['u64', 144],
  leafRdx: ['u64', 152],
  // Leaf mailbox, answer: written by the monitor.
  answerSeq: ['u32', 192],
  answerFlags: ['u32', 196],
  answerRax: ['u64', 200],
  answerVector: ['u32', 208],
  answerErrorCode: ['u32', 212],
  answerAddress: ['u64', 216],
  // Counters: written by the runner.
  eenter: ['u64', 256],
  eresume: ['u64', 264],
  eexit: ['u64', 272],
  /** Asynchronous exits by vector; the last one counts interrupts. */
  aex: ['u64', 280, 33],
});

/** Bits of CONTROL_TCS.tcsFlags: as in TCS.FLAGS. */
export const TCS_FLAG = Object.freeze({ DBGOPTIN: 1, AEXNOTIFY: 2 });

/** CONTROL_TCS.state. */
export const TCS_STATE = Object.freeze({ IDLE: 0, ENTERING: 1, INSIDE: 2, LEAF: 3, KERNEL: 4 });

/** Bits of CONTROL_TCS.answerFlags. */
export const ANSWER = Object.freeze({ ZF: 1, CF: 2, FAULT: 4 });

/** CONTROL.lostReason: why a runner gave its enclave up. */
export const LOST_REASON = Object.freeze({
  NONE: 0,
  SSA_WRITE: 1,
  STUB_FAULT: 2,
  PEER_GONE: 3,
  STOPPED: 4,
});

/** Bytes of control memory for an enclave with this many threads. */
export function controlBytes(threads: number): number {
  return Math.ceil((CONTROL.size + threads * CONTROL_TCS.size) / 4096) * 4096;
}
