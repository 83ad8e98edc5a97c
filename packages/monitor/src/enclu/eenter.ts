/**
 * ENCLU[EENTER]. The processor executes it and does what depends on the moment (TCS busy, CSSA against NSSA, the AEP);
 * what depends on SECS, TCS and EPCM is checked here when a thread is admitted, and again when such a page changes.
 * Source: Intel SDM Vol. 3D, "EENTER—Enters an Enclave", Operation.
 */
import { readU32, TCS } from '@nestedsgx/arch';
import { checkList, DONE, type LeafOutcome, trip } from '../leaf/checks.js';
import type { EnclaveRecord } from '../state/enclave.js';
import type { MonitorState } from '../state/state.js';
import { checkDecrement } from './edeccssa.js';
import {
  gprPageFault,
  notifyMatches,
  type TcsPage,
  tcsEntry,
  tcsFields,
  USER_HALF,
  usableFrames,
  xsavePageFault,
} from './entry.js';
import { checkResume } from './eresume.js';

/** EENTER's checks, in the manual's order. */
export const EENTER_CHECKS = checkList('EENTER', [
  ['tcs-aligned', '#GP(0)', 'the TCS (RBX) is 4096-byte aligned', 'processor'],
  ['tcs-in-epc', '#PF', 'RBX resolves within the EPC', 'processor'],
  [
    'aep-canonical',
    '#GP(0)',
    'the AEP (RCX) is canonical: always, a fixed address stands for it',
    'processor',
  ],
  ['tcs-valid', '#PF', 'EPCM(TCS).VALID = 1'],
  ['tcs-not-blocked', '#PF', 'EPCM(TCS).BLOCKED = 0'],
  ['tcs-page', '#PF', 'EPCM(TCS) is PT_TCS at its linear address'],
  ['tcs-settled', '#PF', 'EPCM(TCS).PENDING = 0 and MODIFIED = 0'],
  ['ossa-aligned', '#GP(0)', 'TCS.OSSA is 4096-byte aligned'],
  ['segment-bases-aligned', '#GP(0)', 'TCS.OFSBASE and OGSBASE are 4096-byte aligned'],
  ['segment-bases-canonical', '#GP(0)', 'BASEADDR + OFSBASE and OGSBASE are canonical'],
  ['tcs-flags-reserved', '#GP(0)', 'reserved bits of TCS.FLAGS are 0'],
  ['initialized', '#GP(0)', 'the enclave is initialized'],
  ['mode-matches', '#GP(0)', 'the processor runs in the mode of ATTRIBUTES.MODE64BIT (64-bit)'],
  ['xfrm-enabled', '#GP(0)', 'XFRM is a subset of XCR0'],
  ['aexnotify-matches', '#GP(0)', 'TCS.FLAGS.AEXNOTIFY = ATTRIBUTES.AEXNOTIFY, or DBGOPTIN'],
  ['ssa-frame-left', '#GP(0)', 'CSSA < NSSA'],
  [
    'ssa-page',
    '#PF',
    'every page of the SSA frame is a settled, readable and writable PT_REG page of this enclave',
  ],
  ['gpr-page', '#PF', 'so is the page of GPRSGX'],
  ['entry-canonical', '#GP(0)', 'BASEADDR + OENTRY is canonical'],
  ['tcs-inactive', '#GP(0)', 'no thread is active on the TCS', 'processor'],
] as const);

/** SSA frames looked at for each thread; a thread with more has this many. */
const MAX_SSA_FRAMES = 64;

/** EENTER's checks of the TCS at `page` entering with `cssa`. `tcs` is a copy of the first 72 bytes of the TCS. */
export function checkEnter(
  s: MonitorState,
  enclave: EnclaveRecord,
  page: TcsPage,
  cssa: number,
  tcs: Uint8Array,
): LeafOutcome {
  const C = EENTER_CHECKS;
  const address = enclave.base + page.offset;
  const entry = tcsEntry(s, enclave, page);
  if (!entry.valid) return trip(C, 'tcs-valid', address);
  if (entry.blocked) return trip(C, 'tcs-not-blocked', address);
  if (!entry.right) return trip(C, 'tcs-page', address);
  if (entry.unsettled) return trip(C, 'tcs-settled', address);
  const t = tcsFields(tcs);
  if (t.ossa % 4096 !== 0) return trip(C, 'ossa-aligned');
  if (t.ofsbase % 4096 !== 0 || t.ogsbase % 4096 !== 0) return trip(C, 'segment-bases-aligned');
  if (enclave.base + t.ofsbase >= USER_HALF || enclave.base + t.ogsbase >= USER_HALF)
    return trip(C, 'segment-bases-canonical');
  if (t.reservedFlags) return trip(C, 'tcs-flags-reserved');
  if (!enclave.initialized) return trip(C, 'initialized');
  if ((enclave.flags & 4n) === 0n) return trip(C, 'mode-matches');
  if ((enclave.xfrm & ~s.platform.xfrmMask) !== 0n) return trip(C, 'xfrm-enabled');
  if (!notifyMatches(enclave, t)) return trip(C, 'aexnotify-matches');
  if (cssa >= t.nssa) return trip(C, 'ssa-frame-left');
  const ssa = xsavePageFault(s, enclave, t.ossa, cssa);
  if (ssa >= 0) return trip(C, 'ssa-page', ssa);
  const gpr = gprPageFault(s, enclave, t.ossa, cssa);
  if (gpr >= 0) return trip(C, 'gpr-page', gpr);
  if (enclave.base + t.oentry >= USER_HALF) return trip(C, 'entry-canonical');
  return DONE;
}

/**
 * How many SSA frames from 0 on a thread may use: EENTER would accept it there, ERESUME and EDECCSSA would come back to
 * it. 0 means that the thread cannot be entered.
 */
export function enterableFrames(
  s: MonitorState,
  enclave: EnclaveRecord,
  page: TcsPage,
  tcs: Uint8Array,
): number {
  const nssa = Math.min(readU32(tcs, TCS.offsets.NSSA), MAX_SSA_FRAMES);
  const first =
    nssa > 0 &&
    checkEnter(s, enclave, page, 0, tcs) === DONE &&
    checkResume(s, enclave, page, 1, tcs) === DONE &&
    checkDecrement(s, enclave, 1, tcs) === DONE;
  if (!first) return 0;
  // The three ask the same of the frames above, and of those only that differs: there may be 64 for each of 255 threads.
  return usableFrames(s, enclave, tcsFields(tcs).ossa, 1, nssa);
}
