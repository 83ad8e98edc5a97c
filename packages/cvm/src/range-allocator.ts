interface Range {
  start: number;
  length: number;
}

/**
 * First-fit allocator of disjoint ranges, for guest RAM slices and EPC frame ranges: few, large, long-lived.
 * Neighbouring free ranges are joined when one is returned.
 */
export class RangeAllocator {
  private free: Range[];

  /** @param start first address, @param length size of the whole area, @param unit every range is a multiple of it. */
  constructor(
    start: number,
    length: number,
    private readonly unit: number,
  ) {
    this.free = length > 0 ? [{ start, length }] : [];
  }

  /** Bytes not handed out. */
  get available(): number {
    return this.free.reduce((sum, range) => sum + range.length, 0);
  }

  /** The longest range that `take` could give now. */
  get largest(): number {
    return this.free.reduce((max, range) => Math.max(max, range.length), 0);
  }

  /** A range of at least `length`, or null when none is free. */
  take(length: number): Range | null {
    const wanted = Math.ceil(length / this.unit) * this.unit;
    const at = this.free.findIndex((range) => range.length >= wanted);
    const range = this.free[at];
    if (wanted <= 0 || range === undefined) return null;
    const taken = { start: range.start, length: wanted };
    if (range.length === wanted) this.free.splice(at, 1);
    else this.free[at] = { start: range.start + wanted, length: range.length - wanted };
    return taken;
  }

  /** Returns a range that `take` gave. */
  give(range: Range): void {
    const at = this.free.findIndex((other) => other.start > range.start);
    const list = this.free;
    list.splice(at < 0 ? list.length : at, 0, { ...range });
    this.free = list.reduce<Range[]>((joined, next) => {
      const last = joined[joined.length - 1];
      if (last !== undefined && last.start + last.length === next.start) last.length += next.length;
      else joined.push({ ...next });
      return joined;
    }, []);
  }
}
