/** LOAD: ELDU of every page of a list, in one call. Pages pass the checks of the single leaf; adjacent ones are read, written and mapped together. */
import { LOAD_ENTRY } from '@nestedsgx/arch';
import { ELDU_CHECKS } from '../encls/eldu.js';
import { checkList, DONE, type LeafOutcome, trip } from '../leaf/checks.js';
import { eldCheckOperands, eldCheckRow, tripLoad } from '../paging/load.js';
import { isChildType, loadRun, pcmdType, readPcmds } from '../paging/load-run.js';
import { batch, PAGE, RUN_PAGES } from '../paging/page-batch.js';
import type { EnclaveRecord } from '../state/enclave.js';
import { type FrameOwner, type MonitorState, u64ToNumber } from '../state/state.js';
import { refreshAdmission } from '../state/threads.js';
import type { BulkOutcome } from './add-range.js';
import { isRefusal, LIST_ROWS, type ListOperands, openList } from './page-list.js';

/** Checks of the call itself; those of ELDU follow page by page. */
export const LOAD_CHECKS = checkList('LOAD', [
  ...LIST_ROWS,
  ['child-type', 'REFUSED', 'every PCMD is that of a page that belongs to an enclave'],
] as const);

const E = LOAD_ENTRY.offsets;
const SIZE = LOAD_ENTRY.size;

/** `done` counts pages loaded. */
export function load(s: MonitorState, owner: FrameOwner, operands: ListOperands): BulkOutcome {
  const opened = openList(LOAD_CHECKS, s, owner, operands, SIZE);
  if (isRefusal(opened)) return { outcome: opened, done: 0 };
  const { enclave, bytes } = opened;
  const seen = { admission: false };
  const loaded = loadAll(s, owner, enclave, bytes, operands.count, seen);
  // Nobody is kept out by a page that comes, so once at the end is soon enough.
  if (seen.admission) refreshAdmission(s, enclave);
  return loaded;
}

/** ELDU of all; notes in `seen` whether some of the pages matter for who may enter. */
function loadAll(
  s: MonitorState,
  owner: FrameOwner,
  enclave: EnclaveRecord,
  bytes: Uint8Array,
  count: number,
  seen: { admission: boolean },
): BulkOutcome {
  for (let done = 0; done < count; ) {
    const refused = checkEntry(s, owner, bytes, done);
    if (refused !== null) return { outcome: refused, done };
    let run = 1;
    while (done + run < count && run < RUN_PAGES && follows(s, owner, bytes, done + run)) run++;
    const gpa = () => s.frames.gpa(batch.frame[done]);
    const known = childPcmds(s, done, run);
    if (known === 0) {
      const type = readPcmds(s, batch, done, 1) === 1;
      const outcome = type
        ? trip(LOAD_CHECKS, 'child-type')
        : tripLoad(ELDU_CHECKS, 'pcmd-readable', batch, done, gpa());
      return { outcome, done };
    }
    const { count: loaded, refusal, admission } = loadRun(s, enclave, batch, done, known, false);
    done += loaded;
    seen.admission ||= admission;
    if (refusal !== null) return { outcome: tripLoad(ELDU_CHECKS, refusal, batch, done, gpa()), done };
  }
  return { outcome: DONE, done: count };
}

/** Reads the PCMDs of a run; how many of them are readable and of child pages. */
function childPcmds(s: MonitorState, first: number, run: number): number {
  const readable = readPcmds(s, batch, first, run);
  let known = 0;
  while (known < readable && isChildType(pcmdType(known))) known++;
  return known;
}

/** ELDU's checks of entry `i`, which becomes row `i` of the batch. */
function checkEntry(s: MonitorState, owner: FrameOwner, bytes: Uint8Array, i: number): LeafOutcome | null {
  const at = i * SIZE;
  const gpa = u64ToNumber(bytes, at + E.FRAME);
  const slot = u64ToNumber(bytes, at + E.VASLOT);
  const refused = eldCheckOperands(ELDU_CHECKS, s, owner, gpa, slot);
  if (refused !== null) return refused;
  batch.frame[i] = s.frames.resolve(owner, gpa);
  batch.va[i] = s.frames.resolve(owner, slot);
  batch.slot[i] = (slot % PAGE) / 8;
  batch.contents[i] = u64ToNumber(bytes, at + E.SRCPGE);
  batch.pcmd[i] = u64ToNumber(bytes, at + E.PCMD);
  batch.linaddr[i] = u64ToNumber(bytes, at + E.LINADDR);
  return eldCheckRow(ELDU_CHECKS, s, batch, i, gpa, slot);
}

/** True when entry `i` can be loaded together with the one before: it is the next page. */
function follows(s: MonitorState, owner: FrameOwner, bytes: Uint8Array, i: number): boolean {
  if (u64ToNumber(bytes, i * SIZE + E.LINADDR) !== batch.linaddr[i - 1] + PAGE) return false;
  return checkEntry(s, owner, bytes, i) === null;
}
