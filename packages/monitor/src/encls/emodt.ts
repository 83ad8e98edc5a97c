/** ENCLS[EMODT]. Source: Intel SDM Vol. 3D, "EMODT—Change the Type of an EPC Page", Operation. */
import { PT_REG, PT_TCS, PT_TRIM, SECINFO } from '@nestedsgx/arch';
import { checkList, DONE, type LeafOutcome, PF_ACCESS, trip } from '../leaf/checks.js';
import { secinfoReservedZero } from '../leaf/secinfo.js';
import { EPCM_BLOCKED, EPCM_MODIFIED, EPCM_PENDING, EPCM_PT_SHIFT } from '../state/epcm.js';
import { FOREIGN, NOT_EPC } from '../state/frames.js';
import { installMapping } from '../state/mapping.js';
import { type FrameOwner, type MonitorState, readGuest } from '../state/state.js';
import { admissionFollows } from '../state/threads.js';
import { stampPage } from '../state/tracking.js';

/** EMODT's checks, in the manual's order. */
export const EMODT_CHECKS = checkList('EMODT', [
  ['secinfo-aligned', '#GP(0)', 'SECINFO (RBX) is 64-byte aligned'],
  ['page-aligned', '#GP(0)', 'the page (RCX) is 4096-byte aligned'],
  ['page-in-epc', '#PF', 'RCX resolves within the EPC'],
  ['page-owned', 'REFUSED', 'the EPC frame belongs to the caller', 'deviation'],
  ['secinfo-readable', '#PF', 'SECINFO can be read'],
  ['secinfo-valid', '#GP(0)', 'SECINFO has PT_TCS or PT_TRIM and no reserved bit'],
  ['page-valid', '#PF', 'EPCM(RCX).VALID = 1'],
  ['page-type', '#PF', 'EPCM(RCX).PT is PT_REG, or PT_TCS that becomes PT_TRIM'],
  ['modifiable', 'SGX_PAGE_NOT_MODIFIABLE', 'EPCM(RCX).PENDING = 0 and MODIFIED = 0'],
  ['initialized', '#GP(0)', 'the enclave is initialized'],
] as const);

/**
 * RBX = SECINFO (the new type), RCX = EPC page. The page is out of reach on return and keeps its contents. A TCS keeps
 * its thread slot until EREMOVE: a thread that is inside stays inside, and nobody enters again.
 */
export function emodt(s: MonitorState, owner: FrameOwner, rbx: number, rcx: number): LeafOutcome {
  const C = EMODT_CHECKS;
  if (rbx % 64 !== 0) return trip(C, 'secinfo-aligned');
  if (rcx % 4096 !== 0) return trip(C, 'page-aligned');
  const frame = s.frames.resolve(owner, rcx);
  if (frame === NOT_EPC) return trip(C, 'page-in-epc', rcx, PF_ACCESS);
  if (frame === FOREIGN) return trip(C, 'page-owned');
  const secinfo = readGuest(s, rbx, SECINFO.size);
  if (secinfo === null) return trip(C, 'secinfo-readable', rbx, PF_ACCESS);
  const wanted = secinfo[1];
  if (!secinfoReservedZero(secinfo) || (wanted !== PT_TCS && wanted !== PT_TRIM))
    return trip(C, 'secinfo-valid');
  if (!s.epcm.valid(frame)) return trip(C, 'page-valid', rcx);
  const type = s.epcm.type(frame);
  if (type !== PT_REG && !(type === PT_TCS && wanted === PT_TRIM)) return trip(C, 'page-type', rcx);
  const bits = s.epcm.bits(frame);
  if ((bits & (EPCM_PENDING | EPCM_MODIFIED)) !== 0) return trip(C, 'modifiable');
  const enclave = s.enclaves.get(s.epcm.secs(frame))!;
  if (!enclave.initialized) return trip(C, 'initialized');
  s.epcm.setBits(frame, (bits & EPCM_BLOCKED) | EPCM_MODIFIED | (wanted << EPCM_PT_SHIFT));
  stampPage(s.epcm, enclave, frame);
  installMapping(s, enclave, frame);
  admissionFollows(s, enclave, s.epcm.address(frame) - enclave.base);
  return DONE;
}
