/** When the collector runs: after so many calls, sooner where they leave much. */

const CALLS: i32 = 16384;
let left: i32 = CALLS;

/** At a call's beginning: whether it is time. */
@inline export function isTime(): bool {
  if (--left > 0) return false;
  left = CALLS;
  return true;
}

/** The call under way leaves as much as so many others. */
export function leftMuch(calls: i32): void {
  left -= calls;
}
