import { check, checkInteger } from './errors.js';
import { native } from './native.js';

const OUTCOMES = ['woken', 'changed', 'timeout'] as const;

/** Wakes at most `count` waiters of the 32-bit word at `address`; returns how many woke. */
export function futexWake(address: number, count = 1): number {
  return check(native().futexWake(address, count), 'futex');
}

/**
 * Sleeps while the 32-bit word at `address` equals `expected`, for at most `timeoutMs` (fractions allowed).
 * "changed": it already differed. A wake does not say that the word changed: look again.
 */
export function futexWait(
  address: number,
  expected: number,
  timeoutMs: number,
): 'woken' | 'changed' | 'timeout' {
  const us = checkInteger(Math.ceil(timeoutMs * 1000), 'timeoutMs × 1000', 0, 0xffffffff);
  return OUTCOMES[check(native().futexWait(address, expected >>> 0, us), 'futex')]!;
}

/** Moves waiters of one word to another (FUTEX_REQUEUE): what a hostile neighbour may do. Returns their number. */
export function futexRequeue(from: number, to: number, wake = 0, move = 1): number {
  return check(native().futexRequeue(from, to, wake, move), 'futex');
}

/**
 * Rings a doorbell: increments the word and wakes its sleepers if the flag at `asleepAddress` is set (0: always).
 * Returns the word after the increment.
 */
export function ring(address: number, asleepAddress: number): number {
  return native().ring(address, asleepAddress);
}

/**
 * Returns the word at `address` as soon as it differs from `expected`: at once, while spinning for `spinCycles`
 * TSC cycles, or while sleeping with the flag at `asleepAddress` (0: none) set; after `timeoutUs` it returns the
 * unchanged word. Ringers use {@link ring} or do the same: change the word first, look at the flag afterwards.
 */
export function spinThenWait(
  address: number,
  expected: number,
  spinCycles: number,
  timeoutUs: number,
  asleepAddress: number,
): number {
  return native().spinThenWait(address, expected, spinCycles, timeoutUs, asleepAddress);
}

/** Options of {@link AdaptiveWaiter}. */
export interface WaiterOptions {
  /** Upper limit of the spin budget in TSC cycles; 0 for one usable CPU. Default 4000. */
  maxSpinCycles?: number;
}

/**
 * A waiter on one doorbell word that learns how long spinning pays: its budget is halved on every miss and
 * doubled on every hit, and when a sleep turned out to be short.
 */
export class AdaptiveWaiter {
  /** Layout of struct waiter in native/futex.c: u64 word, u64 asleep, u32 budget, max, hits, misses. */
  readonly #state: BigUint64Array;
  readonly #words: Uint32Array;

  constructor(address: number, asleepAddress: number, options: WaiterOptions = {}) {
    const max = checkInteger(options.maxSpinCycles ?? 4000, 'maxSpinCycles', 0, 0xfffffff);
    this.#state = new BigUint64Array(4);
    this.#words = new Uint32Array(this.#state.buffer);
    this.#state[0] = BigInt(address);
    this.#state[1] = BigInt(asleepAddress);
    this.#words[4] = max;
    this.#words[5] = max;
  }

  /** As {@link spinThenWait} with the budget learnt so far. */
  wait(expected: number, timeoutUs: number): number {
    return native().waiterWait(this.#state, expected, timeoutUs);
  }

  /** Present budget in cycles; waits that ended while spinning; waits that slept. */
  get stats(): { spinCycles: number; hits: number; misses: number } {
    return { spinCycles: this.#words[4]!, hits: this.#words[6]!, misses: this.#words[7]! };
  }
}
