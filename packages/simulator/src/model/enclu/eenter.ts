/** EENTER, ERESUME, EEXIT, AEX, EDECCSSA: threads. Intel SDM Vol. 3D, "EENTER", "ERESUME", "EDECCSSA", Operation. */
import { PAGE } from '../../layout.js';
import { xsaveSize } from '../encls/ecreate.js';
import { aligned, FLAG, type Model, PT, u32, u64 } from '../model.js';
import { GP, OK, type Outcome, pf } from '../outcome.js';
import type { Enclave, Entry } from '../state.js';
import { settled } from './operand.js';

const GPRSGX = 184;
const CSSA = 24;
const USER_HALF = 0x8000_0000_0000;
const AEXNOTIFY = 0x400;

/** TCS.CSSA. */
export function cssa(tcs: Entry): number {
  return u32(tcs.content!, CSSA);
}

function setCssa(tcs: Entry, n: number): void {
  new DataView(tcs.content!.buffer, tcs.content!.byteOffset).setUint32(CSSA, n, true);
}

/** What EENTER checks of TCS, SECS and SSA frame CSSA, without what depends on the thread (busy). */
export function checkEnterModel(m: Model, enclave: Enclave, address: number, frame: number): Outcome {
  const bad = tcsFault(m, enclave, address);
  if (bad) return bad;
  const t = m.pageAt(enclave, address)!.content!;
  const far = (offset: number) => !(enclave.base + offset < USER_HALF);
  if (far(u64(t, 48)) || far(u64(t, 56))) return GP;
  if (!mayRun(m, enclave, t) || frame >= u32(t, 28)) return GP;
  const ssa = checkFrame(m, enclave, u64(t, 16), frame);
  if (ssa !== OK) return ssa;
  return far(u64(t, 32)) ? GP : OK;
}

/** What ERESUME checks likewise; the frame is the one below CSSA. */
export function checkResumeModel(m: Model, enclave: Enclave, address: number, n: number): Outcome {
  const bad = tcsFault(m, enclave, address);
  if (bad) return bad;
  const t = m.pageAt(enclave, address)!.content!;
  if (!mayRun(m, enclave, t) || n === 0) return GP;
  return checkFrame(m, enclave, u64(t, 16), n - 1);
}

/** EPCM(TCS), and the alignment of what the TCS says. */
function tcsFault(m: Model, enclave: Enclave, address: number): Outcome | null {
  const tcs = m.pageAt(enclave, address);
  if (!tcs || tcs.blocked || tcs.type !== PT.TCS || tcs.pending || tcs.modified) return pf(address);
  const t = tcs.content!;
  const right = aligned(u64(t, 16), PAGE) && aligned(u64(t, 48), PAGE) && aligned(u64(t, 56), PAGE);
  return right ? null : GP;
}

/** TCS.FLAGS, ATTRIBUTES.INIT, the processor's mode, XFRM, AEXNOTIFY. */
function mayRun(m: Model, enclave: Enclave, t: Uint8Array): boolean {
  const flags = u32(t, 8);
  if ((flags & ~3) !== 0 || u32(t, 12) !== 0) return false;
  if (!enclave.initialized || (enclave.flags & FLAG.MODE64BIT) === 0) return false;
  if ((enclave.xfrm & ~m.p.xfrm) !== 0) return false;
  return (flags & 1) !== 0 || ((flags & 2) !== 0) === ((enclave.flags & AEXNOTIFY) !== 0);
}

/** Every page of the XSAVE area and the page of GPRSGX are settled PT_REG pages that can be read and written. */
export function checkFrame(m: Model, enclave: Enclave, ossa: number, frame: number): Outcome {
  const start = enclave.base + ossa + frame * enclave.ssaFrameSize * PAGE;
  const xsave = xsaveSize(enclave.xfrm);
  const gpr = start + enclave.ssaFrameSize * PAGE - GPRSGX - (enclave.miscselect & 1) * 16;
  for (let at = start; at < start + xsave; at += PAGE) if (!usable(m, enclave, at)) return pf(at);
  const gprPage = gpr - (gpr % PAGE);
  return usable(m, enclave, gprPage) ? OK : pf(gprPage);
}

function usable(m: Model, enclave: Enclave, address: number): boolean {
  const entry = m.pageAt(enclave, address);
  return entry !== null && settled(entry) && entry.r && entry.w;
}

/** True when every SSA frame that the TCS names can be used. */
export function wholeSsa(m: Model, enclave: Enclave, tcs: Entry): boolean {
  const t = tcs.content!;
  for (let frame = 0; frame < Math.min(u32(t, 28), 16); frame++)
    if (checkFrame(m, enclave, u64(t, 16), frame) !== OK) return false;
  return true;
}

/** EENTER through the TCS at a linear address. */
export function eenter(m: Model, enclave: Enclave, address: number): Outcome {
  const tcs = m.pageAt(enclave, address);
  const outcome = checkEnterModel(m, enclave, address, tcs?.type === PT.TCS ? cssa(tcs) : 0);
  if (outcome !== OK) return outcome;
  if (tcs!.inside !== 0) return GP;
  tcs!.inside = m.newEntry();
  tcs!.wholeAtEntry = wholeSsa(m, enclave, tcs!);
  return OK;
}

/** ERESUME: as EENTER with the frame below CSSA, which becomes free. */
export function eresume(m: Model, enclave: Enclave, address: number): Outcome {
  const tcs = m.pageAt(enclave, address);
  const saved = tcs?.type === PT.TCS ? cssa(tcs) : 1;
  const outcome = checkResumeModel(m, enclave, address, saved);
  if (outcome !== OK) return outcome;
  if (tcs!.inside !== 0) return GP;
  setCssa(tcs!, saved - 1);
  tcs!.inside = m.newEntry();
  tcs!.wholeAtEntry = wholeSsa(m, enclave, tcs!);
  return OK;
}

/** EEXIT of the thread that is inside. */
export function eexit(tcs: Entry): void {
  tcs.inside = 0;
}

/** AEX: the thread is outside, and one SSA frame more is in use. */
export function aex(tcs: Entry): void {
  tcs.inside = 0;
  setCssa(tcs, cssa(tcs) + 1);
}

/** EDECCSSA of the thread that is inside. */
export function edeccssa(m: Model, enclave: Enclave, tcs: Entry): Outcome {
  const n = cssa(tcs);
  const outcome = n === 0 ? GP : checkFrame(m, enclave, u64(tcs.content!, 16), n - 1);
  if (outcome !== OK) return outcome;
  setCssa(tcs, n - 1);
  return OK;
}

/** Takes an entry back that a deviation of the platform refused. */
export function undoEntry(tcs: Entry, before: number, whole: boolean): void {
  tcs.inside = 0;
  tcs.wholeAtEntry = whole;
  setCssa(tcs, before);
}
