/** `nsgx bench sdk FOLDER`: enclaves that were built with Intel's SDK, beside its simulation mode. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Cvm } from '@nestedsgx/sdk';
import { withMachine } from '../place.js';
import type { Bench, BenchContext, Row } from '../row.js';
import { median, quantile } from '../statistics.js';
import { callRows, type PeerRound } from './call-rows.js';
import { programRows } from './programs.js';
import { Simulation } from './simulation.js';

const MIB = 2 ** 20;
const RESULT = 'ecall_inout 1 MiB';

/** Rows of the enclaves in a folder; `simulation` is the folder of the programs to compare them with. */
export function sdkBench(folder: string, simulation?: string): Bench {
  return {
    name: 'sdk',
    summary: "enclaves that were built with Intel's SDK, beside its simulation mode",
    run: (context) =>
      measure(context, folder, simulation === undefined ? undefined : new Simulation(simulation)),
  };
}

async function measure(
  context: BenchContext,
  folder: string,
  simulation: Simulation | undefined,
): Promise<Row[]> {
  const image = join(folder, 'Bench', 'bench.signed.so') as `${string}.signed.so`;
  const edl = join(folder, 'Bench', 'Bench.edl');
  const rows: Row[] = [];
  if (existsSync(image)) {
    context.note("calls into an enclave of Intel's SDK");
    const theirs = simulation?.has('bench.signed.so') === undefined ? undefined : simulation;
    const creations: number[] = [];
    const peer = theirs && (() => round(theirs, creations));
    const subject = { name: 'sdk', image, edl, buffer: 'ecall_inout', bytes: MIB, ocall: 'ocall_empty' };
    rows.push(...(await withMachine((cvm) => callRows(context, cvm, subject, peer))));
    rows.push(await withMachine((cvm) => creation(context, cvm, image, edl, creations)));
  }
  rows.push(...(await withMachine((cvm) => programRows(context, cvm, folder, simulation))));
  if (rows.length === 0)
    throw new Error(
      `${folder} has no Bench/bench.signed.so, hashjoin, sqlite or nbench with enclave.signed.so`,
    );
  return rows;
}

function round(simulation: Simulation, creations: number[]): PeerRound {
  const medians = simulation.medians();
  const of = (name: string) => {
    const cycles = medians.get(name);
    if (cycles === undefined) throw new Error(`bench wrote no line "${name} median … cycles"`);
    return cycles;
  };
  creations.push(of('create'));
  return { ecall: of('ecall_empty'), ocall: of('ocall (of 1000)'), buffer: of(RESULT) };
}

async function creation(
  context: BenchContext,
  cvm: Cvm,
  image: `${string}.signed.so`,
  edl: string,
  peers: readonly number[],
): Promise<Row> {
  const times: number[] = [];
  for (let i = 0; i < (context.short ? 2 : 25); i++) {
    const start = performance.now();
    const enclave = await cvm.load(image, { edl });
    times.push(performance.now() - start);
    await enclave.close();
  }
  return {
    name: 'sdk create',
    form: '',
    value: median(times),
    unit: 'ms',
    p99: quantile(times, 0.99),
    floor: null,
    peer: peers.length === 0 ? null : (median(peers) / context.tscHz) * 1000,
    paper: null,
    note: 'reading, measuring, EINIT and the start of its runtime; peer: sgx_create_enclave in simulation mode',
  };
}
