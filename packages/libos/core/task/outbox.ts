/**
 * What the native half finds when the lock of the core is given back (native/src/attend.c): threads that are to look for a
 * signal even though they only compute (u64, a bit for each slot), and when somebody must look after timers (u64, on clock 1).
 */
export const outbox: usize = memory.data(16, 8);
store<u64>(outbox, u64.MAX_VALUE, 8);

/** The thread of a slot is to be interrupted. */
export function interruptSlot(slot: i32): void {
  store<u64>(outbox, load<u64>(outbox) | ((<u64>1) << slot));
}

/** No thread of the program is what runs (core/index.ts, attend). */
export let attending: bool = false;
export function setAttending(on: bool): void {
  attending = on;
}

/** The earliest timer. */
export function setAlarm(until: u64): void {
  store<u64>(outbox, until, 8);
}
