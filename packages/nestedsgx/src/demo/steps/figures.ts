import { rdtsc, tscHz } from '@nestedsgx/os';
import type { Cvm } from '@nestedsgx/sdk';
import type { Tour } from '../tour.js';
import { loadCalc, type TourImages } from './enclave.js';

const CALLS = 20_000;
const BATCH = 100;

/** A few real figures, measured now: medians of batches. `nsgx bench` has the whole table with floors. */
export async function figures(tour: Tour, cvm: Cvm, images: TourImages): Promise<void> {
  tour.begin('Real figures, measured just now');
  const calc = await loadCalc(cvm, images);
  const ghz = tscHz() / 1e9;
  const empty = medianCycles(() => calc.ecalls.empty());
  tour.record(
    'empty ECALL round trip from TypeScript',
    `${empty.toFixed(0)} cycles (${(empty / ghz / 1000).toFixed(2)} µs)`,
  );
  tour.record(
    'for comparison',
    'NestedSGX on SNP hardware: 32,000–34,000 cycles; Intel SGX: about 16,000–17,000',
  );
  await calc.close();
}

function medianCycles(body: () => unknown): number {
  for (let i = 0; i < 1000; i++) body();
  const batches: number[] = [];
  for (let done = 0; done < CALLS; done += BATCH) {
    const from = rdtsc();
    for (let i = 0; i < BATCH; i++) body();
    batches.push((rdtsc() - from) / BATCH);
  }
  return batches.sort((a, b) => a - b)[batches.length >> 1]!;
}
