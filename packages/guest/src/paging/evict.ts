/** Writing pages back: EBLOCK, ETRACK, EWB, with interrupts for threads that may still use old translations. */
import { SGX_ERROR } from '@nestedsgx/arch';
import type { SgxEnclaveFile } from '../enclave-file.js';
import { LIST } from './frame-list.js';
import { PAGES_AT_ONCE, type PageEntry } from './page-calls.js';

/** Calls of one batch that end with SGX_NOT_TRACKED. */
const MAX_TRACKING = 20;

/**
 * Writes pages of one enclave back; they have been taken off the lists. Returns how many frames became free. Pages that
 * cannot go now are put on the list of active pages again.
 * @throws GUEST_MEMORY_EXHAUSTED, EPC_EXHAUSTED (no frame for a version array), SVSM_REFUSED, CVM_LOST
 */
export function evictPages(file: SgxEnclaveFile, offsets: readonly number[]): number {
  // In order of addresses and slots the monitor serves neighbours together.
  const ordered = offsets.toSorted((a, b) => a - b);
  let freed = 0;
  for (let from = 0; from < ordered.length; from += PAGES_AT_ONCE)
    freed += evictBatch(file, ordered.slice(from, from + PAGES_AT_ONCE));
  return freed;
}

function evictBatch(file: SgxEnclaveFile, offsets: readonly number[]): number {
  const { supply } = file.device;
  let entries: PageEntry[] = [];
  const slots: number[] = [];
  try {
    provide(file, offsets.length);
    for (const offset of offsets) {
      const slot = supply.store.take();
      slots.push(slot);
      entries.push({
        frame: file.pages.frame(offset),
        vaSlot: file.versions.take(),
        page: supply.store.pageGpa(slot),
        pcmd: supply.store.pcmdGpa(slot),
        linaddr: 0,
      });
    }
  } catch (error) {
    for (const entry of entries) file.versions.give(entry.vaSlot);
    for (const slot of slots) supply.store.give(slot);
    for (const offset of offsets) supply.list?.add(file.pages.frame(offset), file, offset, LIST.ACTIVE);
    throw error;
  }
  let freed = 0;
  let at = 0;
  for (let tracking = 0; entries.length > 0; ) {
    const outcome = supply.calls.evict(file.secs, entries);
    for (let i = 0; i < outcome.done; i++, at++) written(file, offsets[at], slots[at], entries[i]);
    freed += outcome.done;
    entries = entries.slice(outcome.done);
    if (entries.length === 0) break;
    if (outcome.code === SGX_ERROR.SGX_NOT_TRACKED && tracking++ < MAX_TRACKING) {
      supply.counters.kicks += file.threads.insideCount;
      file.threads.kickOut(file.secs, tracking > 1);
      continue;
    }
    // This page cannot go now; the others may.
    kept(file, offsets[at], slots[at], entries[0]);
    entries = entries.slice(1);
    at++;
  }
  return freed;
}

/** Makes sure that the enclave has free version slots. */
function provide(file: SgxEnclaveFile, count: number): void {
  const { supply } = file.device;
  while (file.versions.free < count) {
    const frame = supply.takeReserved();
    const outcome = supply.calls.makeVersionArray(frame);
    if (outcome.fault !== undefined || outcome.code !== 0) {
      supply.give(frame, 1);
      throw file.leafFailed('EIO', 'EPA refused a version array', outcome);
    }
    file.versions.add(frame);
  }
}

function written(file: SgxEnclaveFile, offset: number, slot: number, entry: PageEntry): void {
  const { supply } = file.device;
  file.pages.evict(offset, slot);
  supply.store.setVersion(slot, entry.vaSlot);
  supply.store.setStamp(slot, supply.counters.evicted);
  file.blocked.delete(offset);
  supply.giveHot(entry.frame);
  supply.counters.evicted++;
  supply.changes++;
}

function kept(file: SgxEnclaveFile, offset: number, slot: number, entry: PageEntry): void {
  const { supply } = file.device;
  supply.store.give(slot);
  file.versions.give(entry.vaSlot);
  // EBLOCK may have been done: only EWB and ELDU take the block away again.
  file.blocked.add(offset);
  supply.list?.add(entry.frame, file, offset, LIST.ACTIVE);
  supply.changes++;
}
