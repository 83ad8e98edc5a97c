/** A compute and a memory kernel inside an enclave against the same object code in this process. */
import { anchor, PAPER_FIGURES } from './anchors.js';
import { MappedElf } from './elf.js';
import { floorLibrary } from './floor.js';
import { onCpus, withMachine } from './place.js';
import type { Bench, BenchContext, Row } from './row.js';
import { averageCycles, interleaved, median, quantile } from './statistics.js';
import { benchSample } from './transitions.js';

const MIB = 2 ** 20;

interface Kernel {
  name: string;
  inside: () => number;
  outside: () => number;
}

function kernelRow(context: BenchContext, { name, inside, outside }: Kernel): Row {
  inside();
  outside();
  const figures = interleaved(context.short ? 3 : 41, { outside, inside });
  const plain = median(figures.outside);
  // Each run against the one just before it: what neighbours do to the caches meets both.
  const ratios = figures.inside.map((cycles, i) => cycles / (figures.outside[i] as number));
  return {
    name,
    form: '',
    value: median(ratios),
    unit: 'ratio',
    p99: quantile(ratios, 0.99),
    floor: 1,
    peer: null,
    paper: anchor(PAPER_FIGURES, name, ''),
    note: `against the same object code outside, ${((plain / context.tscHz) * 1000).toFixed(1)} ms a run, small pages`,
  };
}

/** `nsgx bench compute`. */
export const compute: Bench = {
  name: 'compute',
  summary: 'compute and memory kernels inside and outside of an enclave',
  async run(context) {
    context.note('kernels inside and outside');
    const library = floorLibrary();
    const iterations = context.short ? 20_000 : 4_000_000;
    const bytes = context.short ? MIB : 8 * MIB;
    const rounds = context.short ? 1 : 8;
    return withMachine(async (cvm) => {
      await using enclave = await cvm.load(benchSample(), { ocalls: {} as never });
      const calls = enclave.ecalls as unknown as Record<string, (...values: number[]) => bigint>;
      using elf = new MappedElf(benchSample().replace(/\.sgxs$/, '.elf'));
      const memory: number = Number(library.memory(bytes));
      if (memory === 0) throw new Error(`no memory for a kernel of ${bytes} bytes`);
      const plain = (name: string, a: number, b: number, c: number) => () =>
        Number(library.time(elf.addressOf(name), a, b, c));
      try {
        return await onCpus(context.cpus.slice(0, 1), async () =>
          [
            {
              name: 'compute',
              inside: () => averageCycles(() => calls.kernel_compute!(iterations), 1),
              outside: plain('nsgx_kernel_compute_work', iterations, 0, 0),
            },
            {
              name: 'memory',
              inside: () => averageCycles(() => calls.kernel_memory!(bytes, rounds), 1),
              outside: plain('nsgx_kernel_memory_work', memory, bytes, rounds),
            },
          ].map((kernel) => kernelRow(context, kernel)),
        );
      } finally {
        library.free(memory, bytes);
      }
    });
  },
};
