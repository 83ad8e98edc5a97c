/**
 * SET_PTE: what the guest's page table allows on pages of an enclave. Contents stay; threads never get more than EPCM and RMP
 * allow. Entries that say what the table says already bring pages back that the processor has lost by itself.
 */
import { checkList, DONE, trip } from '../leaf/checks.js';
import type { EnclaveRecord } from '../state/enclave.js';
import { EPCM_RWX } from '../state/epcm.js';
import { installRun, renewRun } from '../state/mapping.js';
import { type FrameOwner, type MonitorState, u64ToNumber } from '../state/state.js';
import type { BulkOutcome } from './add-range.js';
import { isRefusal, LIST_ROWS, type ListOperands, openList } from './page-list.js';

/** Checks of the call. */
export const SET_PTE_CHECKS = checkList('SET_PTE', [
  ...LIST_ROWS,
  ['entry-bits', 'REFUSED', 'bits 11:3 of an entry are 0'],
  ['page-present', 'REFUSED', 'the address lies in the ELRANGE and has a page in EPC'],
  ['mapping-available', 'REFUSED', 'the processor can change the mapping'],
] as const);

const PAGE = 4096;
const ENTRY = 8;
/** Changes of one call, each of adjacent pages. One may take a millisecond where a page is full of ENCLUs. */
export const SET_PTE_RUNS = 64;

/**
 * Entries are linaddr | R | W | X, 0 rights = not present. `done` counts entries; after {@link SET_PTE_RUNS} changes the
 * call is incomplete.
 */
export function setPte(s: MonitorState, owner: FrameOwner, operands: ListOperands): BulkOutcome {
  const C = SET_PTE_CHECKS;
  const opened = openList(C, s, owner, operands, ENTRY);
  if (isRefusal(opened)) return { outcome: opened, done: 0 };
  const { enclave, bytes } = opened;
  const { count } = operands;
  // Entries of adjacent pages are collected and applied together.
  let start = 0;
  let first = -1;
  let runs = 0;
  let renews = false;
  for (let i = 0; i <= count; i++) {
    const entry = i < count ? u64ToNumber(bytes, i * ENTRY) : 0;
    const low = entry % PAGE;
    const offset = entry - low - enclave.base;
    if (i > start && (i === count || offset !== first + (i - start) * PAGE)) {
      const length = (i - start) * PAGE;
      if (!installRun(s, enclave, first, length) || (renews && !renewRun(s, enclave, first, length)))
        return { outcome: trip(C, 'mapping-available'), done: start };
      start = i;
      runs++;
    }
    if (i === count) break;
    if (runs === SET_PTE_RUNS) return { outcome: DONE, done: i, incomplete: true };
    const refused = low > EPCM_RWX ? 'entry-bits' : pageAt(enclave, offset) < 0 ? 'page-present' : null;
    if (refused !== null) {
      if (i > start) installRun(s, enclave, first, (i - start) * PAGE);
      return { outcome: trip(C, refused), done: i };
    }
    if (i === start) {
      first = offset;
      renews = false;
    }
    const frame = pageAt(enclave, offset);
    if (s.epcm.pte(frame) === low) renews = true;
    s.epcm.setPte(frame, low);
  }
  return { outcome: DONE, done: count };
}

/** Frame of the page at an offset from BASEADDR, or −1. */
function pageAt(enclave: EnclaveRecord, offset: number): number {
  return offset >= 0 && offset < enclave.size ? enclave.pages.get(offset / PAGE) : -1;
}
