/**
 * What the native half finds when the lock of the core is given back (native/src/attend.c): threads that are to look for a
 * signal even though they only compute (u64, a bit for each slot), when somebody must look after timers (u64, on clock 1), and
 * whether the first process has been stopped (u64).
 */
export const outbox: usize = memory.data(24, 8);
store<u64>(outbox, u64.MAX_VALUE, 8);

/** The thread of a slot is to be interrupted. */
export function interruptSlot(slot: i32): void {
  store<u64>(outbox, load<u64>(outbox) | ((<u64>1) << slot));
}

/** The first process is stopped: so is the program for whoever runs it. */
export function tellStopped(): void {
  store<u64>(outbox, 1, 16);
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
