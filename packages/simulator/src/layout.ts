/** Where things lie in the simulated machine: guest RAM, EPC frames, ELRANGEs. All of it is fixed. */

export const PAGE = 4096;

/** Frames of the caller's own connection are 0 … OWN_FRAMES − 1; the rest belongs to another one. */
export const OWN_FRAMES = 20;
export const FOREIGN_FRAMES = 2;
export const FRAMES = OWN_FRAMES + FOREIGN_FRAMES;
/** A frame number that stands for an address outside the EPC. */
export const OUTSIDE = 99;
export const EPC_BASE = 0x80_0000_0000;

/** gPA of a frame; {@link OUTSIDE} and all numbers beyond the EPC are gPAs behind it. */
export function frameGpa(frame: number): number {
  return EPC_BASE + frame * PAGE;
}

/** Pages of an ELRANGE, and where the two kinds of enclave lie. */
export const ELRANGE_PAGES = 16;
export const ELRANGE = ELRANGE_PAGES * PAGE;
export const BASES: readonly number[] = [0x1000_0000, 0x2000_0000];

/** Threads that the processor has gates for. */
export const GATES = 20;

/** Operands of a leaf in guest RAM. Everything is rewritten before each leaf that uses it. */
export const AT = Object.freeze({
  PAGEINFO: 0x1000,
  SECINFO: 0x1040,
  RDINFO: 0x1080,
  SECS: 0x2000,
  /** First of the source pages of EADD. */
  SOURCES: 0x3000,
  SIGSTRUCT: 0x1_0000,
  TOKEN: 0x1_1000,
  /** First of the pages that EWB writes to. */
  SWAP: 0x1_8000,
  /** First of their PCMDs, 128 bytes each. */
  PCMD: 0x2_0000,
  /** A page VMPL1 may not touch. */
  DENIED: 0x3_0000,
  /** A page VMPL1 may only read. */
  READ_ONLY: 0x3_1000,
  GATES: 0x3_4000,
});
export const SWAP_PAGES = 8;
export const RAM_BYTES = 0x5_0000;

/** A SECS with the right fields is at {@link AT}.SECS; these are the source pages. */
export const SOURCE = Object.freeze({
  ZERO: 0,
  PATTERN: 1,
  /** A TCS with two SSA frames. */
  TCS: 2,
  /** A TCS with one SSA frame elsewhere. */
  TCS_ONE: 3,
  TCS_RESERVED: 4,
  TCS_BAD_LIMITS: 5,
  TCS_OSSA_UNALIGNED: 6,
  TCS_BASES_UNALIGNED: 7,
  TCS_NO_SSA: 8,
  TCS_DBGOPTIN: 9,
  TCS_BASE_FAR: 10,
  TCS_ENTRY_FAR: 11,
  TCS_AEXNOTIFY: 12,
});
export const SOURCES = 13;

/** True for pages that the TCS of {@link SOURCE} name as SSA frames. */
export function isSsaPage(page: number): boolean {
  return page >= 2 && page <= 5;
}
