import { defineLayout } from './layout.js';

/** Head of the plan: a memory file that tells a runner all it has to know about its enclave. */
export const PLAN = defineLayout('plan', 256, {
  magic: ['u32', 0],
  flags: ['u32', 4],
  base: ['u64', 8],
  size: ['u64', 16],
  ramBase: ['u64', 24],
  ramBytes: ['u64', 32],
  doorbell: ['u64', 40],
  xfrm: ['u64', 48],
  ssaFrameBytes: ['u32', 56],
  miscselect: ['u32', 60],
  /** Threads to start: one for each gate. */
  threads: ['u32', 64],
  maps: ['u32', 72],
  mapsAt: ['u32', 76],
  ranges: ['u32', 80],
  rangesAt: ['u32', 84],
  /** Rows that the site table at RUNNER_MEMORY.SITES can hold; 0: it is not mapped. */
  sites: ['u32', 88],
  /** Span around the ELRANGE that stays mapped (ELRANGE and the trampolines beside it). */
  spanStart: ['u64', 96],
  spanEnd: ['u64', 104],
  /** Address of thread 0's gate page; the others follow. */
  gates: ['u64', 112],
  /** In vm mode: the word to increment and wake for a guest that sleeps. The REVOKE page lies behind the gates. */
  wakeWord: ['u64', 120],
});

/** One mapping: which of the files sent with START goes where. */
export const PLAN_MAP = defineLayout('plan_map', 32, {
  address: ['u64', 0],
  length: ['u64', 8],
  offset: ['u64', 16],
  file: ['u32', 24],
  flags: ['u32', 28],
});

/** One range of pages that the enclave has, sorted by address: tells the causes of a page fault apart. */
export const PLAN_RANGE = defineLayout('plan_range', 24, {
  address: ['u64', 0],
  length: ['u64', 8],
  permissions: ['u32', 16],
  reserved: ['u32', 20],
});

/** One site, in the site table. The monitor adds rows while the enclave runs; of the others only RETIRED changes. */
export const PLAN_SITE = defineLayout('plan_site', 16, {
  /** Address of the ENCLU. */
  enclu: ['u64', 0],
  leaf: ['u32', 8],
  kind: ['u32', 12],
});

/**
 * What was overwritten. SHORT, LONG: the 5 or 7 bytes of the mov before the ENCLU; its first byte is INT3 for a moment
 * while the patch is taken back. BREAKPOINT: the first byte of the ENCLU, by INT3. RETIRED is a flag: not patched now.
 * The second byte counts the bytes of code between mov and ENCLU, which the trampoline executes.
 */
export const SITE_KIND = Object.freeze({ SHORT: 1, LONG: 2, BREAKPOINT: 3, RETIRED: 0x80, GAP: 0x100 });

export const PLAN_SIGNATURE = 0x4e41_4c50;

/** Bits of PLAN.flags. */
export const PLAN_FLAG = Object.freeze({ USERFAULT: 1, DEBUG: 2, AEXNOTIFY: 4, VM: 8, DESCRIPTORS: 16 });

/** Bits of PLAN_MAP.flags; the low three are PROT_READ, PROT_WRITE, PROT_EXEC. */
export const MAP_FLAG = Object.freeze({ R: 1, W: 2, X: 4, POPULATE: 8, USERFAULT: 16 });

/** Files sent with START, in this order. GRANTS counts with PLAN_FLAG.DESCRIPTORS only. */
export const PLAN_FILE = Object.freeze({ PLAN: 0, RAM: 1, EPC: 2, CONTROL: 3, STUB: 4, GRANTS: 5, COUNT: 6 });
