/**
 * The guest-physical map of the machine. Guest-physical addresses (gPA) are JS numbers below 2^53; the
 * virtual address of guest RAM is the same in the host, the cvm and every runner: base + gPA.
 */

export const PAGE_SIZE = 4096;
/** Bytes under one RMP entry of size 1. */
export const LARGE_PAGE_SIZE = 0x20_0000;

/** Virtual base of slot 0; slot n lies n TiB above. */
export const RAM_SLOT_BASE = 0x1000_0000_0000;
export const RAM_SLOT_STRIDE = 0x100_0000_0000;
export const RAM_SLOTS = 64;

/** Guest RAM starts at gPA 0; page 0 is never used, so that address 0 stays invalid. */
export const RAM_GPA = 0;
export const DEFAULT_RAM_BYTES = 0x4000_0000;
/** One typed array covers all of guest RAM: below 4 GiB in Node 20. */
export const MAX_RAM_BYTES = 0xffe0_0000;
export const MIN_RAM_BYTES = 0x80_0000;

/**
 * The part of guest RAM that guest and cvm share: doorbell, GHCB pages, calling areas, slices. The addresses below are
 * offsets in it. For guests that are processes it is all of guest RAM; a guest with a kernel of its own keeps a window
 * of its RAM from that kernel.
 */
export interface GuestWindow {
  readonly gpa: number;
  readonly bytes: number;
  /** The guest cannot sleep on a futex: who wakes it asks a relay to interrupt it. */
  readonly relayed: boolean;
}

/** The doorbell page: `wake` is the futex the monitor sleeps on, `asleep` is non-zero while it does. */
export const DOORBELL_GPA = 0x1000;
export const DOORBELL_WAKE = 0;
export const DOORBELL_ASLEEP = 64;

/**
 * The relay page of a relayed window (its layout is the processor package's): here the word that is incremented, and woken,
 * when the guest is to be interrupted.
 */
export const RELAY_GPA = 0x2000;
export const RELAY_IRQ_WORD = 3072;

/** GHCB page of vCPU v at VCPU_GPA + v * VCPU_STRIDE, its calling area (CAA) in the page after. */
export const VCPU_GPA = 0x1_0000;
export const VCPU_STRIDE = 0x2000;
export const MAX_VCPUS = 256;
/** Inside the first CAA page of a vCPU, each word on a cache line of its own. */
export const CAA_CALL_PENDING = 0;
export const CAA_RING = 64;
export const CAA_ANSWER = 128;
export const CAA_HOST_ASLEEP = 192;

/** First address of the RAM slices that hosts get. */
export const SLICES_GPA = 0x40_0000;

/** Range of the measured VMPL0 pages of the monitor (bytes: at most MONITOR_BYTES). */
export const MONITOR_GPA = 0x40_0000_0000;
export const MONITOR_BYTES = 0x1_0000_0000;

/** First address of the EPC range. */
export const EPC_GPA = 0x80_0000_0000;
/** Largest EPC a machine may have (1 TiB). */
export const MAX_EPC_BYTES = 0x100_0000_0000;

/** The GHCB page of vCPU `v` of a window at `window`. */
export function ghcbGpa(v: number, window = 0): number {
  return window + VCPU_GPA + v * VCPU_STRIDE;
}

/** The first CAA page of vCPU `v`, which also holds the words both sides sleep on. */
export function caaGpa(v: number, window = 0): number {
  return window + VCPU_GPA + v * VCPU_STRIDE + PAGE_SIZE;
}

/** True for a non-negative safe integer that is a multiple of the page size. */
export function isPageAligned(gpa: number): boolean {
  return Number.isSafeInteger(gpa) && gpa >= 0 && gpa % PAGE_SIZE === 0;
}
