/** Which enclave a call is about. */
import type { CallPort } from '../ports.js';
import type { EnclaveRecord } from '../state/enclave.js';
import { NO_FRAME } from '../state/epcm.js';
import type { FrameOwner, MonitorState } from '../state/state.js';

/** Calls below this number are ENCLS leaves. */
export const FIRST_CALL = 0x100;

/**
 * The enclave whose page a call of protocol 0x4E53 names: every ENCLS leaf has an EPC page in its RCX (the call's RDX),
 * calls have theirs in RCX. Undefined where that page belongs to no enclave of the caller's.
 */
export function subjectOf(s: MonitorState, owner: FrameOwner, call: CallPort): EnclaveRecord | undefined {
  const frame = s.frames.resolve(owner, call.call < FIRST_CALL ? call.rdx : call.rcx);
  if (frame < 0 || !s.epcm.valid(frame)) return undefined;
  const secs = s.epcm.secs(frame);
  return s.enclaves.get(secs === NO_FRAME ? frame : secs);
}
