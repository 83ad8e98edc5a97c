/** When the collector of garbage runs next: after so many calls, or sooner where calls leave much behind. */
const EVERY: u32 = 16384;

export let untilCollection: u32 = EVERY;

/** A call begins, where nothing of one is on the stack: whether the collector is to run. */
@inline export function collects(): bool {
  if (--untilCollection !== 0) return false;
  untilCollection = EVERY;
  return true;
}

/** What is left behind is as much as so many calls leave. */
export function litter(calls: u32): void {
  untilCollection = untilCollection > calls ? untilCollection - calls : 1;
}
