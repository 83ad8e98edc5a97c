/** The whole state that leaf functions work on. */
import type { KeyHierarchy } from '../keys/hierarchy.js';
import type { EvictedEnclave } from '../paging/evicted-enclaves.js';
import { PageCipher } from '../paging/page-cipher.js';
import { VersionArrays } from '../paging/version-arrays.js';
import type { EnclaveProcessor, HashingPort, MachinePort } from '../ports.js';
import { Failures } from './available.js';
import type { EnclaveRecord } from './enclave.js';
import { Epcm } from './epcm.js';
import { type FrameOwner, FrameSpace } from './frames.js';
import type { Platform } from './platform.js';

/** VMPL of the untrusted guest, on whose behalf operands in guest memory are read. */
export const GUEST_VMPL = 1;

/** State of the monitor. */
export interface MonitorState {
  readonly platform: Platform;
  readonly machine: MachinePort;
  readonly processor: EnclaveProcessor;
  readonly hashing: HashingPort;
  readonly keys: KeyHierarchy;
  readonly epcm: Epcm;
  readonly frames: FrameSpace;
  /** Enclaves by frame of their SECS. */
  readonly enclaves: Map<number, EnclaveRecord>;
  /** Enclaves whose SECS is evicted, by EID. */
  readonly evictedEnclaves: Map<number, EvictedEnclave>;
  /** CR_BASE_PK, and the contents of PT_VA pages. */
  readonly pageCipher: PageCipher;
  readonly versions: VersionArrays;
  /** What the processor or the operating system refused. */
  readonly failures: Failures;
  /** CR_NEXT_EID. */
  nextEid: number;
}

/** Fresh state over a machine. */
export function newState(parts: {
  platform: Platform;
  machine: MachinePort;
  processor: EnclaveProcessor;
  hashing: HashingPort;
  keys: KeyHierarchy;
  pageCipher?: PageCipher;
}): MonitorState {
  const frames = new FrameSpace(parts.machine.epcBase, parts.machine.epcBytes);
  return {
    ...parts,
    epcm: new Epcm(),
    frames,
    enclaves: new Map(),
    evictedEnclaves: new Map(),
    pageCipher: parts.pageCipher ?? new PageCipher(),
    versions: new VersionArrays(),
    failures: new Failures(),
    nextEid: 1,
  };
}

/** Guest memory copied once, or null when VMPL1 may not read it. */
export function readGuest(s: MonitorState, gpa: number, length: number): Uint8Array | null {
  if (!Number.isSafeInteger(gpa) || gpa < 0) return null;
  try {
    return s.machine.guest.copyIn(GUEST_VMPL, gpa, length);
  } catch (error) {
    if (isGuestFault(error)) return null;
    throw error;
  }
}

/** Writes guest memory; false when VMPL1 may not write it. */
export function writeGuest(s: MonitorState, gpa: number, bytes: Uint8Array): boolean {
  if (!Number.isSafeInteger(gpa) || gpa < 0) return false;
  try {
    s.machine.guest.copyOut(GUEST_VMPL, gpa, bytes);
    return true;
  } catch (error) {
    if (isGuestFault(error)) return false;
    throw error;
  }
}

/** True when VMPL1 may write all of the range. */
export function guestWritable(s: MonitorState, gpa: number, length: number): boolean {
  if (!Number.isSafeInteger(gpa) || gpa < 0) return false;
  try {
    s.machine.rmp.check(GUEST_VMPL, gpa, length, 'w');
    return true;
  } catch (error) {
    if (isGuestFault(error)) return false;
    throw error;
  }
}

/** True for the typed errors with which the machine refuses a guest access; anything else is a defect. */
export function isGuestFault(error: unknown): boolean {
  if (!(error instanceof Error) || !('code' in error)) return false;
  return error.code === 'NESTED_PAGE_FAULT' || error.code === 'PAGE_NOT_VALIDATED';
}

/** A little-endian u64 as a number; Infinity when it is 2^53 or more (no such address exists here). */
export function u64ToNumber(b: Uint8Array, at: number): number {
  const high = (b[at + 4] | (b[at + 5] << 8) | (b[at + 6] << 16) | (b[at + 7] << 24)) >>> 0;
  if (high > 0x1f_ffff) return Number.POSITIVE_INFINITY;
  return high * 0x1_0000_0000 + ((b[at] | (b[at + 1] << 8) | (b[at + 2] << 16) | (b[at + 3] << 24)) >>> 0);
}

/** A register as an address; Infinity when it is 2^53 or more. */
export function registerToNumber(value: bigint): number {
  return value > 0x1f_ffff_ffff_ffffn || value < 0n ? Number.POSITIVE_INFINITY : Number(value);
}

/** True when the bytes are all zero. */
export function allZero(b: Uint8Array, from = 0, to = b.length): boolean {
  for (let i = from; i < to; i++) if (b[i] !== 0) return false;
  return true;
}

export type { FrameOwner };
