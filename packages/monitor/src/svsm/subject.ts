/** Which enclave a call is about. */
import { SGX_CALL } from '@nestedsgx/arch';
import type { CallPort } from '../ports.js';
import type { EnclaveRecord } from '../state/enclave.js';
import { NO_FRAME } from '../state/epcm.js';
import { type FrameOwner, type MonitorState, readGuest, u64ToNumber } from '../state/state.js';

/** Calls below this number are ENCLS leaves. */
export const FIRST_CALL = 0x100;

/** Calls whose RCX is a structure in guest memory that begins with the SECS. */
const SECS_IN_OPERAND: ReadonlySet<number> = new Set([SGX_CALL.ADD_RANGE, SGX_CALL.AUG_RANGE]);

/**
 * The enclave whose page a call of protocol 0x4E53 names: every ENCLS leaf has an EPC page in its RCX (the call's RDX),
 * calls have theirs in RCX or in the structure there. Undefined where that page belongs to no enclave of the caller's.
 * For counting and tracing only: a structure may say something else by the time the call itself reads it.
 */
export function subjectOf(s: MonitorState, owner: FrameOwner, call: CallPort): EnclaveRecord | undefined {
  const frame = s.frames.resolve(owner, pageOf(s, call));
  if (frame < 0 || !s.epcm.valid(frame)) return undefined;
  const secs = s.epcm.secs(frame);
  return s.enclaves.get(secs === NO_FRAME ? frame : secs);
}

function pageOf(s: MonitorState, call: CallPort): number {
  if (call.call < FIRST_CALL) return call.rdx;
  if (!SECS_IN_OPERAND.has(call.call) || call.rcx % 8 !== 0) return call.rcx;
  const secs = readGuest(s, call.rcx, 8);
  return secs === null ? -1 : u64ToNumber(secs, 0);
}
