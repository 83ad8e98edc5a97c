/**
 * ENCLU[EACCEPT_RANGE], a leaf that only this machine has: EACCEPT of every page of a range that EAUG made, or that was
 * restricted or trimmed. A page costs an enclave whose memory grows a call of the monitor otherwise. All pages are accepted,
 * or none.
 */
import { PT_REG, PT_TRIM } from '@nestedsgx/arch';
import { checkList, DONE, type LeafOutcome, trip } from '../leaf/checks.js';
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
import { installRun } from '../state/mapping.js';
import type { MonitorState } from '../state/state.js';
import { admissionFollowsRange } from '../state/threads.js';
import { pageTracked } from '../state/tracking.js';
import { inElrange, PF_ABSENT_READ, PF_ENCLAVE_READ, SECINFO_ROWS, secinfoOperand } from './operand.js';

/** Most pages of one call: the monitor does nothing else meanwhile. */
export const EACCEPT_RANGE_MAX = 1024;

/** EACCEPT_RANGE's checks, in order; those of pages hold for each, from the first on. */
export const EACCEPT_RANGE_CHECKS = checkList('EACCEPT_RANGE', [
  ...SECINFO_ROWS,
  ['count', '#GP(0)', `the number of pages (RDX) is 1 … ${EACCEPT_RANGE_MAX}`],
  ['pages-aligned', '#GP(0)', 'the first page (RCX) is 4096-byte aligned'],
  ['pages-in-elrange', '#GP(0)', 'all pages lie in the ELRANGE'],
  [
    'request-legal',
    '#GP(0)',
    'SECINFO asks for PT_REG with PENDING or PR alone, or for PT_TRIM with MODIFIED alone',
  ],
  ['page-in-epc', '#PF', 'the page resolves within the EPC'],
  ['page-usable', '#PF', 'EPCM of the page is valid, of this enclave and not blocked'],
  [
    'request-matches',
    'SGX_PAGE_ATTRIBUTES_MISMATCH',
    'PENDING, MODIFIED, R, W, X and PT of the page are those of SECINFO',
  ],
  ['tracked', 'SGX_NOT_TRACKED', 'all threads that may hold stale translations of the page have left'],
] as const);

const PAGE = 4096;
/** What must be equal in SECINFO.FLAGS and EPCM. */
const COMPARED = EPCM_RWX | EPCM_PENDING | EPCM_MODIFIED | (0xff << EPCM_PT_SHIFT);

/** RBX = SECINFO (what the enclave expects), RCX = first page, RDX = number of pages. */
export function eacceptRange(
  s: MonitorState,
  enclave: EnclaveRecord,
  rbx: number,
  rcx: number,
  rdx: number,
): LeafOutcome {
  const C = EACCEPT_RANGE_CHECKS;
  const offset = rcx - enclave.base;
  const flags = secinfoOperand(C, s, enclave, rbx);
  if (typeof flags !== 'number') return flags;
  if (!(rdx >= 1 && rdx <= EACCEPT_RANGE_MAX)) return trip(C, 'count');
  const end = offset + rdx * PAGE;
  if (rcx % PAGE !== 0) return trip(C, 'pages-aligned');
  if (!inElrange(enclave, offset, PAGE) || end > enclave.size) return trip(C, 'pages-in-elrange');
  if (!requestLegal(flags)) return trip(C, 'request-legal');
  // What holds for a page holds for those that follow it in frames whose EPCM entries are equal.
  const { pages } = enclave;
  const first = offset / PAGE;
  for (let done = 0; done < rdx; ) {
    const frame = pages.get(first + done);
    const address = enclave.base + offset + done * PAGE;
    if (frame === NO_FRAME) return trip(C, 'page-in-epc', address, PF_ABSENT_READ);
    const bits = s.epcm.bits(frame);
    if ((bits & EPCM_BLOCKED) !== 0) return trip(C, 'page-usable', address, PF_ENCLAVE_READ);
    if (((bits ^ flags) & COMPARED) !== 0) return trip(C, 'request-matches');
    if (!pageTracked(s.epcm, enclave, frame)) return trip(C, 'tracked');
    done += s.epcm.alikeRun(frame, pages.run(first + done, rdx - done));
  }
  for (let done = 0; done < rdx; ) {
    const frame = pages.get(first + done);
    const run = s.epcm.alikeRun(frame, pages.run(first + done, rdx - done));
    s.epcm.setBitsRun(frame, run, s.epcm.bits(frame) & ~(EPCM_PENDING | EPCM_MODIFIED | EPCM_PR));
    done += run;
  }
  installRun(s, enclave, offset, end - offset);
  admissionFollowsRange(s, enclave, offset, end - offset);
  return DONE;
}

/** The combinations of PT, PR, PENDING and MODIFIED that can be asked for. */
function requestLegal(flags: number): boolean {
  const state = flags & (EPCM_PENDING | EPCM_MODIFIED | EPCM_PR);
  const type = flags >>> EPCM_PT_SHIFT;
  if (type === PT_REG) return state === EPCM_PENDING || state === EPCM_PR;
  return type === PT_TRIM && state === EPCM_MODIFIED;
}
