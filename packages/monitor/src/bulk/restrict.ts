/** RESTRICT: EMODPR of every page of a list in one call, with one order to the processor for adjacent pages. */
import { SECINFO_R, SECINFO_W } from '@nestedsgx/arch';
import { EMODPR_CHECKS, emodprCheckPage, restrictEntry } from '../encls/emodpr.js';
import { checkList, DONE, type LeafOutcome, trip } from '../leaf/checks.js';
import type { EnclaveRecord } from '../state/enclave.js';
import { EPCM_RWX } from '../state/epcm.js';
import { installRun } from '../state/mapping.js';
import { type FrameOwner, type MonitorState, u64ToNumber } from '../state/state.js';
import { admissionFollowsRange } from '../state/threads.js';
import type { BulkOutcome } from './add-range.js';
import { isRefusal, LIST_ROWS, type ListOperands, openList } from './page-list.js';
import { SET_PTE_RUNS } from './set-pte.js';

/** Checks of the call itself; those of EMODPR follow page by page. */
export const RESTRICT_CHECKS = checkList('RESTRICT', [
  ...LIST_ROWS,
  ['entry-bits', 'REFUSED', 'bits 11:3 of an entry are 0'],
  ['page-present', 'REFUSED', 'the address lies in the ELRANGE and has a page in EPC'],
] as const);

const PAGE = 4096;
const ENTRY = 8;

/**
 * Entries are linaddr | R | W | X: the rights that stay. `done` counts entries; after as many changes as SET_PTE makes, each of
 * adjacent pages, the call is incomplete. What was taken away is gone for all threads on return.
 */
export function restrict(s: MonitorState, owner: FrameOwner, operands: ListOperands): BulkOutcome {
  const opened = openList(RESTRICT_CHECKS, s, owner, operands, ENTRY);
  if (isRefusal(opened)) return { outcome: opened, done: 0 };
  const { enclave, bytes } = opened;
  const { count } = operands;
  if (!enclave.initialized) return { outcome: trip(EMODPR_CHECKS, 'initialized'), done: 0 };
  let done = 0;
  for (let runs = 0; done < count; runs++) {
    if (runs === SET_PTE_RUNS) return { outcome: DONE, done, incomplete: true };
    const first = entryAt(enclave, bytes, done).offset;
    let length = 0;
    let refused: LeafOutcome | null = null;
    for (; done < count; done++, length += PAGE) {
      const { offset, rights } = entryAt(enclave, bytes, done);
      if (offset !== first + length) break;
      refused = restrictPage(s, enclave, offset, rights);
      if (refused !== null) break;
    }
    if (length > 0) {
      installRun(s, enclave, first, length);
      admissionFollowsRange(s, enclave, first, length);
    }
    if (refused !== null) return { outcome: refused, done };
  }
  return { outcome: DONE, done };
}

function entryAt(
  enclave: EnclaveRecord,
  bytes: Uint8Array,
  index: number,
): { offset: number; rights: number } {
  const entry = u64ToNumber(bytes, index * ENTRY);
  const rights = entry % PAGE;
  return { offset: entry - rights - enclave.base, rights };
}

function restrictPage(
  s: MonitorState,
  enclave: EnclaveRecord,
  offset: number,
  rights: number,
): LeafOutcome | null {
  if (rights > EPCM_RWX) return trip(RESTRICT_CHECKS, 'entry-bits');
  if ((rights & (SECINFO_R | SECINFO_W)) === SECINFO_W) return trip(EMODPR_CHECKS, 'secinfo-valid');
  const frame = offset >= 0 && offset < enclave.size ? enclave.pages.get(offset / PAGE) : -1;
  if (frame < 0) return trip(RESTRICT_CHECKS, 'page-present');
  const refused = emodprCheckPage(s, frame, enclave.base + offset);
  if (refused === null) restrictEntry(s, enclave, frame, rights);
  return refused;
}
