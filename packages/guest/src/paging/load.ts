/** Loading evicted pages again: ELDU, and what a damaged backing store means. */
import { SGX_ERROR, sgxErrorName } from '@nestedsgx/arch';
import type { SgxEnclaveFile } from '../enclave-file.js';
import { guestError } from '../errors.js';
import type { ListOutcome, PageEntry } from './page-calls.js';

/** Calls for one page that end because another call holds one of its pages. */
const MAX_CONFLICTS = 50;

/**
 * Loads the evicted page at `offsets[0]`, and those after it as far as they can be loaded. Returns how many were.
 * @throws EPC_PAGE_DAMAGED when the first page's backing is not what was written; EPC_EXHAUSTED, GUEST_MEMORY_EXHAUSTED,
 *   SVSM_REFUSED, CVM_LOST
 */
export function loadPages(file: SgxEnclaveFile, offsets: readonly number[]): number {
  const { supply } = file.device;
  supply.prepare(offsets.length);
  const room = Math.max(1, Math.min(offsets.length, supply.free - 2));
  const wanted = offsets.slice(0, room);
  const entries: PageEntry[] = wanted.map((offset) => {
    const slot = file.pages.slot(offset);
    return {
      frame: supply.takeReserved(),
      vaSlot: supply.store.version(slot),
      page: supply.store.pageGpa(slot),
      pcmd: supply.store.pcmdGpa(slot),
      linaddr: file.base + offset,
    };
  });
  let done = 0;
  try {
    let outcome = supply.calls.load(file.secs, entries);
    done = outcome.done;
    for (let tries = 0; done === 0 && tries < MAX_CONFLICTS; tries++) {
      if (outcome.fault !== undefined || outcome.code !== SGX_ERROR.SGX_EPC_PAGE_CONFLICT) break;
      outcome = supply.calls.load(file.secs, entries.slice(0, 1));
      done = outcome.done;
    }
    if (done === 0) throw damaged(file, wanted[0], outcome);
  } finally {
    for (let i = 0; i < done; i++) loaded(file, wanted[i], entries[i]);
    for (let i = done; i < entries.length; i++) supply.giveHot(entries[i].frame);
  }
  return done;
}

function loaded(file: SgxEnclaveFile, offset: number, entry: PageEntry): void {
  const { supply } = file.device;
  const slot = file.pages.slot(offset);
  const evictedAt = supply.store.stamp(slot);
  supply.store.give(slot);
  file.versions.give(entry.vaSlot);
  file.pages.place(offset, entry.frame);
  supply.reloaded(file, offset, entry.frame, evictedAt);
}

/** The enclave cannot go on without the page: it is stopped, others are not. */
function damaged(file: SgxEnclaveFile, offset: number, outcome: ListOutcome): Error {
  const { fault, code } = outcome;
  const why = fault === undefined ? sgxErrorName(code) : `ELDU raised vector ${fault.vector}`;
  const error = guestError(
    'EPC_PAGE_DAMAGED',
    `the evicted page at offset 0x${offset.toString(16)} of the enclave at 0x${file.base.toString(16)} is not what was written back (${why})`,
    'something changed, replaced or rolled back guest memory; load the enclave again',
  );
  file.stop(error);
  return error;
}
