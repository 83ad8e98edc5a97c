import { CpuError } from '../errors.js';
import { MAX_MAPS } from '../layout/memory.js';

/** A run of pages and the PROT_* flags of its mapping. */
export interface Protection {
  offset: number;
  length: number;
  prot: number;
}

/**
 * The PROT_* flags of the mappings that make up a runner's ELRANGE. The kernel merges neighbours with equal flags, since
 * all of them map one file at matching offsets; so does this, and thus knows how many mappings there are.
 */
export class Protections {
  readonly #size: number;
  readonly #limit: number;
  /** Start of each mapping, ascending, the first is 0; and its flags. */
  #starts: number[] = [0];
  #prots: number[];

  /** One mapping of `size` bytes. `limit`: most mappings that may come to be. */
  constructor(size: number, prot: number, limit = MAX_MAPS) {
    this.#size = size;
    this.#limit = limit;
    this.#prots = [prot];
  }

  /** Mappings. */
  get count(): number {
    return this.#starts.length;
  }

  /** Index of the mapping that holds `offset`. */
  #find(offset: number): number {
    let low = 0;
    let high = this.#starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#starts[middle]! <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** The protection of a range that lies in one mapping, else null. */
  uniform(offset: number, length: number): number | null {
    const i = this.#find(offset);
    return offset + length <= (this.#starts[i + 1] ?? this.#size) ? this.#prots[i]! : null;
  }

  /** The parts of a range, each with one protection. */
  *parts(offset: number, length: number): Generator<Protection> {
    const end = offset + length;
    for (let i = this.#find(offset); i < this.#starts.length && this.#starts[i]! < end; i++) {
      const from = Math.max(offset, this.#starts[i]!);
      const to = Math.min(end, this.#starts[i + 1] ?? this.#size);
      yield { offset: from, length: to - from, prot: this.#prots[i]! };
    }
  }

  /**
   * What has to change so that every mapping of the range suits: `want` gives the flags for the flags that are there.
   * Adjacent parts that get equal flags are one.
   */
  changes(offset: number, length: number, want: (prot: number) => number): Protection[] {
    const out: Protection[] = [];
    for (const part of this.parts(offset, length)) {
      const prot = want(part.prot);
      if (prot === part.prot) continue;
      const last = out[out.length - 1];
      if (last && last.offset + last.length === part.offset && last.prot === prot) last.length += part.length;
      else out.push({ offset: part.offset, length: part.length, prot });
    }
    return out;
  }

  /** Notes a change. @throws CpuError PROCESSOR_LIMIT when there would be too many mappings; nothing is changed then */
  set(offset: number, length: number, prot: number): void {
    if (length === 0) return;
    const end = offset + length;
    const first = this.#find(offset);
    const last = this.#find(end - 1);
    const lastEnd = this.#starts[last + 1] ?? this.#size;
    const starts: number[] = [];
    const prots: number[] = [];
    const add = (start: number, value: number) => {
      if (prots[prots.length - 1] === value) return;
      starts.push(start);
      prots.push(value);
    };
    // The neighbours on both sides are written again, so that they merge where flags are equal.
    const from = Math.max(0, first - 1);
    for (let i = from; i < first; i++) add(this.#starts[i]!, this.#prots[i]!);
    if (this.#starts[first]! < offset) add(this.#starts[first]!, this.#prots[first]!);
    add(offset, prot);
    if (end < lastEnd) add(end, this.#prots[last]!);
    let until = last + 1;
    if (until < this.#starts.length) add(this.#starts[until]!, this.#prots[until++]!);
    const count = this.#starts.length - (until - from) + starts.length;
    if (count > this.#limit && count > this.#starts.length)
      throw new CpuError(
        'PROCESSOR_LIMIT',
        `The enclave would need ${count} mappings; ${this.#limit} are possible.`,
        { advice: 'Give neighbouring pages equal permissions.' },
      );
    this.#starts.splice(from, until - from, ...starts);
    this.#prots.splice(from, until - from, ...prots);
  }
}
