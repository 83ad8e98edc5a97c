/**
 * What EENTER, ERESUME and EDECCSSA share: the TCS as they look at it, and the pages of an SSA frame. Source: Intel SDM
 * Vol. 3D, "EENTER—Enters an Enclave", "ERESUME—Re-Enters an Enclave", Operation.
 */
import { PT_REG, PT_TCS, readU32, TCS } from '@nestedsgx/arch';
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
import { GPRSGX_SIZE, miscSize, xsaveSize } from '../state/platform.js';
import { type MonitorState, u64ToNumber } from '../state/state.js';

const PAGE = 4096;
const o = TCS.offsets;
const UNSETTLED = EPCM_PENDING | EPCM_MODIFIED;

/** End of the canonical lower half. */
export const USER_HALF = 0x8000_0000_0000;

/** Where a TCS is: offset from BASEADDR, EPC frame. */
export interface TcsPage {
  readonly offset: number;
  readonly frame: number;
}

/** Fields of a TCS whose first 72 bytes are given. */
export interface TcsFields {
  readonly flags: number;
  readonly reservedFlags: boolean;
  readonly ossa: number;
  readonly nssa: number;
  readonly oentry: number;
  readonly ofsbase: number;
  readonly ogsbase: number;
}

/** Reads {@link TcsFields}; an offset that is no address is Infinity. */
export function tcsFields(tcs: Uint8Array): TcsFields {
  const flags = readU32(tcs, o.FLAGS);
  return {
    flags,
    reservedFlags: (flags & ~3) !== 0 || readU32(tcs, o.FLAGS + 4) !== 0,
    ossa: u64ToNumber(tcs, o.OSSA),
    nssa: readU32(tcs, o.NSSA),
    oentry: u64ToNumber(tcs, o.OENTRY),
    ofsbase: u64ToNumber(tcs, o.OFSBASE),
    ogsbase: u64ToNumber(tcs, o.OGSBASE),
  };
}

/** What EPCM(TCS) is: what of it an entry would refuse first depends on the leaf. */
export function tcsEntry(s: MonitorState, enclave: EnclaveRecord, page: TcsPage) {
  const bits = s.epcm.bits(page.frame);
  return {
    valid: (bits & EPCM_VALID) !== 0,
    blocked: (bits & EPCM_BLOCKED) !== 0,
    unsettled: (bits & UNSETTLED) !== 0,
    right:
      s.epcm.address(page.frame) === enclave.base + page.offset &&
      s.epcm.secs(page.frame) === enclave.secsFrame &&
      bits >>> EPCM_PT_SHIFT === PT_TCS,
  };
}

/** True when TCS.FLAGS.AEXNOTIFY is the enclave's, or the thread opted in to debugging. */
export function notifyMatches(enclave: EnclaveRecord, fields: TcsFields): boolean {
  const enclaveNotify = (enclave.flags & 0x400n) !== 0n;
  return (fields.flags & 1) !== 0 || ((fields.flags & 2) !== 0) === enclaveNotify;
}

/** The first page of the XSAVE area of an SSA frame that cannot be used, as a linear address, or −1. */
export function xsavePageFault(s: MonitorState, enclave: EnclaveRecord, ossa: number, frame: number): number {
  const ssa = ossa + enclave.ssaFrameBytes * frame;
  const saved = xsaveSize(s.platform, enclave.xfrm);
  for (let at = ssa; at < ssa + saved; at += PAGE) {
    if (!ssaPageUsable(s, enclave, at)) return enclave.base + at;
  }
  return -1;
}

/** The page of GPRSGX of an SSA frame when it cannot be used, as a linear address, or −1. */
export function gprPageFault(s: MonitorState, enclave: EnclaveRecord, ossa: number, frame: number): number {
  const end = ossa + enclave.ssaFrameBytes * (frame + 1);
  const gpr = end - GPRSGX_SIZE - miscSize(enclave.miscselect);
  const at = gpr - (gpr % PAGE);
  return ssaPageUsable(s, enclave, at) ? -1 : enclave.base + at;
}

/** The first SSA frame from `from` on of which a page cannot be used, at most `limit`. */
export function usableFrames(
  s: MonitorState,
  enclave: EnclaveRecord,
  ossa: number,
  from: number,
  limit: number,
): number {
  const { ssaFrameBytes } = enclave;
  const saved = xsaveSize(s.platform, enclave.xfrm);
  const tail = GPRSGX_SIZE + miscSize(enclave.miscselect);
  let frame = from;
  for (; frame < limit; frame++) {
    const ssa = ossa + ssaFrameBytes * frame;
    const gpr = ssa + ssaFrameBytes - tail;
    if (!ssaPageUsable(s, enclave, gpr - (gpr % PAGE))) break;
    let at = ssa;
    while (at < ssa + saved && ssaPageUsable(s, enclave, at)) at += PAGE;
    if (at < ssa + saved) break;
  }
  return frame;
}

function ssaPageUsable(s: MonitorState, enclave: EnclaveRecord, offset: number): boolean {
  if (!(offset >= 0 && offset < enclave.size)) return false;
  const frame = enclave.pages.get(offset / PAGE);
  if (frame === NO_FRAME) return false;
  const bits = s.epcm.bits(frame);
  const must = EPCM_VALID | EPCM_R | EPCM_W;
  return (
    (bits & (must | EPCM_BLOCKED | UNSETTLED)) === must &&
    bits >>> EPCM_PT_SHIFT === PT_REG &&
    s.epcm.address(frame) === enclave.base + offset &&
    s.epcm.secs(frame) === enclave.secsFrame
  );
}
