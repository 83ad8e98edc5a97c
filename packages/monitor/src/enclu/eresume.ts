/**
 * ENCLU[ERESUME]. The processor executes it and does what depends on the moment and on what the SSA frame holds; what
 * depends on SECS, TCS and EPCM is checked here when a thread is admitted, and again when such a page changes. Source:
 * Intel SDM Vol. 3D, "ERESUME—Re-Enters an Enclave", Operation.
 */
import { checkList, DONE, type LeafOutcome, trip } from '../leaf/checks.js';
import type { EnclaveRecord } from '../state/enclave.js';
import type { MonitorState } from '../state/state.js';
import { gprPageFault, notifyMatches, type TcsPage, tcsEntry, tcsFields, xsavePageFault } from './entry.js';

/** ERESUME's checks, in the manual's order. */
export const ERESUME_CHECKS = checkList('ERESUME', [
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
  ['tcs-settled', '#PF', 'EPCM(TCS).PENDING = 0 and MODIFIED = 0'],
  ['tcs-page', '#PF', 'EPCM(TCS) is PT_TCS at its linear address'],
  ['ossa-aligned', '#GP(0)', 'TCS.OSSA is 4096-byte aligned'],
  ['segment-bases-aligned', '#GP(0)', 'TCS.OFSBASE and OGSBASE are 4096-byte aligned'],
  ['tcs-flags-reserved', '#GP(0)', 'reserved bits of TCS.FLAGS are 0'],
  ['initialized', '#GP(0)', 'the enclave is initialized'],
  ['mode-matches', '#GP(0)', 'the processor runs in the mode of ATTRIBUTES.MODE64BIT (64-bit)'],
  ['xfrm-enabled', '#GP(0)', 'XFRM is a subset of XCR0'],
  ['aexnotify-matches', '#GP(0)', 'TCS.FLAGS.AEXNOTIFY = ATTRIBUTES.AEXNOTIFY, or DBGOPTIN'],
  ['ssa-frame-active', '#GP(0)', 'CSSA is not 0'],
  [
    'ssa-page',
    '#PF',
    'every page of SSA frame CSSA − 1 is a settled, readable and writable PT_REG page of this enclave',
  ],
  ['gpr-page', '#PF', 'so is the page of its GPRSGX'],
  ['notify-frame-left', '#GP(0)', 'with a notification: CSSA < NSSA', 'processor'],
  ['notify-ssa-page', '#PF', 'with a notification: the pages of SSA frame CSSA are usable', 'processor'],
  ['notify-gpr-page', '#PF', 'with a notification: so is the page of its GPRSGX', 'processor'],
  ['target-canonical', '#GP(0)', 'RIP of GPRSGX (with a notification OENTRY) is canonical', 'processor'],
  ['segment-bases-canonical', '#GP(0)', 'FSBASE and GSBASE of GPRSGX are canonical', 'processor'],
  ['tcs-inactive', '#GP(0)', 'no thread is active on the TCS', 'processor'],
  ['xrstor', '#GP(0)', 'XRSTOR accepts the XSAVE area', 'processor'],
] as const);

/** ERESUME's checks of the TCS at `page` with `cssa`. `tcs` is a copy of the first 72 bytes of the TCS. */
export function checkResume(
  s: MonitorState,
  enclave: EnclaveRecord,
  page: TcsPage,
  cssa: number,
  tcs: Uint8Array,
): LeafOutcome {
  const C = ERESUME_CHECKS;
  const address = enclave.base + page.offset;
  const entry = tcsEntry(s, enclave, page);
  if (!entry.valid) return trip(C, 'tcs-valid', address);
  if (entry.blocked) return trip(C, 'tcs-not-blocked', address);
  if (entry.unsettled) return trip(C, 'tcs-settled', address);
  if (!entry.right) return trip(C, 'tcs-page', address);
  const t = tcsFields(tcs);
  if (t.ossa % 4096 !== 0) return trip(C, 'ossa-aligned');
  if (t.ofsbase % 4096 !== 0 || t.ogsbase % 4096 !== 0) return trip(C, 'segment-bases-aligned');
  if (t.reservedFlags) return trip(C, 'tcs-flags-reserved');
  if (!enclave.initialized) return trip(C, 'initialized');
  if ((enclave.flags & 4n) === 0n) return trip(C, 'mode-matches');
  if ((enclave.xfrm & ~s.platform.xfrmMask) !== 0n) return trip(C, 'xfrm-enabled');
  if (!notifyMatches(enclave, t)) return trip(C, 'aexnotify-matches');
  if (cssa === 0) return trip(C, 'ssa-frame-active');
  const ssa = xsavePageFault(s, enclave, t.ossa, cssa - 1);
  if (ssa >= 0) return trip(C, 'ssa-page', ssa);
  const gpr = gprPageFault(s, enclave, t.ossa, cssa - 1);
  if (gpr >= 0) return trip(C, 'gpr-page', gpr);
  return DONE;
}
