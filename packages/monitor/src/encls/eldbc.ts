/** ENCLS[ELDBC]. Source: Intel SDM Vol. 3D, "ELDB/ELDU/ELDBC/ELDUC—Load an EPC Page and Mark its State", Operation. */
import type { LeafOutcome } from '../leaf/checks.js';
import { eld, eldChecks } from '../paging/load.js';
import type { FrameOwner, MonitorState } from '../state/state.js';

/** ELDBC's checks, in the manual's order. */
export const ELDBC_CHECKS = eldChecks('ELDBC');

/** RBX = PAGEINFO, RCX = EPC page, RDX = version slot. Child pages are blocked. */
export function eldbc(
  s: MonitorState,
  owner: FrameOwner,
  rbx: number,
  rcx: number,
  rdx: number,
): LeafOutcome {
  return eld(ELDBC_CHECKS, s, owner, rbx, rcx, rdx, true);
}
