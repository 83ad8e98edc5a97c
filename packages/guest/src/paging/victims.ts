/** Which pages go: the oldest ones, a part of them only after they were seen not to be used. */
import type { SgxEnclaveFile } from '../enclave-file.js';
import { type FrameList, LIST } from './frame-list.js';
import type { EpcSupply } from './supply.js';

/** Victims by enclave, as offsets. */
export type Victims = Map<SgxEnclaveFile, number[]>;

/**
 * Takes up to `wanted` pages off the lists, and ages the next ones. With `skipNeeded` TCS and SSA pages stay, since an
 * entry would bring them back at once.
 */
export function chooseVictims(
  supply: EpcSupply,
  list: FrameList,
  wanted: number,
  skipNeeded: boolean,
): Victims {
  const { ageing } = supply;
  const frames = list.length(LIST.ACTIVE) + list.length(LIST.AGED);
  const target = ageing.target(frames);
  const fromAged = Math.round(wanted * ageing.share);
  const victims: Victims = new Map();
  let left = wanted;
  if (list.length(LIST.AGED) >= target) left -= takeAged(list, Math.min(fromAged, left), victims, ageing);
  left -= takeActive(list, left, skipNeeded, victims);
  if (left > 0) takeAged(list, left, victims, ageing);
  age(supply, list, Math.min(2 * fromAged, Math.max(0, target + fromAged - list.length(LIST.AGED))));
  return victims;
}

function takeAged(list: FrameList, wanted: number, victims: Victims, ageing: { evicted(): void }): number {
  let taken = 0;
  for (; taken < wanted; taken++) {
    const frame = list.oldest(LIST.AGED);
    if (frame < 0) break;
    take(list, frame, victims);
    ageing.evicted();
  }
  return taken;
}

function takeActive(list: FrameList, wanted: number, skipNeeded: boolean, victims: Victims): number {
  let taken = 0;
  for (let looks = list.length(LIST.ACTIVE); looks > 0 && taken < wanted; looks--) {
    const frame = list.oldest(LIST.ACTIVE);
    if (skipNeeded && list.file(frame).threads.neededForEntry(list.offset(frame))) {
      list.move(frame, LIST.ACTIVE);
      continue;
    }
    take(list, frame, victims);
    taken++;
  }
  return taken;
}

function take(list: FrameList, frame: number, victims: Victims): void {
  const file = list.file(frame);
  const offsets = victims.get(file);
  if (offsets === undefined) victims.set(file, [list.offset(frame)]);
  else offsets.push(list.offset(frame));
  list.remove(list.gpa(frame));
}

/** Makes the entries of the oldest active pages not present. Pages of enclaves that do not run yet are not used anyway. */
function age(supply: EpcSupply, list: FrameList, wanted: number): void {
  const chosen: Victims = new Map();
  let left = wanted;
  for (let looks = Math.min(list.length(LIST.ACTIVE), 4 * wanted); looks > 0 && left > 0; looks--) {
    const frame = list.oldest(LIST.ACTIVE);
    const file = list.file(frame);
    const offset = list.offset(frame);
    if (file.threads.neededForEntry(offset)) {
      list.move(frame, LIST.ACTIVE);
      continue;
    }
    list.move(frame, LIST.AGED);
    left--;
    if (!file.initialised) continue;
    const offsets = chosen.get(file);
    if (offsets === undefined) chosen.set(file, [offset]);
    else offsets.push(offset);
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
