/** Machines for tests: small, with a chip that is forgotten. */
import { Machine, SoftwarePsp } from '../src/index.js';

export const RAM = 0x80_0000;
export const EPC = 0x40_0000;

/** A launched PSP. */
export async function launchedPsp(): Promise<SoftwarePsp> {
  const psp = await SoftwarePsp.open(null);
  psp.launchStart();
  psp.launchFinish();
  return psp;
}

/** A machine of 8 MiB RAM and 4 MiB EPC. */
export async function smallMachine(ramBytes = RAM): Promise<Machine> {
  return Machine.create({ psp: await launchedPsp(), ramBytes, epcBytes: EPC });
}

/** Runs of a fuzz test: NSGX_FUZZ_RUNS, or `fallback`. */
export function fuzzRuns(fallback: number): number {
  const runs = Number(process.env['NSGX_FUZZ_RUNS']);
  return Number.isInteger(runs) && runs > 0 ? runs : fallback;
}

/** Seed of the fuzz tests; printed by fast-check on failure. */
export const SEED = 20_240_211;
