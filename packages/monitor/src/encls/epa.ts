/** ENCLS[EPA]. Source: Intel SDM Vol. 3D, "EPA—Add Version Array", Operation. */
import { PT_VA } from '@nestedsgx/arch';
import { checkList, DONE, type LeafOutcome, PF_ACCESS, trip } from '../leaf/checks.js';
import { EPCM_PT_SHIFT, NO_FRAME } from '../state/epcm.js';
import { FOREIGN, NOT_EPC } from '../state/frames.js';
import type { FrameOwner, MonitorState } from '../state/state.js';

/** EPA's checks, in the manual's order. */
export const EPA_CHECKS = checkList('EPA', [
  ['type-and-alignment', '#GP(0)', 'RBX = PT_VA and RCX is 4096-byte aligned'],
  ['page-in-epc', '#PF', 'RCX resolves within the EPC'],
  ['page-owned', 'REFUSED', 'the EPC frame belongs to the caller', 'deviation'],
  ['page-free', '#PF', 'EPCM(RCX).VALID = 0'],
] as const);

/** RBX = PT_VA, RCX = EPC page. */
export function epa(s: MonitorState, owner: FrameOwner, rbx: number, rcx: number): LeafOutcome {
  const C = EPA_CHECKS;
  if (rbx !== PT_VA || rcx % 4096 !== 0) return trip(C, 'type-and-alignment');
  const frame = s.frames.resolve(owner, rcx);
  if (frame === NOT_EPC) return trip(C, 'page-in-epc', rcx, PF_ACCESS);
  if (frame === FOREIGN) return trip(C, 'page-owned');
  if (s.epcm.valid(frame)) return trip(C, 'page-free', rcx);
  s.versions.create(frame);
  s.epcm.fill(frame, PT_VA << EPCM_PT_SHIFT, NO_FRAME, 0);
  return DONE;
}
