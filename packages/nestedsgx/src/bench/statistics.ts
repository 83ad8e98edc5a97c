/** Order statistics, and timing of short calls in TSC cycles. */
import { rdtsc } from '@nestedsgx/os';

/** The q-quantile (0…1) of unordered figures; of an even number the upper one. */
export function quantile(figures: readonly number[], q: number): number {
  if (figures.length === 0) throw new RangeError('there is no quantile of no figures');
  const sorted = [...figures].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))]!;
}

/** The median of unordered figures. */
export function median(figures: readonly number[]): number {
  return quantile(figures, 0.5);
}

/** Cycles of one call, as the average of `count` calls in a row. */
export function averageCycles(call: () => void, count: number): number {
  const start = rdtsc();
  for (let i = 0; i < count; i++) call();
  return (rdtsc() - start) / count;
}

/** Cycles of every one of `count` calls, less what reading the counter costs. */
export function singleCycles(call: () => void, count: number): number[] {
  const nothing = median(Array.from({ length: 101 }, () => -(rdtsc() - rdtsc())));
  const figures = new Array<number>(count);
  for (let i = 0; i < count; i++) {
    const start = rdtsc();
    call();
    figures[i] = Math.max(0, rdtsc() - start - nothing);
  }
  return figures;
}

/** Figures of several things measured in turn, so that a disturbance of the machine meets all of them. */
export function interleaved<K extends string>(
  rounds: number,
  measured: Readonly<Record<K, () => number | number[]>>,
): Record<K, number[]> {
  const names = Object.keys(measured) as K[];
  const figures = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<K, number[]>;
  for (let round = 0; round < rounds; round++)
    for (const name of names) figures[name] = figures[name].concat(measured[name]());
  return figures;
}
