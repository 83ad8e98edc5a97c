/** ENCLU[EACCEPTCOPY]. Source: Intel SDM Vol. 3D, "EACCEPTCOPY—Initialize a Pending Page", Operation. */
import { PT_REG, SECINFO } from '@nestedsgx/arch';
import { checkList, DONE, type LeafOutcome, trip } from '../leaf/checks.js';
import { secinfoFlags, secinfoReservedZero } from '../leaf/secinfo.js';
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
import { inElrange, operandFault, PF_ABSENT_READ, PF_ABSENT_WRITE, PF_ENCLAVE_READ } from './operand.js';

/** EACCEPTCOPY's checks, in the manual's order. */
export const EACCEPTCOPY_CHECKS = checkList('EACCEPTCOPY', [
  ['secinfo-aligned', '#GP(0)', 'SECINFO (RBX) is 64-byte aligned'],
  ['pages-aligned', '#GP(0)', 'destination (RCX) and source (RDX) are 4096-byte aligned'],
  ['operands-in-elrange', '#GP(0)', 'RBX, RCX and RDX lie in the ELRANGE'],
  ['secinfo-in-epc', '#PF', 'RBX resolves within the EPC'],
  ['page-in-epc', '#PF', 'RCX resolves within the EPC'],
  ['source-in-epc', '#PF', 'RDX resolves within the EPC'],
  ['secinfo-page', '#PF', 'EPCM(RBX) is a settled, readable PT_REG page of this enclave, not blocked'],
  ['secinfo-valid', '#GP(0)', 'SECINFO has PT_REG, no reserved bit, and no W without R'],
  ['source-page', '#PF', 'EPCM(RDX) is a settled, readable PT_REG page of this enclave, not blocked'],
  [
    'page-pending',
    'SGX_PAGE_ATTRIBUTES_MISMATCH',
    'EPCM(RCX) is a page as EAUG makes it: PT_REG, RW, PENDING alone, not blocked',
  ],
] as const);

const PAGE = 4096;
const COMPARED = EPCM_RWX | EPCM_PENDING | EPCM_MODIFIED | EPCM_BLOCKED | (0xff << EPCM_PT_SHIFT);
const AUGMENTED = EPCM_R | EPCM_W | EPCM_PENDING | (PT_REG << EPCM_PT_SHIFT);

/** RBX = SECINFO (the rights the page gets), RCX = pending page, RDX = page whose contents it gets. */
export function eacceptcopy(
  s: MonitorState,
  enclave: EnclaveRecord,
  rbx: number,
  rcx: number,
  rdx: number,
): LeafOutcome {
  const C = EACCEPTCOPY_CHECKS;
  const from = rbx - enclave.base;
  const to = rcx - enclave.base;
  const source = rdx - enclave.base;
  if (rbx % 64 !== 0) return trip(C, 'secinfo-aligned');
  if (rcx % PAGE !== 0 || rdx % PAGE !== 0) return trip(C, 'pages-aligned');
  if (!inElrange(enclave, from, 64) || !inElrange(enclave, to, PAGE) || !inElrange(enclave, source, PAGE))
    return trip(C, 'operands-in-elrange');
  const badSecinfo = operandFault(s, enclave, from, false);
  if (badSecinfo === 'not-epc') return trip(C, 'secinfo-in-epc', rbx, PF_ABSENT_READ);
  const frame = enclave.pages.get(to / PAGE);
  if (frame === NO_FRAME) return trip(C, 'page-in-epc', rcx, PF_ABSENT_WRITE);
  const badSource = operandFault(s, enclave, source, false);
  if (badSource === 'not-epc') return trip(C, 'source-in-epc', rdx, PF_ABSENT_READ);
  if (badSecinfo !== null) return trip(C, 'secinfo-page', rbx, PF_ENCLAVE_READ);
  const secinfo = enclave.memory.read(from, SECINFO.size);
  const flags = secinfoFlags(secinfo);
  const writeOnly = (flags & (EPCM_R | EPCM_W)) === EPCM_W;
  if (!secinfoReservedZero(secinfo) || writeOnly || flags >>> EPCM_PT_SHIFT !== PT_REG)
    return trip(C, 'secinfo-valid');
  if (badSource !== null) return trip(C, 'source-page', rdx, PF_ENCLAVE_READ);
  const bits = s.epcm.bits(frame);
  if ((bits & COMPARED) !== AUGMENTED) return trip(C, 'page-pending');
  enclave.memory.write(to, enclave.memory.read(source, PAGE));
  s.epcm.setBits(frame, (bits & ~(EPCM_RWX | EPCM_PENDING)) | (flags & EPCM_RWX));
  installMapping(s, enclave, frame);
  admissionFollows(s, enclave, to);
  return DONE;
}
