/** AUG_RANGE: EAUG of every page of a contiguous range in one call; memory is reserved for runs of pages. */
import { ADD_RANGE_MAX_LENGTH, AUG_RANGE } from '@nestedsgx/arch';
import { EAUG_CHECKS, eaugCheckEnclave, eaugCommit } from '../encls/eaug.js';
import { checkList, DONE, type LeafOutcome, PF_ACCESS, trip } from '../leaf/checks.js';
import { available } from '../state/available.js';
import { FOREIGN, NOT_EPC } from '../state/frames.js';
import { type FrameOwner, type MonitorState, readGuest, u64ToNumber } from '../state/state.js';
import type { BulkOutcome } from './add-range.js';

/** Checks of the call itself; those of EAUG follow page by page. */
export const AUG_RANGE_CHECKS = checkList('AUG_RANGE', [
  ['operand-readable', '#PF', 'the operand (RCX) is 8-byte aligned and can be read'],
  ['length', 'REFUSED', 'LENGTH is 4096 … 16 MiB in whole pages'],
  ['range-end', 'REFUSED', 'LINADDR and EPC plus LENGTH are addresses'],
] as const);

const PAGE = 4096;
/** Bytes reserved at once. */
const RUN = 1024 * 1024;
const A = AUG_RANGE.offsets;

/** RCX = gPA of an AUG_RANGE structure. `done` counts bytes. */
export function augRange(s: MonitorState, owner: FrameOwner, operand: number): BulkOutcome {
  const C = AUG_RANGE_CHECKS;
  const E = EAUG_CHECKS;
  const stop = (outcome: LeafOutcome, done = 0): BulkOutcome => ({ outcome, done });
  const args = operand % 8 === 0 ? readGuest(s, operand, AUG_RANGE.size) : null;
  if (args === null) return stop(trip(C, 'operand-readable', operand, PF_ACCESS));
  const secsAt = u64ToNumber(args, A.SECS);
  const linaddr = u64ToNumber(args, A.LINADDR);
  const length = u64ToNumber(args, A.LENGTH);
  const epc = u64ToNumber(args, A.EPC);
  if (!(length >= PAGE && length <= ADD_RANGE_MAX_LENGTH) || length % PAGE !== 0)
    return stop(trip(C, 'length'));
  if (!Number.isSafeInteger(linaddr + length) || !Number.isSafeInteger(epc + length))
    return stop(trip(C, 'range-end'));
  if (epc % PAGE !== 0) return stop(trip(E, 'page-aligned'));
  if (secsAt % PAGE !== 0 || linaddr % PAGE !== 0) return stop(trip(E, 'secs-linaddr-aligned'));
  const secsFrame = s.frames.resolve(owner, secsAt);
  if (secsFrame === NOT_EPC) return stop(trip(E, 'secs-in-epc', secsAt, PF_ACCESS));
  if (secsFrame === FOREIGN) return stop(trip(E, 'secs-owned'));
  let done = 0;
  while (done < length) {
    const target = { secsFrame, secsAt, linaddr: linaddr + done, epc: epc + done };
    const run = augmentRun(s, owner, target, Math.min(RUN, length - done));
    done += run.done;
    if (run.outcome !== DONE) return stop(run.outcome, done);
  }
  return stop(DONE, done);
}

interface Target {
  readonly secsFrame: number;
  readonly secsAt: number;
  readonly linaddr: number;
  readonly epc: number;
}

/** One run: how far the checks hold is found first, then that many pages are reserved and entered. */
function augmentRun(s: MonitorState, owner: FrameOwner, target: Target, length: number): BulkOutcome {
  const { linaddr } = target;
  let outcome: LeafOutcome = DONE;
  let checked = 0;
  while (checked < length) {
    const good = goodPages(s, owner, target, checked, (length - checked) / PAGE);
    if (typeof good !== 'number') {
      outcome = good;
      break;
    }
    checked += good * PAGE;
  }
  if (checked === 0) return { outcome, done: 0 };
  const enclave = s.enclaves.get(target.secsFrame)!;
  const offset = linaddr - enclave.base;
  if (!available(() => enclave.memory.reserve(offset, checked), s.failures))
    return { outcome: trip(EAUG_CHECKS, 'memory-available'), done: 0 };
  for (let at = 0; at < checked; ) {
    const frame = s.frames.resolve(owner, target.epc + at);
    const pages = s.frames.owned(owner, frame, (checked - at) / PAGE);
    eaugCommit(s, enclave, frame, linaddr + at, pages);
    at += pages * PAGE;
  }
  return { outcome, done: checked };
}

/** How many of `count` pages from `at` on pass EAUG's checks, or why the first does not. */
function goodPages(
  s: MonitorState,
  owner: FrameOwner,
  target: Target,
  at: number,
  count: number,
): number | LeafOutcome {
  const E = EAUG_CHECKS;
  const { secsFrame, secsAt } = target;
  const linaddr = target.linaddr + at;
  const frame = s.frames.resolve(owner, target.epc + at);
  if (frame === NOT_EPC) return trip(E, 'page-in-epc', target.epc + at, PF_ACCESS);
  if (frame === FOREIGN) return trip(E, 'page-owned');
  if (s.epcm.valid(frame)) return trip(E, 'epc-page-free', target.epc + at);
  const refused = eaugCheckEnclave(s, secsFrame, secsAt, linaddr);
  if (refused !== null) return refused;
  const { base, size, pages } = s.enclaves.get(secsFrame)!;
  const inside = Math.min(count, (base + size - linaddr) / PAGE);
  const free = s.epcm.freeRun(frame, s.frames.owned(owner, frame, inside));
  return pages.absentRun((linaddr - base) / PAGE, free);
}
