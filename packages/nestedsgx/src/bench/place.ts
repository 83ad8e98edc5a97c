/** Where a benchmark's processes run. */
import { setAffinity, usableCpus } from '@nestedsgx/os';
import { Cvm, type LaunchOptions } from '@nestedsgx/sdk';

/** Machines of the benchmarks: no state is left behind. */
export const BENCH_MACHINE: LaunchOptions = Object.freeze({
  stateDir: null,
  ramBytes: 256 * 2 ** 20,
  epcBytes: 1024 * 2 ** 20,
});

/** Runs `work` with this thread, and every process it starts meanwhile, on the given CPUs. */
export async function onCpus<T>(cpus: readonly number[], work: () => Promise<T>): Promise<T> {
  const before = usableCpus();
  setAffinity(0, cpus);
  try {
    return await work();
  } finally {
    setAffinity(0, before);
  }
}

/** Runs `work` with a confidential VM of its own. */
export async function withMachine<T>(work: (cvm: Cvm) => Promise<T>): Promise<T> {
  await using cvm = await Cvm.launch(BENCH_MACHINE);
  return await work(cvm);
}
