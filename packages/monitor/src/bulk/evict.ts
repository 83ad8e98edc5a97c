/**
 * EVICT: EBLOCK of every page of a list, ETRACK, then EWB of every page, in one call. Each page passes the checks of the
 * single leaves; adjacent pages are read, written and unmapped together.
 */
import { EVICT_ENTRY } from '@nestedsgx/arch';
import { block, eblockCheckPage } from '../encls/eblock.js';
import { ewbCheckOperands, ewbCheckRow, forgetTracking } from '../encls/ewb.js';
import { checkList, DONE, type LeafOutcome, trip } from '../leaf/checks.js';
import { evictRun } from '../paging/evict.js';
import { batch, PAGE, RUN_PAGES } from '../paging/page-batch.js';
import type { EnclaveRecord } from '../state/enclave.js';
import { EPCM_BLOCKED } from '../state/epcm.js';
import { type FrameOwner, type MonitorState, u64ToNumber } from '../state/state.js';
import { refreshAdmission } from '../state/threads.js';
import { beginTracking } from '../state/tracking.js';
import type { BulkOutcome } from './add-range.js';
import { isRefusal, LIST_ROWS, type ListOperands, openList } from './page-list.js';

/** Checks of the call itself; those of EBLOCK and EWB follow page by page. */
export const EVICT_CHECKS = checkList('EVICT', [
  ...LIST_ROWS,
  ['own-page', 'REFUSED', 'every page belongs to the SECS'],
  ['slot-empty', 'SGX_VA_SLOT_OCCUPIED', 'the slot holds no version; unlike EWB, the page stays where it is'],
] as const);

const E = EVICT_ENTRY.offsets;
const SIZE = EVICT_ENTRY.size;

/**
 * `done` counts pages written out. Where it ends early, the pages behind stay blocked; the same list from there on can be
 * given again, after SGX_NOT_TRACKED when the threads inside were made to leave. Until they are written out, threads may go
 * on using blocked pages, as they would with translations from before.
 */
export function evict(s: MonitorState, owner: FrameOwner, operands: ListOperands): BulkOutcome {
  const opened = openList(EVICT_CHECKS, s, owner, operands, SIZE);
  if (isRefusal(opened)) return { outcome: opened, done: 0 };
  const { enclave, bytes } = opened;
  const { count } = operands;
  const { refused, admission } = blockAll(s, owner, enclave, bytes, count);
  if (refused !== null) return { outcome: refused, done: 0 };
  forgetTracking();
  const written = writeAll(s, owner, enclave, bytes, count);
  // Blocking has kept out whom it had to; with a page gone a thread that has left can be looked at anew. Once will do.
  if (admission && written.done > 0) refreshAdmission(s, enclave);
  return written;
}

/** EWB of all. */
function writeAll(
  s: MonitorState,
  owner: FrameOwner,
  enclave: EnclaveRecord,
  bytes: Uint8Array,
  count: number,
): BulkOutcome {
  for (let done = 0; done < count; ) {
    const outcome = checkEntry(s, owner, bytes, done);
    if (outcome !== null) {
      if (outcome.kind === 'error') enclave.paging.refused++;
      return { outcome, done };
    }
    let run = 1;
    while (done + run < count && run < RUN_PAGES && follows(s, owner, bytes, done + run)) run++;
    evictRun(s, enclave, batch, done, run);
    done += run;
  }
  return { outcome: DONE, done: count };
}

/**
 * EBLOCK of all that are not blocked yet; a tracking cycle where one is needed. `admission`: some of the pages matter for
 * who may enter.
 */
function blockAll(
  s: MonitorState,
  owner: FrameOwner,
  enclave: EnclaveRecord,
  bytes: Uint8Array,
  count: number,
): { refused: LeafOutcome | null; admission: boolean } {
  let refused: LeafOutcome | null = null;
  let untracked = false;
  let admission = false;
  let refresh = false;
  for (let i = 0; i < count && refused === null; i++) {
    const gpa = u64ToNumber(bytes, i * SIZE + E.FRAME);
    refused = eblockCheckPage(s, owner, gpa);
    if (refused !== null) break;
    const frame = s.frames.resolve(owner, gpa);
    if (s.epcm.secs(frame) !== enclave.secsFrame) {
      refused = trip(EVICT_CHECKS, 'own-page');
      break;
    }
    const matters = enclave.admissionPages.has((s.epcm.address(frame) - enclave.base) / PAGE);
    admission ||= matters;
    if ((s.epcm.bits(frame) & EPCM_BLOCKED) === 0) {
      block(s, enclave, frame);
      refresh ||= matters;
    }
    untracked ||= s.epcm.stamp(frame) >= enclave.epoch;
  }
  if (refresh) refreshAdmission(s, enclave);
  // Where the previous cycle is not complete EWB finds the pages untracked.
  if (untracked && refused === null) beginTracking(enclave);
  return { refused, admission };
}

/** EWB's checks of entry `i`, which becomes row `i` of the batch. */
function checkEntry(s: MonitorState, owner: FrameOwner, bytes: Uint8Array, i: number): LeafOutcome | null {
  const at = i * SIZE;
  const gpa = u64ToNumber(bytes, at + E.FRAME);
  const slot = u64ToNumber(bytes, at + E.VASLOT);
  const refused = ewbCheckOperands(s, owner, gpa, slot);
  if (refused !== null) return refused;
  batch.frame[i] = s.frames.resolve(owner, gpa);
  batch.va[i] = s.frames.resolve(owner, slot);
  batch.slot[i] = (slot % PAGE) / 8;
  batch.contents[i] = u64ToNumber(bytes, at + E.SRCPGE);
  batch.pcmd[i] = u64ToNumber(bytes, at + E.PCMD);
  const row = ewbCheckRow(s, batch, i, gpa, slot, true);
  if (row !== null) return row;
  return s.versions.get(batch.va[i], batch.slot[i]) === 0 ? null : trip(EVICT_CHECKS, 'slot-empty');
}

/** True when entry `i` can be evicted together with the one before: the next page, another slot. */
function follows(s: MonitorState, owner: FrameOwner, bytes: Uint8Array, i: number): boolean {
  const gpa = u64ToNumber(bytes, i * SIZE + E.FRAME);
  const frame = s.frames.resolve(owner, gpa);
  if (frame < 0 || s.epcm.address(frame) !== s.epcm.address(batch.frame[i - 1]) + PAGE) return false;
  const slot = u64ToNumber(bytes, i * SIZE + E.VASLOT);
  // Slots in ascending order are different ones; any other order is served page by page.
  if (!(slot > u64ToNumber(bytes, (i - 1) * SIZE + E.VASLOT))) return false;
  return checkEntry(s, owner, bytes, i) === null;
}
