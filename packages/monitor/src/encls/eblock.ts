/** ENCLS[EBLOCK]. Source: Intel SDM Vol. 3D, "EBLOCK—Mark a page in EPC as Blocked", Operation. */
import { PT_SECS } from '@nestedsgx/arch';
import { checkList, DONE, type LeafOutcome, PF_ACCESS, trip } from '../leaf/checks.js';
import { isChildType } from '../paging/load-run.js';
import type { EnclaveRecord } from '../state/enclave.js';
import { EPCM_BLOCKED } from '../state/epcm.js';
import { FOREIGN, NOT_EPC } from '../state/frames.js';
import { installMapping } from '../state/mapping.js';
import type { FrameOwner, MonitorState } from '../state/state.js';
import { admissionFollows } from '../state/threads.js';
import { stampPage } from '../state/tracking.js';

/** EBLOCK's checks, in the manual's order. */
export const EBLOCK_CHECKS = checkList('EBLOCK', [
  ['page-aligned', '#GP(0)', 'RCX is 4096-byte aligned'],
  ['page-in-epc', '#PF', 'RCX resolves within the EPC'],
  ['page-owned', 'REFUSED', 'the EPC frame belongs to the caller', 'deviation'],
  ['page-valid', 'SGX_PG_INVLD', 'EPCM(RCX).VALID = 1'],
  ['not-secs', 'SGX_PG_IS_SECS', 'EPCM(RCX).PT is not PT_SECS', 'carry'],
  ['blockable', 'SGX_NOTBLOCKABLE', 'EPCM(RCX).PT is PT_REG, PT_TCS or PT_TRIM', 'carry'],
  ['not-blocked', 'SGX_BLKSTATE', 'EPCM(RCX).BLOCKED = 0', 'carry'],
] as const);

/** RCX = EPC page. Threads inside lose their mapping of it at once. */
export function eblock(s: MonitorState, owner: FrameOwner, _rbx: number, rcx: number): LeafOutcome {
  const refused = eblockCheckPage(s, owner, rcx);
  if (refused !== null) return refused;
  const frame = s.frames.resolve(owner, rcx);
  if ((s.epcm.bits(frame) & EPCM_BLOCKED) !== 0) return trip(EBLOCK_CHECKS, 'not-blocked');
  const enclave = s.enclaves.get(s.epcm.secs(frame))!;
  block(s, enclave, frame);
  installMapping(s, enclave, frame);
  admissionFollows(s, enclave, s.epcm.address(frame) - enclave.base);
  return DONE;
}

/** EBLOCK's checks up to what kind of page it is. */
export function eblockCheckPage(s: MonitorState, owner: FrameOwner, rcx: number): LeafOutcome | null {
  const C = EBLOCK_CHECKS;
  if (rcx % 4096 !== 0) return trip(C, 'page-aligned');
  const frame = s.frames.resolve(owner, rcx);
  if (frame === NOT_EPC) return trip(C, 'page-in-epc', rcx, PF_ACCESS);
  if (frame === FOREIGN) return trip(C, 'page-owned');
  if (!s.epcm.valid(frame)) return trip(C, 'page-valid');
  const type = s.epcm.type(frame);
  if (type === PT_SECS) return trip(C, 'not-secs');
  if (!isChildType(type)) return trip(C, 'blockable');
  return null;
}

/** BLOCKED := 1, with the present tracking epoch. */
export function block(s: MonitorState, enclave: EnclaveRecord, frame: number): void {
  s.epcm.setBits(frame, s.epcm.bits(frame) | EPCM_BLOCKED);
  stampPage(s.epcm, enclave, frame);
}
