/**
 * What the threads of a running enclave may do to its pages: the guest's page table ∩ EPCM ∩ RMP, and nothing for a
 * page that is BLOCKED, PENDING or MODIFIED. Source: Intel SDM Vol. 3D, "Access Control for Enclave Pages".
 */
import { PT_REG } from '@nestedsgx/arch';
import type { PageRange, RunningEnclave } from '../ports.js';
import { available } from './available.js';
import { type EnclaveRecord, LOST_REASON, loseEnclave } from './enclave.js';
import {
  EPCM_BLOCKED,
  EPCM_MODIFIED,
  EPCM_PENDING,
  EPCM_PT_SHIFT,
  EPCM_R,
  EPCM_RWX,
  EPCM_VALID,
  EPCM_W,
  EPCM_X,
} from './epcm.js';
import type { MonitorState } from './state.js';

const PAGE = 4096;
const UNSETTLED = EPCM_BLOCKED | EPCM_PENDING | EPCM_MODIFIED;
const wanted = { r: false, w: false, x: false };

/** R | W | X that a mapping of the frame's page may have now; 0 when it may not be mapped at all. */
export function effectiveRights(s: MonitorState, frame: number): number {
  return rightsOf(s, frame, UNSETTLED, s.epcm.pte(frame));
}

/**
 * The same for a page of a running enclave. An asynchronous exit must be able to write the SSA: a processor knows since
 * EENTER where it lies, so what the guest's page table and BLOCKED say later concerns the next entry (`admitted`) only.
 */
export function runningRights(s: MonitorState, enclave: EnclaveRecord, frame: number): number {
  const page = (s.epcm.address(frame) - enclave.base) / PAGE;
  if (s.epcm.mapped(frame) === 0 || !enclave.admissionPages.has(page)) return effectiveRights(s, frame);
  return rightsOf(s, frame, EPCM_PENDING | EPCM_MODIFIED, EPCM_RWX);
}

function rightsOf(s: MonitorState, frame: number, unsettled: number, pte: number): number {
  const bits = s.epcm.bits(frame);
  if ((bits & (EPCM_VALID | unsettled)) !== EPCM_VALID || bits >>> EPCM_PT_SHIFT !== PT_REG) return 0;
  const allowed = bits & EPCM_RWX & pte;
  if (allowed === 0) return 0;
  wanted.r = (allowed & EPCM_R) !== 0;
  wanted.w = (allowed & EPCM_W) !== 0;
  wanted.x = (allowed & EPCM_X) !== 0;
  const { r, w, x } = s.machine.effectiveMapping(s.frames.gpa(frame), wanted);
  return (r ? EPCM_R : 0) | (w ? EPCM_W : 0) | (x ? EPCM_X : 0);
}

/**
 * Makes the mapping of one page what it should be. Contents stay. False when the processor could not do it: then the page
 * has fewer rights than it should, or, where rights could not be taken away, the enclave is lost.
 */
export function installMapping(s: MonitorState, enclave: EnclaveRecord, frame: number): boolean {
  return installRun(s, enclave, s.epcm.address(frame) - enclave.base, PAGE);
}

/** As {@link installMapping} for the pages of [offset, offset + length), adjacent ones with one order each. */
export function installRun(s: MonitorState, enclave: EnclaveRecord, offset: number, length: number): boolean {
  const { epcm } = s;
  let start = offset;
  let from = -1;
  let to = -1;
  let done = true;
  let pages = 1;
  for (let at = offset; at < offset + length; at += PAGE * pages) {
    const page = at / PAGE;
    const frame = enclave.pages.get(page);
    pages = enclave.pages.run(page, (offset + length - at) / PAGE);
    if (frame >= 0) pages = alikePages(s, enclave, frame, page, pages);
    const before = frame < 0 ? 0 : epcm.mapped(frame);
    const after = frame < 0 ? 0 : runningRights(s, enclave, frame);
    if (before === from && after === to) continue;
    done = apply(s, enclave, start, at - start, from, to) && done;
    start = at;
    from = before;
    to = after;
  }
  return apply(s, enclave, start, offset + length - start, from, to) && done;
}

/**
 * Brings pages back that the processor has lost by itself, with the rights that they have. False when it could not: then they
 * fault as before.
 */
export function renewRun(s: MonitorState, enclave: EnclaveRecord, offset: number, length: number): boolean {
  const { running } = enclave;
  if (running === null || running.lost !== null) return true;
  let done = true;
  for (let at = offset; at < offset + length; at += PAGE) {
    const frame = enclave.pages.get(at / PAGE);
    const rights = frame < 0 ? 0 : s.epcm.mapped(frame);
    if (rights !== 0) done = available(() => running.renew(rangeOf(at, PAGE, rights)), s.failures) && done;
  }
  return done;
}

/** How many of `count` pages, in frames that follow `frame`, {@link runningRights} treats as the first. */
function alikePages(
  s: MonitorState,
  enclave: EnclaveRecord,
  frame: number,
  page: number,
  count: number,
): number {
  let alike = s.frames.adjacent(frame, s.epcm.alikeRun(frame, count));
  alike = s.machine.alikePages(s.frames.gpa(frame), alike);
  if (s.epcm.mapped(frame) === 0) return alike;
  const { admissionPages } = enclave;
  const admission = admissionPages.has(page);
  for (let n = 1; n < alike; n++) if (admissionPages.has(page + n) !== admission) return n;
  return alike;
}

/** Changes a run of pages that all have rights `from`. */
function apply(
  s: MonitorState,
  enclave: EnclaveRecord,
  offset: number,
  length: number,
  from: number,
  to: number,
): boolean {
  const { running } = enclave;
  if (from === to || length === 0 || running === null || running.lost !== null) return true;
  const applied = available(() => {
    if (to === 0) running.unmap(offset, length);
    else if (from === 0) running.map(rangeOf(offset, length, to));
    else running.protect(rangeOf(offset, length, to));
  }, s.failures);
  if (applied) {
    for (let page = offset / PAGE, left = length / PAGE; left > 0; ) {
      const pages = enclave.pages.run(page, left);
      s.epcm.setMappedRun(enclave.pages.get(page), pages, to);
      page += pages;
      left -= pages;
    }
    return true;
  }
  if ((from & ~to) !== 0) loseEnclave(enclave, 'a permission could not be taken away', LOST_REASON.RUNNER);
  // Some of the pages may have got rights that the EPCM will not know of when it takes them away: none keeps any.
  else if (!available(() => takeBack(running, offset, length, from), s.failures))
    loseEnclave(enclave, 'a change of permissions could not be undone', LOST_REASON.RUNNER);
  return false;
}

/** After a failure to give more: all pages have rights `from` again. */
function takeBack(running: RunningEnclave, offset: number, length: number, from: number): void {
  if (from === 0) running.unmap(offset, length);
  else running.protect(rangeOf(offset, length, from));
}

function rangeOf(offset: number, length: number, rights: number): PageRange {
  return {
    offset,
    length,
    r: (rights & EPCM_R) !== 0,
    w: (rights & EPCM_W) !== 0,
    x: (rights & EPCM_X) !== 0,
  };
}
