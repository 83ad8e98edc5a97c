/** ENCLS[EMODPR]. Source: Intel SDM Vol. 3D, "EMODPR—Restrict the Permissions of an EPC Page", Operation. */
import { PT_REG, SECINFO, SECINFO_R, SECINFO_W } from '@nestedsgx/arch';
import { checkList, DONE, type LeafOutcome, PF_ACCESS, trip } from '../leaf/checks.js';
import { secinfoReservedZero } from '../leaf/secinfo.js';
import type { EnclaveRecord } from '../state/enclave.js';
import { EPCM_MODIFIED, EPCM_PENDING, EPCM_PR, EPCM_RWX } from '../state/epcm.js';
import { FOREIGN, NOT_EPC } from '../state/frames.js';
import { installMapping } from '../state/mapping.js';
import { type FrameOwner, type MonitorState, readGuest } from '../state/state.js';
import { admissionFollows } from '../state/threads.js';
import { stampPage } from '../state/tracking.js';

/** EMODPR's checks, in the manual's order. */
export const EMODPR_CHECKS = checkList('EMODPR', [
  ['secinfo-aligned', '#GP(0)', 'SECINFO (RBX) is 64-byte aligned'],
  ['page-aligned', '#GP(0)', 'the page (RCX) is 4096-byte aligned'],
  ['page-in-epc', '#PF', 'RCX resolves within the EPC'],
  ['page-owned', 'REFUSED', 'the EPC frame belongs to the caller', 'deviation'],
  ['secinfo-readable', '#PF', 'SECINFO can be read'],
  ['secinfo-valid', '#GP(0)', 'SECINFO has no reserved bit, and no W without R'],
  ['page-valid', '#PF', 'EPCM(RCX).VALID = 1'],
  ['modifiable', 'SGX_PAGE_NOT_MODIFIABLE', 'EPCM(RCX).PENDING = 0 and MODIFIED = 0'],
  ['page-type', '#PF', 'EPCM(RCX).PT is PT_REG'],
  ['initialized', '#GP(0)', 'the enclave is initialized'],
] as const);

/** RBX = SECINFO (the rights that stay), RCX = EPC page. What is taken away is gone for all threads on return. */
export function emodpr(s: MonitorState, owner: FrameOwner, rbx: number, rcx: number): LeafOutcome {
  const C = EMODPR_CHECKS;
  if (rbx % 64 !== 0) return trip(C, 'secinfo-aligned');
  if (rcx % 4096 !== 0) return trip(C, 'page-aligned');
  const frame = s.frames.resolve(owner, rcx);
  if (frame === NOT_EPC) return trip(C, 'page-in-epc', rcx, PF_ACCESS);
  if (frame === FOREIGN) return trip(C, 'page-owned');
  const secinfo = readGuest(s, rbx, SECINFO.size);
  if (secinfo === null) return trip(C, 'secinfo-readable', rbx, PF_ACCESS);
  if (!secinfoReservedZero(secinfo) || (secinfo[0] & (SECINFO_R | SECINFO_W)) === SECINFO_W)
    return trip(C, 'secinfo-valid');
  const refused = emodprCheckPage(s, frame, rcx);
  if (refused !== null) return refused;
  const enclave = s.enclaves.get(s.epcm.secs(frame))!;
  if (!enclave.initialized) return trip(C, 'initialized');
  restrictEntry(s, enclave, frame, secinfo[0]);
  installMapping(s, enclave, frame);
  admissionFollows(s, enclave, s.epcm.address(frame) - enclave.base);
  return DONE;
}

/** The checks of the page itself; `address` is what a fault tells. */
export function emodprCheckPage(s: MonitorState, frame: number, address: number): LeafOutcome | null {
  const C = EMODPR_CHECKS;
  if (!s.epcm.valid(frame)) return trip(C, 'page-valid', address);
  if ((s.epcm.bits(frame) & (EPCM_PENDING | EPCM_MODIFIED)) !== 0) return trip(C, 'modifiable');
  return s.epcm.type(frame) === PT_REG ? null : trip(C, 'page-type', address);
}

/** Leaves a page of those rights that it has these; its mapping is the caller's to change. */
export function restrictEntry(s: MonitorState, enclave: EnclaveRecord, frame: number, rights: number): void {
  s.epcm.setBits(frame, (s.epcm.bits(frame) & ~(EPCM_RWX & ~rights)) | EPCM_PR);
  stampPage(s.epcm, enclave, frame);
}
