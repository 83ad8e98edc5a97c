/** Running benchmarks. */
import { usableCpus } from '@nestedsgx/os';
import { thisHost } from './host.js';
import type { Bench, BenchResult, Row } from './row.js';

/** Runs benchmarks one after another. `short`: a few repetitions of everything. */
export async function runBenches(
  benches: readonly Bench[],
  options: { short?: boolean; note?: (text: string) => void } = {},
): Promise<BenchResult> {
  const host = thisHost();
  const context = {
    tscHz: host.tscHz,
    cpus: usableCpus(),
    short: options.short ?? false,
    note: options.note ?? (() => undefined),
  };
  const rows: Row[] = [];
  for (const bench of benches) rows.push(...(await bench.run(context)));
  return { ...host, rows };
}
