/** ENCLS[ETRACK]. Source: Intel SDM Vol. 3D, "ETRACK—Activates EBLOCK Checks", Operation. */
import { PT_SECS } from '@nestedsgx/arch';
import { checkList, DONE, type LeafOutcome, PF_ACCESS, trip } from '../leaf/checks.js';
import { FOREIGN, NOT_EPC } from '../state/frames.js';
import type { FrameOwner, MonitorState } from '../state/state.js';
import { beginTracking } from '../state/tracking.js';

/** ETRACK's checks, in the manual's order. */
export const ETRACK_CHECKS = checkList('ETRACK', [
  ['secs-aligned', '#GP(0)', 'RCX is 4096-byte aligned'],
  ['secs-in-epc', '#PF', 'RCX resolves within the EPC'],
  ['secs-owned', 'REFUSED', 'the SECS belongs to the caller', 'deviation'],
  ['secs-valid', '#PF', 'EPCM(RCX).VALID = 1'],
  ['secs-type', '#PF', 'EPCM(RCX).PT = PT_SECS'],
  ['previous-complete', 'SGX_PREV_TRK_INCMPL', 'no thread of before the previous tracking cycle is inside'],
] as const);

/** RCX = SECS. */
export function etrack(s: MonitorState, owner: FrameOwner, _rbx: number, rcx: number): LeafOutcome {
  const C = ETRACK_CHECKS;
  if (rcx % 4096 !== 0) return trip(C, 'secs-aligned');
  const frame = s.frames.resolve(owner, rcx);
  if (frame === NOT_EPC) return trip(C, 'secs-in-epc', rcx, PF_ACCESS);
  if (frame === FOREIGN) return trip(C, 'secs-owned');
  if (!s.epcm.valid(frame)) return trip(C, 'secs-valid', rcx);
  if (s.epcm.type(frame) !== PT_SECS) return trip(C, 'secs-type', rcx);
  return beginTracking(s.enclaves.get(frame)!) ? DONE : trip(C, 'previous-complete');
}
