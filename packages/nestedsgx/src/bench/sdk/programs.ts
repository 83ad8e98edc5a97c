/** Whole programs in enclaves of Intel's SDK beside the same programs in its simulation mode. */
import { randomFillSync } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Cvm } from '@nestedsgx/sdk';
import type { BenchContext, Row } from '../row.js';
import { median, quantile } from '../statistics.js';
import { type Calls, type Kernel, nbenchKernels, readNnetData } from './nbench.js';
import type { Simulation } from './simulation.js';

/** Something that is measured here and there in turn. All rates: more is better. */
interface Contest {
  readonly name: string;
  readonly form: string;
  readonly unit: string;
  readonly rounds: number;
  readonly note: string;
  ours(): number | Promise<number>;
  theirs?(): number;
}

async function contest({ name, form, unit, rounds, note, ours, theirs }: Contest): Promise<Row> {
  const values: number[] = [];
  const peers: number[] = [];
  for (let round = 0; round < rounds; round++) {
    values.push(await ours());
    if (theirs !== undefined) peers.push(theirs());
  }
  const range = (rates: readonly number[]) => rates.map((rate) => Number(rate.toPrecision(4))).join(', ');
  return {
    name,
    form,
    value: median(values),
    unit,
    p99: quantile(values, 0.01),
    floor: null,
    peer: peers.length === 0 ? null : median(peers),
    paper: null,
    note: `${note}; in turn ${range(values)}${peers.length === 0 ? '' : `; peer: in simulation mode, in turn ${range(peers)}`}; p99 column: the slowest`,
  };
}

async function withProgram<T>(
  cvm: Cvm,
  folder: string,
  ocalls: Record<string, (...args: never[]) => unknown>,
  run: (calls: Calls) => T | Promise<T>,
): Promise<T> {
  const image = join(folder, 'enclave.signed.so') as `${string}.signed.so`;
  await using enclave = await cvm.load(image, { edl: join(folder, 'Enclave.edl'), ocalls });
  return await run(enclave.ecalls as Calls);
}

/** Rows of the programs whose folders are there. */
export async function programRows(
  context: BenchContext,
  cvm: Cvm,
  folder: string,
  simulation: Simulation | undefined,
): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [name, measure] of [
    ['hashjoin', hashjoin],
    ['sqlite', sqlite],
    ['nbench', nbench],
  ] as const) {
    const place = join(folder, name);
    if (!existsSync(join(place, 'enclave.signed.so'))) continue;
    context.note(name);
    rows.push(...(await measure(context, cvm, place, simulation)));
  }
  return rows;
}

/** A run leaves its tables on the heap, so each has an enclave of its own. */
async function hashjoin(
  context: BenchContext,
  cvm: Cvm,
  folder: string,
  simulation: Simulation | undefined,
): Promise<Row[]> {
  const row = await contest({
    name: 'sdk hashjoin',
    form: '',
    unit: 'runs/s',
    rounds: context.short ? 1 : 5,
    note: 'a run joins 100 × 100,000 keys with 1,000,000 rows',
    ours: () =>
      withProgram(cvm, folder, { ocall_print_string: () => undefined }, (calls) => {
        const start = performance.now();
        calls.ecall_real_main!();
        return 1000 / (performance.now() - start);
      }),
    theirs:
      simulation?.has('hashjoin/app') === undefined
        ? undefined
        : () => 1e6 / simulation.number(simulation.run('hashjoin', 'app'), /SECUREFS_TIME (\d+) us/),
  });
  return [row];
}

/** YCSB workload A. */
const WORKLOAD = {
  dbname: 'sqlite',
  workload: 'com.yahoo.ycsb.workloads.CoreWorkload',
  readallfields: 'true',
  readproportion: '0.5',
  updateproportion: '0.5',
  scanproportion: '0',
  insertproportion: '0',
  requestdistribution: 'zipfian',
} as const;

/** The database is in memory: of files there is only the one with random bytes. */
const SQLITE_OCALLS: Record<string, (...args: never[]) => unknown> = {
  ocall_println_string: () => undefined,
  ocall_print_string: () => undefined,
  ocall_print_error: () => undefined,
  ocall_getpid: () => 1,
  ocall_getuid: () => 1000,
  ocall_getenv: () => null,
  ocall_open64: (name: string) => (name === '/dev/urandom' ? 3 : -1),
  ocall_read: (_fd: number, buffer: Uint8Array) => ({ value: randomFillSync(buffer).length }),
  ocall_close: () => 0,
};

async function sqlite(
  context: BenchContext,
  cvm: Cvm,
  folder: string,
  simulation: Simulation | undefined,
): Promise<Row[]> {
  const records = context.short ? 100 : 20_000;
  const properties = { ...WORKLOAD, recordcount: String(records), operationcount: String(records) };
  const lines = Object.entries(properties).map(([key, value]) => `${key}=${value}\n`);
  const work = mkdtempSync(join(tmpdir(), 'nsgx-sqlite-'));
  const file = join(work, 'workload.spec');
  writeFileSync(file, lines.join(''));
  try {
    return await withProgram(cvm, folder, SQLITE_OCALLS, async (calls) => {
      for (const [key, value] of Object.entries(properties)) calls.ecall_set_property!(key, value);
      calls.ecall_create_db!();
      calls.ecall_delegateclient!(records, 1);
      return [
        await contest({
          name: 'sdk sqlite',
          form: 'YCSB A',
          unit: 'kTPS',
          rounds: context.short ? 1 : 5,
          note: `${records} records and operations`,
          ours: () => {
            const start = performance.now();
            calls.ecall_delegateclient!(records, 0);
            return records / (performance.now() - start);
          },
          theirs:
            simulation?.has('sqlite/app') === undefined
              ? undefined
              : () =>
                  simulation.number(
                    simulation.run('sqlite', 'app', ['-db', 'sqlite', '-P', file]),
                    /throughput \(KTPS\):\s*([0-9.]+)/,
                  ),
        }),
      ];
    });
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

async function nbench(
  context: BenchContext,
  cvm: Cvm,
  folder: string,
  simulation: Simulation | undefined,
): Promise<Row[]> {
  const program = simulation?.has('nbench/app_quick', 'nbench/app')?.slice('nbench/'.length);
  const data = readNnetData(join(folder, 'NNET.DAT')) ?? simulation?.read('nbench/NNET.DAT');
  const rows: Row[] = [];
  for (const kernel of nbenchKernels(data))
    rows.push(
      await withProgram(cvm, folder, { ocall_print_string: () => undefined }, (calls) =>
        contest({
          name: 'sdk nbench',
          form: kernel.name,
          unit: 'iterations/s',
          rounds: context.short ? 1 : 3,
          note: 'as its port to SGX counts them',
          ours: rate(context, kernel, calls),
          theirs:
            simulation === undefined || program === undefined
              ? undefined
              : () =>
                  simulation.number(simulation.run('nbench', program, [String(kernel.number)]), kernel.label),
        }),
      ),
    );
  return rows;
}

/**
 * Iterations a second: the median of runs over some seconds. The program in simulation mode counts its processor time; here
 * two processes take turns, so it is the time that passes, and runs that others interrupted must not count.
 */
function rate(context: BenchContext, kernel: Kernel, calls: Calls): () => number {
  const once = kernel.begin(calls);
  return () => {
    const rates: number[] = [];
    let left = context.short ? 0.01 : 3;
    while (left > 0) {
      const { seconds, iterations } = once();
      rates.push(iterations / seconds);
      left -= seconds;
    }
    return median(rates);
  };
}
