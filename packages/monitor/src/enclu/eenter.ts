/**
 * The checks of ENCLU[EENTER] and ENCLU[ERESUME] that depend on SECS, TCS and EPCM. The processor does what
 * depends on the moment (TCS busy, CSSA against NSSA, the AEP); the monitor does these when it sets `admitted`
 * and again when such a page changes. Source: Intel SDM Vol. 3D, "EENTER—Enters an Enclave", Operation.
 */
import { PT_REG, PT_TCS, readU32, TCS } from '@nestedsgx/arch';
import { checkList, DONE, type LeafOutcome, trip } from '../leaf/checks.js';
import type { EnclaveRecord } from '../state/enclave.js';
import {
  EPCM_BLOCKED,
  EPCM_MODIFIED,
  EPCM_PENDING,
  EPCM_PT_SHIFT,
  EPCM_R,
  EPCM_VALID,
  EPCM_W,
  NO_FRAME,
} from '../state/epcm.js';
import { miscSize, xsaveSize } from '../state/platform.js';
import { type MonitorState, u64ToNumber } from '../state/state.js';

/** EENTER's checks that the monitor does, in the manual's order. */
export const EENTER_CHECKS = checkList('EENTER', [
  ['tcs-valid', '#PF', 'EPCM(TCS).VALID = 1'],
  ['tcs-not-blocked', '#PF', 'EPCM(TCS).BLOCKED = 0'],
  ['tcs-page', '#PF', 'EPCM(TCS) is PT_TCS at its linear address'],
  ['tcs-settled', '#PF', 'EPCM(TCS).PENDING = 0 and MODIFIED = 0'],
  ['ossa-aligned', '#GP(0)', 'TCS.OSSA is 4096-byte aligned'],
  ['segment-bases-aligned', '#GP(0)', 'TCS.OFSBASE and OGSBASE are 4096-byte aligned'],
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
  ['segment-bases-canonical', '#GP(0)', 'BASEADDR + OFSBASE and OGSBASE are canonical'],
] as const);

const PAGE = 4096;
const USER_HALF = 0x8000_0000_0000;
const GPRSGX = 184;
/** Where a TCS is: offset from BASEADDR, EPC frame. */
export interface TcsPage {
  readonly offset: number;
  readonly frame: number;
}

/** SSA frames looked at for each thread; a thread with more has this many. */
const MAX_SSA_FRAMES = 256;

/**
 * EENTER's checks of the TCS at `page` entering with `cssa`. `tcs` is a copy of the first 72 bytes of the TCS.
 * Allocates nothing when all hold.
 */
export function checkEnter(
  s: MonitorState,
  enclave: EnclaveRecord,
  page: TcsPage,
  cssa: number,
  tcs: Uint8Array,
): LeafOutcome {
  const C = EENTER_CHECKS;
  const o = TCS.offsets;
  const { offset, frame } = page;
  const address = enclave.base + offset;
  const bits = s.epcm.bits(frame);
  if ((bits & EPCM_VALID) === 0) return trip(C, 'tcs-valid', address);
  if ((bits & EPCM_BLOCKED) !== 0) return trip(C, 'tcs-not-blocked', address);
  if (
    s.epcm.address(frame) !== address ||
    s.epcm.secs(frame) !== enclave.secsFrame ||
    bits >>> EPCM_PT_SHIFT !== PT_TCS
  )
    return trip(C, 'tcs-page', address);
  if ((bits & (EPCM_PENDING | EPCM_MODIFIED)) !== 0) return trip(C, 'tcs-settled', address);
  const ossa = u64ToNumber(tcs, o.OSSA);
  const ofsbase = u64ToNumber(tcs, o.OFSBASE);
  const ogsbase = u64ToNumber(tcs, o.OGSBASE);
  if (ossa % PAGE !== 0) return trip(C, 'ossa-aligned');
  if (ofsbase % PAGE !== 0 || ogsbase % PAGE !== 0) return trip(C, 'segment-bases-aligned');
  const flags = readU32(tcs, o.FLAGS);
  if ((flags & ~3) !== 0 || readU32(tcs, o.FLAGS + 4) !== 0) return trip(C, 'tcs-flags-reserved');
  if (!enclave.initialized) return trip(C, 'initialized');
  if ((enclave.flags & 4n) === 0n) return trip(C, 'mode-matches');
  if ((enclave.xfrm & ~s.platform.xfrmMask) !== 0n) return trip(C, 'xfrm-enabled');
  const enclaveNotify = (enclave.flags & 0x400n) !== 0n;
  if ((flags & 1) === 0 && ((flags & 2) !== 0) !== enclaveNotify) return trip(C, 'aexnotify-matches');
  if (cssa >= readU32(tcs, o.NSSA)) return trip(C, 'ssa-frame-left');
  const frameBytes = enclave.ssaFrameBytes;
  const ssa = ossa + frameBytes * cssa;
  const saved = xsaveSize(s.platform, enclave.xfrm);
  for (let at = ssa; at < ssa + saved; at += PAGE) {
    if (!ssaPageUsable(s, enclave, at)) return trip(C, 'ssa-page', enclave.base + at);
  }
  const gpr = ssa + frameBytes - GPRSGX - miscSize(enclave.miscselect);
  const gprPage = gpr - (gpr % PAGE);
  if (!ssaPageUsable(s, enclave, gprPage)) return trip(C, 'gpr-page', enclave.base + gprPage);
  if (enclave.base + u64ToNumber(tcs, o.OENTRY) >= USER_HALF) return trip(C, 'entry-canonical');
  if (enclave.base + ofsbase >= USER_HALF || enclave.base + ogsbase >= USER_HALF)
    return trip(C, 'segment-bases-canonical');
  return DONE;
}

/** How many SSA frames from 0 on EENTER would accept; 0 means that the thread cannot be entered. */
export function enterableFrames(
  s: MonitorState,
  enclave: EnclaveRecord,
  page: TcsPage,
  tcs: Uint8Array,
): number {
  const nssa = Math.min(readU32(tcs, TCS.offsets.NSSA), MAX_SSA_FRAMES);
  let frames = 0;
  while (frames < nssa && checkEnter(s, enclave, page, frames, tcs) === DONE) frames++;
  return frames;
}

function ssaPageUsable(s: MonitorState, enclave: EnclaveRecord, offset: number): boolean {
  if (!(offset >= 0 && offset < enclave.size)) return false;
  const frame = enclave.pages.get(offset / PAGE);
  if (frame === NO_FRAME) return false;
  const bits = s.epcm.bits(frame);
  const must = EPCM_VALID | EPCM_R | EPCM_W;
  const mustNot = EPCM_BLOCKED | EPCM_PENDING | EPCM_MODIFIED;
  return (
    (bits & (must | mustNot)) === must &&
    bits >>> EPCM_PT_SHIFT === PT_REG &&
    s.epcm.address(frame) === enclave.base + offset &&
    s.epcm.secs(frame) === enclave.secsFrame
  );
}
