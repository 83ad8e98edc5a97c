/** What an order may take without counting: a thread that sleeps is woken, and runs, within this time. */
const FREE_MS = 1;
/** What one enclave's orders may take beyond that at once. */
const BURST_MS = 4000;
/** Part of the time that comes back: on a busy machine an honest runner waits for its CPU too. */
const REFILL = 0.2;

/**
 * How long one enclave may keep the monitor waiting altogether. A runner is in its enclave's hands: one that answers every
 * order just in time would hold up all other enclaves with every page whose permissions change.
 */
export class Patience {
  #left = BURST_MS;
  #since: number;

  /** `now`: milliseconds of a clock that only runs forwards, as in {@link Patience.spend}. */
  constructor(now: number) {
    this.#since = now;
  }

  /** Notes a wait; false when the enclave has used up all patience. */
  spend(began: number, ended: number): boolean {
    this.#left = Math.min(BURST_MS, this.#left + (ended - this.#since) * REFILL);
    this.#since = ended;
    this.#left -= Math.max(0, ended - began - FREE_MS);
    return this.#left > 0;
  }
}
