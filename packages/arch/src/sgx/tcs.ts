/** Thread Control Structure. Source: Intel SDM Vol. 3D, "Thread Control Structure (TCS)". */
import { u32, u64 } from '../codec/field.js';
import { at, type StructValue, struct } from '../codec/struct.js';

/**
 * TCS (4096 bytes). OSSA, OENTRY, OFSBASE, OGSBASE are offsets from BASEADDR. STATE is the manual's first
 * reserved quadword, which the CPU uses for the state of execution.
 */
export const TCS = struct('TCS', 4096, {
  STATE: at(0, u64),
  FLAGS: at(8, u64),
  OSSA: at(16, u64),
  CSSA: at(24, u32),
  NSSA: at(28, u32),
  OENTRY: at(32, u64),
  AEP: at(40, u64),
  OFSBASE: at(48, u64),
  OGSBASE: at(56, u64),
  FSLIMIT: at(64, u32),
  GSLIMIT: at(68, u32),
  OCETSSA: at(72, u64),
  PREVSSP: at(80, u64),
});
/** Decoded {@link TCS}. */
export type Tcs = StructValue<typeof TCS>;

/** TCS.FLAGS.DBGOPTIN: the debugger may see this thread. SDM Vol. 3D, "TCS.FLAGS". */
export const TCS_DBGOPTIN = 1n << 0n;
/** TCS.FLAGS.AEXNOTIFY: ERESUME may deliver a notification. SDM Vol. 3D, "TCS.FLAGS". */
export const TCS_AEXNOTIFY = 1n << 1n;
