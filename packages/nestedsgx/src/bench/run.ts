/** Running benchmarks. */
import { usableCpus } from '@nestedsgx/os';
import { awaitQuiet, thisHost } from './host.js';
import type { Bench, BenchResult, Row } from './row.js';

/** Longest wait for others to leave the machine alone, before each benchmark. */
const QUIET_MS = 10_000;

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
  let busy = 0;
  for (const bench of benches) {
    if (!context.short) busy = Math.max(busy, await awaitQuiet(QUIET_MS));
    rows.push(...(await bench.run(context)));
  }
  return { ...host, busy, rows };
}
