/** ENCLS[ETRACKC]. Source: Intel SDM Vol. 3D, "ETRACKC—Activates EBLOCK Checks", Operation. */
import { PT_SECS } from '@nestedsgx/arch';
import { checkList, DONE, type LeafOutcome, PF_EPCM, trip } from '../leaf/checks.js';
import { isChildType } from '../paging/load-run.js';
import { FOREIGN, NOT_EPC } from '../state/frames.js';
import type { FrameOwner, MonitorState } from '../state/state.js';
import { beginTracking } from '../state/tracking.js';

/** ETRACKC's checks, in the manual's order. */
export const ETRACKC_CHECKS = checkList('ETRACKC', [
  ['page-aligned', '#GP(0)', 'RCX is 4096-byte aligned'],
  ['page-in-epc', '#PF', 'RCX resolves within the EPC'],
  ['page-owned', 'REFUSED', 'the EPC frame belongs to the caller', 'deviation'],
  ['page-valid', 'SGX_PG_INVLD', 'EPCM(RCX).VALID = 1'],
  ['tracked-type', 'SGX_TRACK_NOT_REQUIRED', 'EPCM(RCX).PT is PT_REG, PT_TCS, PT_TRIM or PT_SECS', 'carry'],
  ['previous-complete', 'SGX_PREV_TRK_INCMPL', 'no thread of before the previous tracking cycle is inside'],
] as const);

/** RCX = EPC page of the enclave, or its SECS. */
export function etrackc(s: MonitorState, owner: FrameOwner, _rbx: number, rcx: number): LeafOutcome {
  const C = ETRACKC_CHECKS;
  if (rcx % 4096 !== 0) return trip(C, 'page-aligned');
  const frame = s.frames.resolve(owner, rcx);
  if (frame === NOT_EPC) return trip(C, 'page-in-epc', rcx, PF_EPCM);
  if (frame === FOREIGN) return trip(C, 'page-owned');
  if (!s.epcm.valid(frame)) return trip(C, 'page-valid');
  const type = s.epcm.type(frame);
  const child = isChildType(type);
  if (!child && type !== PT_SECS) return trip(C, 'tracked-type');
  const enclave = s.enclaves.get(child ? s.epcm.secs(frame) : frame)!;
  return beginTracking(enclave) ? DONE : trip(C, 'previous-complete');
}
