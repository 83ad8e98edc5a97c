/** A small seeded generator (xorshift32), so that a run can be told again by its seed. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0 || 0x9e37_79b9;
  }

  /** A number from 0 to `below` − 1. */
  next(below: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x >>> 0;
    return this.#state % below;
  }

  /** One of the values. */
  pick<T>(values: readonly T[]): T {
    return values[this.next(values.length)];
  }
}
