/** An enclave whose working set is four times the EPC, against the same enclave with enough of it. */
import { Cvm } from '@nestedsgx/sdk';
import { parseSample } from '../top/sample.js';
import { BENCH_MACHINE, onCpus } from './place.js';
import type { Bench, BenchContext, Row } from './row.js';
import { median, quantile } from './statistics.js';
import { benchSample } from './transitions.js';

const PAGE = 4096;
const MIB = 2 ** 20;
/** How often the working set exceeds the EPC. */
const TIMES = 4;
/** Patterns of the sample's touch(): their numbers in its source, their rows' name, and what share of the pages to touch. */
const PATTERNS = [
  [0, 'sequential', 1],
  [1, 'random', 0.25],
  [2, 'hot set', 1],
] as const;
const PATTERN_NOTES: Readonly<Record<string, string>> = {
  sequential: 'every page in order, again and again',
  random: 'any page with equal chance',
  'hot set': 'nine of ten touches go to a tenth of the pages',
};

interface Run {
  /** Milliseconds of each round. */
  readonly elapsed: number[];
  /** Pages that were loaded, and page faults that the driver answered, in each round. */
  readonly loaded: number[];
  readonly faults: number[];
  readonly touches: number;
}

interface Sizes {
  readonly pages: number;
  readonly epc: number;
  readonly rounds: number;
}

function sizes({ short }: BenchContext): Sizes {
  return short
    ? { pages: (TIMES * 4 * MIB) / PAGE, epc: 4 * MIB, rounds: 2 }
    : { pages: (TIMES * 16 * MIB) / PAGE, epc: 16 * MIB, rounds: 5 };
}

/** Runs every pattern in a machine with so much EPC. Throws when a page came back with other contents. */
async function runs(epcBytes: number, { pages, rounds }: Sizes): Promise<Map<string, Run>> {
  await using cvm = await Cvm.launch({ ...BENCH_MACHINE, epcBytes });
  await using enclave = await cvm.load(benchSample(), { ocalls: {} as never });
  const { touch_begin, touch } = enclave.ecalls as unknown as {
    touch_begin(pages: number): void;
    touch(pattern: number, times: number): bigint;
  };
  const { control } = (await cvm.guest()).connection;
  const loaded = async () =>
    parseSample((await control.request({ op: 'stats' })).body).enclaves.reduce(
      (sum, { paging }) => sum + (paging?.loaded ?? 0),
      0,
    );
  touch_begin(pages);
  const results = new Map<string, Run>();
  for (const [pattern, name, share] of PATTERNS) {
    const touches = Math.floor(pages * share);
    const run: Run = { elapsed: [], loaded: [], faults: [], touches };
    touch(pattern, touches);
    for (let round = 0; round < rounds; round++) {
      const before = await loaded();
      const { pageFaults } = enclave.stats();
      const start = performance.now();
      const wrong = touch(pattern, touches);
      run.elapsed.push(performance.now() - start);
      if (wrong !== 0n) throw new Error(`${wrong} pages did not come back as they went`);
      run.faults.push(enclave.stats().pageFaults - pageFaults);
      run.loaded.push((await loaded()) - before);
    }
    results.set(name, run);
  }
  return results;
}

function rows(form: string, small: Map<string, Run>, enough: Map<string, Run>, { pages }: Sizes): Row[] {
  const none = { floor: null, peer: null, paper: null };
  return [...small].flatMap(([name, run]) => {
    const plain = median((enough.get(name) as Run).elapsed);
    const each = run.elapsed.flatMap((elapsed, i) => {
      const loaded = run.loaded[i] as number;
      return loaded === 0 ? [] : [(elapsed * 1000) / loaded];
    });
    const slow = run.elapsed.map((elapsed) => elapsed / plain);
    const what = `${PATTERN_NOTES[name]}; ${pages} pages, ${TIMES} times the EPC, each read in full and written to`;
    const counts = `${median(run.loaded)} pages loaded in ${median(run.faults)} page faults`;
    return [
      {
        ...none,
        name: 'epc fault',
        form: `${name}${form}`,
        value: each.length === 0 ? null : median(each),
        unit: 'µs',
        p99: each.length === 0 ? null : Math.max(...each),
        note: `the whole run by the pages loaded: fault, eviction, reload; ${counts}; ${what}`,
      },
      {
        ...none,
        name: 'epc slowdown',
        form: `${name}${form}`,
        value: median(slow),
        unit: 'ratio',
        p99: quantile(slow, 0.99),
        note: `time against the same with enough EPC, ${((plain * 1e6) / run.touches).toFixed(0)} ns a page there; ${what}`,
      },
    ];
  });
}

/** `nsgx bench paging`. */
export const paging: Bench = {
  name: 'paging',
  summary: 'an enclave four times as large as the EPC: a fault, and the slowdown by pattern',
  async run(context) {
    const all = sizes(context);
    const both = async (form: string) =>
      rows(form, await runs(all.epc, all), await runs(BENCH_MACHINE.epcBytes as number, all), all);
    context.note('paging on one CPU');
    const oneCpu = await onCpus(context.cpus.slice(0, 1), () => both(', one CPU'));
    if (context.short || context.cpus.length < 2) return oneCpu;
    context.note('paging');
    return [...oneCpu, ...(await both(''))];
  },
};
