/** Which pages go: the oldest ones that are not kept, and kept ones after they were seen not to be used. */
import type { SgxEnclaveFile } from '../enclave-file.js';
import { AgeingPolicy } from './ageing.js';
import { type FrameList, LIST } from './frame-list.js';
import type { EpcSupply } from './supply.js';

/** Victims by enclave, as offsets. */
export type Victims = Map<SgxEnclaveFile, number[]>;

/**
 * Takes up to `wanted` pages off the lists, and lets some kept ones lose their place. With `skipNeeded` TCS and SSA pages
 * stay, since an entry would bring them back at once.
 */
export function chooseVictims(
  supply: EpcSupply,
  list: FrameList,
  wanted: number,
  skipNeeded: boolean,
): Victims {
  const frames = list.length(LIST.ACTIVE) + list.length(LIST.HOT) + list.length(LIST.AGED);
  const victims: Victims = new Map();
  const waiting = AgeingPolicy.waiting(frames);
  let left = wanted - takeAged(supply, list, Math.min(wanted, list.length(LIST.AGED) - waiting), victims);
  left -= takeOldest(list, LIST.ACTIVE, left, skipNeeded, victims);
  if (left > 0) left -= takeAged(supply, list, left, victims);
  if (left > 0) takeOldest(list, LIST.HOT, left, skipNeeded, victims);
  demote(supply, list, frames);
  return victims;
}

function takeAged(supply: EpcSupply, list: FrameList, wanted: number, victims: Victims): number {
  let taken = 0;
  for (; taken < wanted; taken++) {
    const frame = list.oldest(LIST.AGED);
    if (frame < 0) break;
    take(list, frame, victims);
    supply.ageing.evicted();
  }
  return taken;
}

function takeOldest(
  list: FrameList,
  from: number,
  wanted: number,
  skipNeeded: boolean,
  victims: Victims,
): number {
  let taken = 0;
  for (let looks = list.length(from); looks > 0 && taken < wanted; looks--) {
    const frame = list.oldest(from);
    if (skipNeeded && list.file(frame).threads.neededForEntry(list.offset(frame))) {
      list.move(frame, from);
      continue;
    }
    take(list, frame, victims);
    taken++;
  }
  return taken;
}

function take(list: FrameList, frame: number, victims: Victims): void {
  note(victims, list.file(frame), list.offset(frame));
  list.remove(list.gpa(frame));
}

function note(pages: Victims, file: SgxEnclaveFile, offset: number): void {
  const offsets = pages.get(file);
  if (offsets === undefined) pages.set(file, [offset]);
  else offsets.push(offset);
}

/** The oldest kept pages lose their place: some are aged, to see whether they are used. */
function demote(supply: EpcSupply, list: FrameList, frames: number): void {
  const kept = list.length(LIST.HOT);
  if (kept <= AgeingPolicy.few(frames)) return;
  const chosen: Victims = new Map();
  const seen = supply.ageing.demoted();
  const wanted = Math.max(seen, kept - AgeingPolicy.room(frames));
  for (let i = 0; i < Math.min(wanted, kept); i++) {
    const frame = list.oldest(LIST.HOT);
    const file = list.file(frame);
    const offset = list.offset(frame);
    // Those that only make room are not asked for: so many are kept that some of them are by chance.
    const ask = i < seen && file.initialised && !file.threads.neededForEntry(offset);
    if (!ask || !supply.ageing.looks()) {
      list.move(frame, LIST.ACTIVE);
      continue;
    }
    list.move(frame, LIST.AGED);
    note(chosen, file, offset);
  }
  for (const [file, offsets] of chosen) {
    for (const offset of offsets) file.pages.setAged(offset, true);
    supply.calls.setPte(
      file.secs,
      offsets.map((offset) => file.base + offset),
      0,
    );
    supply.counters.aged += offsets.length;
  }
}
