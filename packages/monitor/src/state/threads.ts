/**
 * Thread slots: which TCS is executed by which runner thread. Slot = thread = gate. Up to EINIT slots follow the order of
 * EADD; afterwards a TCS that appears (EACCEPT of PT_TCS, ELD) takes a free slot, and one that goes (EREMOVE, EWB) frees
 * it. What EENTER would refuse because of SECS, TCS or SSA pages is told to the processor as `admitted`.
 */
import { PT_TCS, readU32, TCS, writeU32 } from '@nestedsgx/arch';
import { enterableFrames } from '../enclu/eenter.js';
import { invariant } from '../errors.js';
import type { RunningEnclave, ThreadStart } from '../ports.js';
import type { EnclaveRecord, TcsRecord } from './enclave.js';
import { EPCM_MODIFIED, NO_FRAME } from './epcm.js';
import { installMapping } from './mapping.js';
import { xsaveSize } from './platform.js';
import { type MonitorState, u64ToNumber } from './state.js';

const PAGE = 4096;
/** The part of a TCS that the processor reads. */
const TCS_HEAD = 72;
const o = TCS.offsets;
/** `state` of a thread that is not in its enclave. */
const IDLE = 0;

/** Slot of the TCS in `frame`, or −1. */
export function slotOf(enclave: EnclaveRecord, frame: number): number {
  return enclave.slotByFrame.get(frame) ?? -1;
}

/** Slot of the TCS at an offset from BASEADDR, or −1. */
export function slotAt(enclave: EnclaveRecord, offset: number): number {
  if (!(offset >= 0 && offset < enclave.size) || offset % PAGE !== 0) return -1;
  return slotOf(enclave, enclave.pages.get(offset / PAGE));
}

/**
 * As {@link slotAt}, but a settled TCS that found all slots taken gets one now if there is one. −1 when the address has no
 * TCS or no slot is free.
 */
export function claimSlot(s: MonitorState, enclave: EnclaveRecord, offset: number): number {
  const slot = slotAt(enclave, offset);
  if (slot >= 0 || !(offset >= 0 && offset < enclave.size) || offset % PAGE !== 0) return slot;
  const frame = enclave.pages.get(offset / PAGE);
  if (frame === NO_FRAME || s.epcm.type(frame) !== PT_TCS) return -1;
  settleTcs(s, enclave, frame);
  return slotOf(enclave, frame);
}

/** Slots that have a TCS. */
export function threadCount(enclave: EnclaveRecord): number {
  return enclave.slotByFrame.size;
}

/** True when {@link bindTcs} would find a slot. */
export function slotFree(s: MonitorState, enclave: EnclaveRecord): boolean {
  return threadCount(enclave) < slotLimit(s, enclave);
}

/** Gates are bound before EINIT; what they allow is what there can be of threads. */
function slotLimit(s: MonitorState, enclave: EnclaveRecord): number {
  return enclave.initialized ? (enclave.gates?.count ?? 0) : s.platform.maxThreads;
}

/**
 * Gives the valid PT_TCS page in `frame` a slot; CSSA is the page's. Returns the slot, or −1 when none is free: the TCS
 * exists then, but cannot be entered.
 */
export function bindTcs(s: MonitorState, enclave: EnclaveRecord, frame: number): number {
  invariant(s.epcm.valid(frame) && s.epcm.type(frame) === PT_TCS, `frame ${frame} is no TCS`);
  invariant(!enclave.slotByFrame.has(frame), `the TCS in frame ${frame} has a slot already`);
  const offset = s.epcm.address(frame) - enclave.base;
  if (!slotFree(s, enclave)) return -1;
  const slot = chooseSlot(s, enclave, offset);
  const record: TcsRecord = { offset, frame, nssa: 0 };
  enclave.tcs[slot] = record;
  enclave.slotByFrame.set(frame, slot);
  enclave.slotOffset[slot] = offset;
  const running = executing(enclave);
  if (running === null) return slot;
  const tcs = enclave.memory.read(offset, TCS_HEAD);
  const start = threadStart(s, enclave, record, tcs);
  running.setThread(slot, start, readU32(tcs, o.CSSA));
  noteThread(s, enclave, record, start, tcs);
  running.setAdmitted(slot, start.nssa > 0);
  return slot;
}

/** As {@link bindTcs} for a page that is PT_TCS and no longer MODIFIED; one that is still MODIFIED gets its slot later. */
export function settleTcs(s: MonitorState, enclave: EnclaveRecord, frame: number): void {
  const settled = (s.epcm.bits(frame) & EPCM_MODIFIED) === 0;
  if (settled && slotOf(enclave, frame) < 0) bindTcs(s, enclave, frame);
}

/** The slot that had a TCS at this offset last, if free; else one never used; else the first free one. */
function chooseSlot(s: MonitorState, enclave: EnclaveRecord, offset: number): number {
  const { tcs } = enclave;
  if (threadCount(enclave) < tcs.length) {
    const before = tcs.findIndex((its, slot) => its === null && enclave.slotOffset[slot] === offset);
    if (before >= 0) return before;
  }
  return tcs.length < slotLimit(s, enclave) ? tcs.length : tcs.indexOf(null);
}

/**
 * Takes the slot of the TCS in `frame` back, if it has one. Its thread is not inside: the caller blocked the page and
 * tracked, or stopped all entries. Whoever needs TCS.CSSA calls {@link composeTcs} before.
 */
export function unbindTcs(enclave: EnclaveRecord, frame: number): void {
  const slot = slotOf(enclave, frame);
  if (slot < 0) return;
  enclave.slotByFrame.delete(frame);
  if (!enclave.initialized) {
    // Nobody knows the order yet; the slots behind move up.
    enclave.tcs.splice(slot, 1);
    enclave.slotOffset.splice(slot, 1);
    for (const [other, its] of enclave.slotByFrame) if (its > slot) enclave.slotByFrame.set(other, its - 1);
    return;
  }
  enclave.tcs[slot] = null;
  const running = executing(enclave);
  if (running === null) return;
  running.setAdmitted(slot, false);
  running.setThread(slot, null, 0);
}

/** Puts CSSA as the processor has it into a copy of the TCS page in `frame` (EWB, EDBGRD). */
export function composeTcs(enclave: EnclaveRecord, frame: number, page: Uint8Array): void {
  const slot = slotOf(enclave, frame);
  const running = executing(enclave);
  if (slot >= 0 && running !== null) writeU32(page, o.CSSA, running.threadState(slot).cssa >>> 0);
}

/** Stops entries by the TCS in `frame`; false (nothing changed) while its thread is inside. */
export function holdTcs(enclave: EnclaveRecord, frame: number): boolean {
  const slot = slotOf(enclave, frame);
  const running = executing(enclave);
  if (slot < 0 || running === null) return true;
  const { admitted } = running.threadState(slot);
  running.setAdmitted(slot, false);
  if (running.threadState(slot).state === IDLE) return true;
  running.setAdmitted(slot, admitted);
  return false;
}

/** After {@link holdTcs}: gives the processor the TCS in `frame` as it is now. */
export function rebindTcs(s: MonitorState, enclave: EnclaveRecord, frame: number): void {
  const slot = slotOf(enclave, frame);
  const running = executing(enclave);
  const record = slot < 0 ? null : enclave.tcs[slot];
  if (record === null || running === null) return;
  const tcs = enclave.memory.read(record.offset, TCS_HEAD);
  const start = threadStart(s, enclave, record, tcs);
  running.setThread(slot, start, running.threadState(slot).cssa);
  noteThread(s, enclave, record, start, tcs);
  running.setAdmitted(slot, start.nssa > 0);
}

/** What the processor starts with: one entry for each TCS, slots are dense until then. */
export function startThreads(s: MonitorState, enclave: EnclaveRecord): ThreadStart[] {
  return enclave.tcs.map((record, slot) => {
    invariant(record !== null, `slot ${slot} is empty before EINIT`);
    return threadStart(s, enclave, record, enclave.memory.read(record.offset, TCS_HEAD));
  });
}

/** After the processor started with `threads`: notes what it knows and admits whom EENTER would accept. */
export function admitThreads(s: MonitorState, enclave: EnclaveRecord, threads: readonly ThreadStart[]): void {
  const running = executing(enclave);
  threads.forEach((start, slot) => {
    const record = enclave.tcs[slot];
    invariant(record !== null, `slot ${slot} is empty before EINIT`);
    noteThread(s, enclave, record, start, enclave.memory.read(start.tcsOffset, TCS_HEAD));
    running?.setAdmitted(slot, start.nssa > 0);
  });
}

/**
 * Sets `admitted` of every thread to what EENTER's checks of SECS, TCS and SSA say now. A thread that is inside and
 * lost SSA frames is not admitted again before it left and this was called once more.
 */
export function refreshAdmission(s: MonitorState, enclave: EnclaveRecord): void {
  const running = executing(enclave);
  if (running === null) return;
  enclave.tcs.forEach((record, slot) => {
    if (record !== null) refreshThread(s, enclave, running, slot, record);
  });
}

/** As {@link refreshAdmission} for the thread in one slot. */
export function refreshSlot(s: MonitorState, enclave: EnclaveRecord, slot: number): void {
  const running = executing(enclave);
  const record = enclave.tcs[slot] ?? null;
  if (running !== null && record !== null) refreshThread(s, enclave, running, slot, record);
}

function refreshThread(
  s: MonitorState,
  enclave: EnclaveRecord,
  running: RunningEnclave,
  slot: number,
  record: TcsRecord,
): void {
  const tcs = enclave.memory.read(record.offset, TCS_HEAD);
  const nssa = enterableFrames(s, enclave, record, tcs);
  if (nssa === record.nssa) {
    running.setAdmitted(slot, nssa > 0);
    return;
  }
  // Not admitted before its state is read: a thread seen idle stays so until it is admitted again.
  running.setAdmitted(slot, false);
  const { state, cssa } = running.threadState(slot);
  if (state === IDLE) {
    const start = threadStart(s, enclave, record, tcs);
    running.setThread(slot, start, cssa);
    noteThread(s, enclave, record, start, tcs);
    running.setAdmitted(slot, nssa > 0);
  } else if (nssa > record.nssa) {
    running.setAdmitted(slot, record.nssa > 0);
  }
}

/** Refreshes admission when the page at `offset` matters for it. */
export function admissionFollows(s: MonitorState, enclave: EnclaveRecord, offset: number): void {
  if (enclave.admissionPages.has(offset / PAGE)) refreshAdmission(s, enclave);
}

/** As {@link admissionFollows} for the pages of [offset, offset + length). */
export function admissionFollowsRange(
  s: MonitorState,
  enclave: EnclaveRecord,
  offset: number,
  length: number,
): void {
  for (let page = offset / PAGE; page < (offset + length) / PAGE; page++)
    if (enclave.admissionPages.has(page)) {
      refreshAdmission(s, enclave);
      return;
    }
}

/** `nssa` is limited to the SSA frames that EENTER would accept. */
function threadStart(
  s: MonitorState,
  enclave: EnclaveRecord,
  record: TcsRecord,
  tcs: Uint8Array,
): ThreadStart {
  const flags = readU32(tcs, o.FLAGS);
  return {
    tcsOffset: record.offset,
    ossa: offsetOrZero(tcs, o.OSSA),
    nssa: enterableFrames(s, enclave, record, tcs),
    oentry: offsetOrZero(tcs, o.OENTRY),
    ofsbase: offsetOrZero(tcs, o.OFSBASE),
    ogsbase: offsetOrZero(tcs, o.OGSBASE),
    debugOptIn: (flags & 1) !== 0,
    aexNotify: (flags & 2) !== 0,
  };
}

/** An offset that is no address belongs to a thread that is not admitted; the processor gets 0. */
function offsetOrZero(tcs: Uint8Array, at: number): number {
  const value = u64ToNumber(tcs, at);
  return Number.isFinite(value) ? value : 0;
}

/**
 * Notes what the processor was told, and the pages whose state can change it: the TCS, and of the usable SSA frames and
 * the next one those that EENTER looks at. SSAFRAMESIZE is the guest's to choose and may span any number between.
 */
function noteThread(
  s: MonitorState,
  enclave: EnclaveRecord,
  record: TcsRecord,
  start: ThreadStart,
  tcs: Uint8Array,
): void {
  record.nssa = start.nssa;
  addAdmissionPages(s, enclave, record, start.ossa, readU32(tcs, o.NSSA));
  if (enclave.admissionPages.size > enclave.admissionBound) forgetAdmissionPages(s, enclave);
}

/** The pages of one thread. `nssa` is the TCS's. */
function addAdmissionPages(
  s: MonitorState,
  { admissionPages, ssaFrameBytes, size, xfrm }: EnclaveRecord,
  record: TcsRecord,
  ossa: number,
  nssa: number,
): void {
  admissionPages.add(record.offset / PAGE);
  const saved = xsaveSize(s.platform, xfrm);
  const frames = Math.min(record.nssa + 1, nssa);
  for (let i = 0; i < frames; i++) {
    const frame = ossa + i * ssaFrameBytes;
    if (!(frame + ssaFrameBytes <= size) || frame % PAGE !== 0) break;
    for (let at = frame; at < frame + saved; at += PAGE) admissionPages.add(at / PAGE);
    admissionPages.add((frame + ssaFrameBytes) / PAGE - 1);
  }
}

/**
 * Leaves only the pages of threads that exist: TCSs and what they name as SSA come and go as often as the enclave likes.
 * What was kept mapped for an asynchronous exit gets the rights that it has otherwise.
 */
function forgetAdmissionPages(s: MonitorState, enclave: EnclaveRecord): void {
  const { admissionPages } = enclave;
  const before = [...admissionPages];
  admissionPages.clear();
  for (const record of enclave.tcs) {
    if (record === null) continue;
    const tcs = enclave.memory.read(record.offset, TCS_HEAD);
    addAdmissionPages(s, enclave, record, offsetOrZero(tcs, o.OSSA), readU32(tcs, o.NSSA));
  }
  enclave.admissionBound = Math.max(4096, 2 * admissionPages.size);
  for (const page of before) {
    const frame = admissionPages.has(page) ? NO_FRAME : enclave.pages.get(page);
    if (frame !== NO_FRAME) installMapping(s, enclave, frame);
  }
}

function executing(enclave: EnclaveRecord): RunningEnclave | null {
  const { running } = enclave;
  return running !== null && running.lost === null ? running : null;
}
