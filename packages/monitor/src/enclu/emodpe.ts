/** ENCLU[EMODPE]. Source: Intel SDM Vol. 3D, "EMODPE—Extend an EPC Page Permissions", Operation. */
import { PT_REG, SECINFO } from '@nestedsgx/arch';
import { checkList, DONE, type LeafOutcome, trip } from '../leaf/checks.js';
import { secinfoReservedZero } from '../leaf/secinfo.js';
import type { EnclaveRecord } from '../state/enclave.js';
import {
  EPCM_BLOCKED,
  EPCM_MODIFIED,
  EPCM_PENDING,
  EPCM_PT_SHIFT,
  EPCM_R,
  EPCM_RWX,
  EPCM_W,
  NO_FRAME,
} from '../state/epcm.js';
import { installMapping } from '../state/mapping.js';
import type { MonitorState } from '../state/state.js';
import { admissionFollows } from '../state/threads.js';
import { inElrange, operandFault, PF_ABSENT_READ, PF_ENCLAVE_READ } from './operand.js';

/** EMODPE's checks, in the manual's order. */
export const EMODPE_CHECKS = checkList('EMODPE', [
  ['secinfo-aligned', '#GP(0)', 'SECINFO (RBX) is 64-byte aligned'],
  ['page-aligned', '#GP(0)', 'the page (RCX) is 4096-byte aligned'],
  ['operands-in-elrange', '#GP(0)', 'RBX and RCX lie in the ELRANGE'],
  ['secinfo-in-epc', '#PF', 'RBX resolves within the EPC'],
  ['page-in-epc', '#PF', 'RCX resolves within the EPC'],
  ['secinfo-page', '#PF', 'EPCM(RBX) is a settled, readable PT_REG page of this enclave, not blocked'],
  ['secinfo-reserved-zero', '#GP(0)', 'reserved fields of SECINFO are 0'],
  ['page-settled', '#PF', 'EPCM(RCX) is a settled PT_REG page of this enclave, not blocked'],
  ['write-needs-read', '#GP(0)', 'W is not given to a page that has no R and gets none'],
] as const);

const PAGE = 4096;

/** RBX = SECINFO (the rights to add), RCX = EPC page. The mapping follows at once, within what the guest allows. */
export function emodpe(s: MonitorState, enclave: EnclaveRecord, rbx: number, rcx: number): LeafOutcome {
  const C = EMODPE_CHECKS;
  const from = rbx - enclave.base;
  const offset = rcx - enclave.base;
  if (rbx % 64 !== 0) return trip(C, 'secinfo-aligned');
  if (rcx % PAGE !== 0) return trip(C, 'page-aligned');
  if (!inElrange(enclave, from, 64) || !inElrange(enclave, offset, PAGE))
    return trip(C, 'operands-in-elrange');
  const bad = operandFault(s, enclave, from, false);
  if (bad === 'not-epc') return trip(C, 'secinfo-in-epc', rbx, PF_ABSENT_READ);
  const frame = enclave.pages.get(offset / PAGE);
  if (frame === NO_FRAME) return trip(C, 'page-in-epc', rcx, PF_ABSENT_READ);
  if (bad !== null) return trip(C, 'secinfo-page', rbx, PF_ENCLAVE_READ);
  const secinfo = enclave.memory.read(from, SECINFO.size);
  if (!secinfoReservedZero(secinfo)) return trip(C, 'secinfo-reserved-zero');
  const bits = s.epcm.bits(frame);
  const unsettled = (bits & (EPCM_PENDING | EPCM_MODIFIED | EPCM_BLOCKED)) !== 0;
  if (unsettled || bits >>> EPCM_PT_SHIFT !== PT_REG) return trip(C, 'page-settled', rcx, PF_ENCLAVE_READ);
  const added = secinfo[0] & EPCM_RWX;
  if (((bits | added) & EPCM_R) === 0 && (added & EPCM_W) !== 0) return trip(C, 'write-needs-read');
  s.epcm.setBits(frame, bits | added);
  installMapping(s, enclave, frame);
  // The enclave can ask for what it has as often as it likes; looking at all its threads takes time.
  if ((bits | added) !== bits) admissionFollows(s, enclave, offset);
  return DONE;
}
