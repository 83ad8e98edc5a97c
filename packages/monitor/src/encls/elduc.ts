/** ENCLS[ELDUC]. Source: Intel SDM Vol. 3D, "ELDB/ELDU/ELDBC/ELDUC—Load an EPC Page and Mark its State", Operation. */
import type { LeafOutcome } from '../leaf/checks.js';
import { eld, eldChecks } from '../paging/load.js';
import type { FrameOwner, MonitorState } from '../state/state.js';

/** ELDUC's checks, in the manual's order. */
export const ELDUC_CHECKS = eldChecks('ELDUC');

/** RBX = PAGEINFO, RCX = EPC page, RDX = version slot. Child pages are not blocked. */
export function elduc(
  s: MonitorState,
  owner: FrameOwner,
  rbx: number,
  rcx: number,
  rdx: number,
): LeafOutcome {
  return eld(ELDUC_CHECKS, s, owner, rbx, rcx, rdx, false);
}
