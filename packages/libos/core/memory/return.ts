/**
 * Memory that programs freed goes back to the host: some is kept to be used again, as coming and going cost as much as
 * clearing some hundred times. What goes is in the books as nobody's meanwhile, and calls that name it are made again.
 */
import { ask, requestYield, THEN_RETURNED } from '../request';
import { accepted, made, now } from '../shim';
import { changes } from './enforce';
import { arenaBytes, gapEnd, gapStart, nextGap, release, reserve } from './places';
import { PAGE } from './space';

const OP_RETURN: u64 = 25;
/** What may lie idle: more when what was returned is wanted again at once, up to half of the program's memory. */
let keep: u64 = 32 << 20;
const AT_ONCE: u64 = 2_000_000_000;
/** So many bytes are freed before somebody looks. */
const STEP: u64 = 8 << 20;
/** Most that one call gives back. */
const MOST: u64 = 32 << 20;

let since: u64 = 0;
/** At the last time: when it was, how many pages had come until then, and how many went. */
let last: u64 = 0;
let hadCome: u64 = 0;
let went: u64 = 0;
let start: u64 = 0;
let end: u64 = 0;

/** Whether a range is on its way, or changes; the call is then made again. */
export function onItsWay(at: u64, length: u64): bool {
  return (start < end && at < end && at + length > start) || changes(at, length);
}

export function later(): i64 {
  return requestYield();
}

/** At the end of a call that freed memory: its result, or a request that has it as its result. */
export function freed(length: u64): i64 {
  since += length;
  if (since < STEP || start < end) return 0;
  since = 0;
  let idle: u64 = 0;
  let most: u64 = 0;
  let from: u64 = 0;
  let to: u64 = 0;
  for (let at: u64 = 0; nextGap(at); at = gapEnd) {
    const pages = made(gapStart, gapEnd - gapStart);
    idle += pages * PAGE;
    if (pages <= most) continue;
    most = pages;
    from = gapStart;
    to = gapEnd;
  }
  const present = now(1);
  if (went > 0 && accepted() - hadCome >= went && present - last < AT_ONCE) keep = min(2 * keep, arenaBytes() / 2);
  if (idle <= keep) return 0;
  // More than one call gives back: the next one that frees goes on.
  if (idle - keep > MOST) since = STEP;
  if (to - from > MOST) from = to - MOST;
  went = made(from, to - from);
  hadCome = accepted();
  last = present;
  start = from;
  end = to;
  reserve(from, to);
  return ask(OP_RETURN, from, to - from, 0, 0, THEN_RETURNED);
}

/** It is gone, or the host did not take it: then it lies idle. */
export function returned(): void {
  release(start, end);
  start = end = 0;
}
