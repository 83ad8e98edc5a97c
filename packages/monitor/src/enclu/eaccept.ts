/** ENCLU[EACCEPT]. Source: Intel SDM Vol. 3D, "EACCEPT—Accept Changes to an EPC Page", Operation. */
import { ATTRIBUTES_MODE64BIT, PT_REG, PT_TCS, PT_TRIM } from '@nestedsgx/arch';
import { checkList, DONE, type LeafOutcome, trip } from '../leaf/checks.js';
import { tcsInitial, tcsLimitsWhole, tcsReservedZero } from '../leaf/tcs-page.js';
import type { EnclaveRecord } from '../state/enclave.js';
import {
  EPCM_BLOCKED,
  EPCM_MODIFIED,
  EPCM_PENDING,
  EPCM_PR,
  EPCM_PT_SHIFT,
  EPCM_RWX,
  NO_FRAME,
} from '../state/epcm.js';
import { installMapping } from '../state/mapping.js';
import type { MonitorState } from '../state/state.js';
import { admissionFollows, settleTcs } from '../state/threads.js';
import { pageTracked } from '../state/tracking.js';
import { inElrange, PF_ABSENT_READ, PF_ENCLAVE_READ, SECINFO_ROWS, secinfoOperand } from './operand.js';

/** EACCEPT's checks, in the manual's order. */
export const EACCEPT_CHECKS = checkList('EACCEPT', [
  ...SECINFO_ROWS,
  ['page-aligned', '#GP(0)', 'the page (RCX) is 4096-byte aligned'],
  ['page-in-elrange', '#GP(0)', 'RCX lies in the ELRANGE'],
  ['page-in-epc', '#PF', 'RCX resolves within the EPC'],
  [
    'request-legal',
    '#GP(0)',
    'SECINFO asks for PT_REG with PR or PENDING and without MODIFIED, or for PT_TCS or PT_TRIM with MODIFIED alone',
  ],
  ['page-usable', '#PF', 'EPCM(RCX) is a valid page of this enclave that is not blocked'],
  [
    'request-matches',
    'SGX_PAGE_ATTRIBUTES_MISMATCH',
    'PENDING, MODIFIED, R, W, X and PT of the page are those of SECINFO',
  ],
  ['tracked', 'SGX_NOT_TRACKED', 'all threads that may hold stale translations of the page have left'],
  ['tcs-reserved-zero', '#GP(0)', 'PT_TCS: reserved fields of the TCS are 0'],
  ['tcs-initial', '#GP(0)', 'PT_TCS: DBGOPTIN, AEP and STATE are 0 and CSSA < NSSA'],
  ['tcs-limits-32', '#GP(0)', 'PT_TCS, not MODE64BIT: FSLIMIT and GSLIMIT end in FFFH'],
] as const);

const PAGE = 4096;
/** What must be equal in SECINFO.FLAGS and EPCM. */
const COMPARED = EPCM_RWX | EPCM_PENDING | EPCM_MODIFIED | (0xff << EPCM_PT_SHIFT);

/** RBX = SECINFO (what the enclave expects), RCX = EPC page; both linear addresses of the enclave. */
export function eaccept(s: MonitorState, enclave: EnclaveRecord, rbx: number, rcx: number): LeafOutcome {
  const C = EACCEPT_CHECKS;
  const offset = rcx - enclave.base;
  const flags = secinfoOperand(C, s, enclave, rbx);
  if (typeof flags !== 'number') return flags;
  if (rcx % PAGE !== 0) return trip(C, 'page-aligned');
  if (!inElrange(enclave, offset, PAGE)) return trip(C, 'page-in-elrange');
  const frame = enclave.pages.get(offset / PAGE);
  if (frame === NO_FRAME) return trip(C, 'page-in-epc', rcx, PF_ABSENT_READ);
  if (!requestLegal(flags)) return trip(C, 'request-legal');
  const bits = s.epcm.bits(frame);
  if ((bits & EPCM_BLOCKED) !== 0) return trip(C, 'page-usable', rcx, PF_ENCLAVE_READ);
  if (((bits ^ flags) & COMPARED) !== 0) return trip(C, 'request-matches');
  if (!pageTracked(s.epcm, enclave, frame)) return trip(C, 'tracked');
  const becomesTcs = flags >>> EPCM_PT_SHIFT === PT_TCS;
  if (becomesTcs) {
    const refused = checkTcs(enclave, enclave.memory.read(offset, PAGE));
    if (refused !== null) return refused;
  }
  s.epcm.setBits(frame, bits & ~(EPCM_PENDING | EPCM_MODIFIED | EPCM_PR));
  if (becomesTcs) settleTcs(s, enclave, frame);
  else installMapping(s, enclave, frame);
  admissionFollows(s, enclave, offset);
  return DONE;
}

/** The combinations of PT, PR, PENDING and MODIFIED that can be asked for. */
function requestLegal(flags: number): boolean {
  const state = flags & (EPCM_PENDING | EPCM_MODIFIED | EPCM_PR);
  const type = flags >>> EPCM_PT_SHIFT;
  if (type === PT_REG) return state !== 0 && (state & EPCM_MODIFIED) === 0;
  return (type === PT_TCS || type === PT_TRIM) && state === EPCM_MODIFIED;
}

function checkTcs(enclave: EnclaveRecord, tcs: Uint8Array): LeafOutcome | null {
  const C = EACCEPT_CHECKS;
  if (!tcsReservedZero(tcs)) return trip(C, 'tcs-reserved-zero');
  if (!tcsInitial(tcs)) return trip(C, 'tcs-initial');
  if ((enclave.flags & ATTRIBUTES_MODE64BIT) === 0n && !tcsLimitsWhole(tcs)) return trip(C, 'tcs-limits-32');
  return null;
}
