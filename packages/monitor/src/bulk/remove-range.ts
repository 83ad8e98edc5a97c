/** REMOVE_RANGE: EREMOVE of contiguous EPC frames in one call; adjacent pages are unmapped and scrubbed together. */
import { PT_SECS, PT_VA } from '@nestedsgx/arch';
import {
  dropPages,
  EREMOVE_CHECKS,
  eremove,
  quiesce,
  release,
  trimmed,
  unlinkPage,
} from '../encls/eremove.js';
import { checkList, DONE, type LeafOutcome, PF_ACCESS, trip } from '../leaf/checks.js';
import type { EnclaveRecord } from '../state/enclave.js';
import { FOREIGN } from '../state/frames.js';
import type { FrameOwner, MonitorState } from '../state/state.js';
import { refreshAdmission } from '../state/threads.js';
import type { BulkOutcome } from './add-range.js';

/** Checks of the call itself; those of EREMOVE follow frame by frame. */
export const REMOVE_RANGE_CHECKS = checkList('REMOVE_RANGE', [
  ['page-aligned', '#GP(0)', 'RCX is 4096-byte aligned'],
  ['count', 'REFUSED', 'RDX is 1 … 65,536 frames'],
] as const);

const PAGE = 4096;
/** Most frames of one call. */
export const REMOVE_RANGE_MAX = 65_536;

/** Work of one call: a run of pages that is unmapped and scrubbed is 1. What is removed beyond is another call's. */
export const REMOVE_WORK = 4096;
/** Stopping a runner, or all threads of one and looking at them anew. */
const ENCLAVE_WORK = 64;

/** RCX = gPA of the first frame, RDX = number of frames. `done` counts bytes; see {@link REMOVE_WORK} for `incomplete`. */
export function removeRange(
  s: MonitorState,
  owner: FrameOwner,
  first: number,
  count: number,
  limit = REMOVE_WORK,
): BulkOutcome {
  if (first % PAGE !== 0) return { outcome: trip(REMOVE_RANGE_CHECKS, 'page-aligned'), done: 0 };
  if (!(count >= 1 && count <= REMOVE_RANGE_MAX) || !Number.isInteger(count))
    return { outcome: trip(REMOVE_RANGE_CHECKS, 'count'), done: 0 };
  const end = first + count * PAGE;
  const budget = { left: limit };
  for (let at = first; at < end; ) {
    if (budget.left <= 0) return { outcome: DONE, done: at - first, incomplete: true };
    const frame = s.frames.resolve(owner, at);
    if (frame < 0) {
      const id = frame === FOREIGN ? 'page-owned' : 'page-in-epc';
      return { outcome: trip(EREMOVE_CHECKS, id, at, PF_ACCESS), done: at - first };
    }
    const enclave = childOf(s, frame);
    if (enclave === null) {
      if (s.epcm.valid(frame) && s.epcm.type(frame) === PT_SECS) budget.left -= ENCLAVE_WORK;
      const outcome = eremove(s, owner, 0, at);
      if (outcome !== DONE) return { outcome, done: at - first };
      at += PAGE;
      continue;
    }
    const refused = removeRun(s, owner, enclave, at, end, budget);
    if (typeof refused !== 'number') return { outcome: refused, done: at - first };
    at = refused;
  }
  return { outcome: DONE, done: end - first };
}

/** The enclave that a frame is a child page of, or null (free, a SECS, a version array). */
function childOf(s: MonitorState, frame: number): EnclaveRecord | null {
  if (!s.epcm.valid(frame)) return null;
  const type = s.epcm.type(frame);
  return type === PT_SECS || type === PT_VA ? null : (s.enclaves.get(s.epcm.secs(frame)) ?? null);
}

/** Removes the frames from `at` that belong to one enclave; returns where it stopped, or what refused. */
function removeRun(
  s: MonitorState,
  owner: FrameOwner,
  enclave: EnclaveRecord,
  at: number,
  end: number,
  budget: { left: number },
): number | LeafOutcome {
  const quiet = quiesce(enclave);
  let start = -1;
  let length = 0;
  let admission = false;
  budget.left -= ENCLAVE_WORK;
  const flush = () => {
    if (length > 0) dropPages(s, enclave, start, length);
    budget.left--;
  };
  let next = at;
  for (; next < end; next += PAGE) {
    if (next > at && budget.left <= 0) break;
    const frame = s.frames.resolve(owner, next);
    if (frame < 0 || childOf(s, frame) !== enclave) break;
    if (!quiet && !trimmed(s, frame)) break;
    const offset = unlinkPage(s, enclave, frame);
    admission ||= enclave.admissionPages.has(offset / PAGE);
    if (offset === start + length && length > 0) length += PAGE;
    else {
      flush();
      start = offset;
      length = PAGE;
    }
  }
  flush();
  if (admission) refreshAdmission(s, enclave);
  if (quiet) release(enclave);
  return next > at ? next : trip(EREMOVE_CHECKS, 'not-active');
}
