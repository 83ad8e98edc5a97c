/** Transitions: ECALL, OCALL, EENTER + EEXIT, AEX + ERESUME, and asynchronous ECALLs. */
import { join } from 'node:path';
import { samplesBuildDirectory } from '@nestedsgx/enclave';
import { rdtsc } from '@nestedsgx/os';
import type { Cvm } from '@nestedsgx/sdk';
import { anchor, PAPER_FIGURES, PEERS } from './anchors.js';
import { floorLibrary, Partner, trapCycles } from './floor.js';
import { onCpus, withMachine } from './place.js';
import { PROBE, Probe } from './probe.js';
import type { Bench, BenchContext, Row } from './row.js';
import { averageCycles, interleaved, median, quantile, singleCycles } from './statistics.js';

/** The sample with many threads and an OCALL that does nothing. */
export const benchSample = (): string => join(samplesBuildDirectory(), 'bench', 'bench.sgxs');

const OCALLS_PER_CALL = 100;
const COLD_PAUSE_MS = 10.5;
/** Exceptions of the probe, by the name of their row. */
const EXCEPTIONS = [
  ['aex-eresume', PROBE.INT3],
  ['aex-eresume #PF', PROBE.PAGE_FAULT],
  ['aex-eresume #UD', PROBE.UD2],
] as const;

type Form = 'spin' | 'one-cpu' | 'cold';

interface Sizes {
  rounds: number;
  batch: number;
  cold: number;
}

function sizes({ short }: BenchContext): Sizes {
  return short ? { rounds: 3, batch: 50, cold: 3 } : { rounds: 15, batch: 1500, cold: 60 };
}

function row(name: string, form: Form, value: number, p99: number, floor: number | null, note?: string): Row {
  return {
    name,
    form,
    value,
    unit: 'cycles',
    p99,
    floor,
    peer: anchor(PEERS, name, form),
    paper: anchor(PAPER_FIGURES, name, form),
    note,
  };
}

function skipped(name: string, form: Form, note: string): Row {
  return {
    name,
    form,
    value: null,
    unit: 'cycles',
    p99: null,
    floor: null,
    peer: anchor(PEERS, name, form),
    paper: anchor(PAPER_FIGURES, name, form),
    note,
  };
}

/** What is measured in every form: one call, and how many transitions it is. */
interface Subject {
  name: string;
  per: number;
  call: () => void;
}

// biome-ignore lint/suspicious/noExplicitAny: calls of a sample by name
type Calls = Record<string, (...values: any[]) => any>;

/** Probes that are closed together. */
class DisposableProbes implements Disposable {
  readonly #probes: Probe[] = [];

  add(probe: Probe): Probe {
    this.#probes.push(probe);
    return probe;
  }

  [Symbol.dispose](): void {
    for (const probe of this.#probes) probe[Symbol.dispose]();
  }
}

/** Cycles of every call of a batch, after a part of it that brings both sides into their stride. */
function warmCycles(call: () => void, count: number): number[] {
  averageCycles(call, Math.ceil(count / 4));
  return singleCycles(call, count);
}

async function warmForms(context: BenchContext, cvm: Cvm, form: 'spin' | 'one-cpu'): Promise<Row[]> {
  const { rounds, batch } = sizes(context);
  const [here, there = here] = context.cpus as [number, number?];
  await using enclave = await cvm.load(benchSample(), { ocalls: { host_nothing: () => undefined } as never });
  const calls = enclave.ecalls as unknown as Calls;
  using probe = await Probe.load(cvm);
  using probes = new DisposableProbes();
  const faulting = new Map<string, Probe>();
  for (const [name] of EXCEPTIONS) faulting.set(name, probes.add(await Probe.load(cvm)));
  using partner = new Partner(form === 'spin' ? there : here, form === 'spin');
  const floorCall = form === 'spin' ? partner.spin : partner.futex;
  const floorNote = form === 'spin' ? 'two processes, one shared word' : 'two processes, one futex each way';
  const subjects: Subject[] = [
    { name: 'ecall', per: 1, call: () => calls.empty!() },
    { name: 'ocall', per: OCALLS_PER_CALL, call: () => calls.call_host!(OCALLS_PER_CALL) },
    { name: 'eenter-eexit', per: 1, call: () => probe.call(PROBE.RETURN) },
  ];
  return await onCpus([here], async () => {
    const rows: Row[] = [];
    for (const { name, per, call } of subjects) {
      const figures = interleaved(rounds, {
        floor: () => warmCycles(floorCall, batch),
        value: () => warmCycles(call, Math.ceil(batch / per)).map((cycles) => cycles / per),
      });
      const p99 = quantile(figures.value, 0.99);
      rows.push(row(name, form, median(figures.value), p99, median(figures.floor), floorNote));
    }
    const transition = rows[0]!.floor as number;
    const trap = trapCycles(here, context.short ? 200 : 5000);
    for (const [name, command] of EXCEPTIONS) {
      const own = faulting.get(name) as Probe;
      own.fault(command);
      const values = interleaved(rounds, { value: () => warmCycles(own.resume, Math.ceil(batch / 4)) }).value;
      const p99 = quantile(values, 0.99);
      rows.push(
        row(
          name,
          form,
          median(values),
          p99,
          trap + transition,
          `int3 and iretq in one process, and ${floorNote}`,
        ),
      );
    }
    return rows;
  });
}

/** Every call on its own after a pause. An OCALL is taken from the end of a handler that took as long to the call's return. */
async function coldForms(context: BenchContext, cvm: Cvm): Promise<Row[]> {
  const { cold } = sizes(context);
  const [here, there] = context.cpus as [number, number];
  const library = floorLibrary();
  /** Lets the other side sleep while this one stays awake. */
  const pause = () => library.pause((context.tscHz * COLD_PAUSE_MS) / 1000);
  let handled = 0;
  const host_nothing = () => {
    pause();
    handled = rdtsc();
  };
  await using enclave = await cvm.load(benchSample(), { ocalls: { host_nothing } as never });
  const calls = enclave.ecalls as unknown as Calls;
  using probe = await Probe.load(cvm);
  using faulting = await Probe.load(cvm);
  using partner = new Partner(there, false);
  return await onCpus([here], async () => {
    faulting.fault(PROBE.INT3);
    const subjects = {
      floor: () => averageCycles(partner.futex, 1),
      ecall: () => averageCycles(() => calls.empty!(), 1),
      ocall: () => {
        calls.call_host!(1);
        return rdtsc() - handled;
      },
      'eenter-eexit': () => averageCycles(() => probe.call(PROBE.RETURN), 1),
      'aex-eresume': () => averageCycles(faulting.resume, 1),
    };
    // Compiled code on this side: what is cold is the other one.
    for (let i = 0; i < cold * 50; i++) {
      calls.empty!();
      probe.call(PROBE.RETURN);
      faulting.resume();
      partner.futex();
    }
    const figures: Record<string, number[]> = {};
    for (const [name, measure] of Object.entries(subjects)) {
      measure();
      figures[name] = Array.from({ length: cold }, () => {
        pause();
        return measure();
      });
    }
    const floor = median(figures.floor!);
    const note = 'two processes on two CPUs, one futex each way';
    return Object.keys(subjects)
      .filter((name) => name !== 'floor')
      .map((name) => row(name, 'cold', median(figures[name]!), quantile(figures[name]!, 0.99), floor, note));
  });
}

async function asyncRows(context: BenchContext, cvm: Cvm): Promise<Row[]> {
  await using enclave = await cvm.load(benchSample(), { ocalls: { host_nothing: () => undefined } as never });
  const { empty } = enclave.async as unknown as Record<'empty', () => Promise<void>>;
  const many = context.short ? 500 : 10_000;
  const latencies: number[] = [];
  for (let i = 0; i < (context.short ? 50 : 4000); i++) {
    const start = performance.now();
    await empty();
    latencies.push((performance.now() - start) * 1000);
  }
  const rates: number[] = [];
  for (let round = 0; round < (context.short ? 1 : 5); round++) {
    const before = enclave.stats().ecalls;
    const start = performance.now();
    await Promise.all(Array.from({ length: many }, () => empty()));
    rates.push(many / ((performance.now() - start) / 1000));
    if (enclave.stats().ecalls - before !== many) throw new Error('asynchronous ECALLs were lost');
  }
  const none = { floor: null, peer: null, paper: null };
  return [
    {
      name: 'async',
      form: 'latency',
      value: median(latencies),
      unit: 'µs',
      p99: quantile(latencies, 0.99),
      ...none,
    },
    {
      name: 'async',
      form: `${many} at once`,
      value: median(rates),
      unit: 'calls/s',
      p99: null,
      ...none,
      note: `on ${enclave.stats().threads} TCSs, none lost`,
    },
  ];
}

/** `nsgx bench transitions`. */
export const transitions: Bench = {
  name: 'transitions',
  summary: 'ECALL, OCALL, EENTER + EEXIT, AEX + ERESUME, asynchronous ECALLs',
  async run(context) {
    const rows: Row[] = [];
    context.note('transitions on one CPU');
    const oneCpu = await onCpus(context.cpus.slice(0, 1), () =>
      withMachine((cvm) => warmForms(context, cvm, 'one-cpu')),
    );
    if (context.cpus.length < 2) {
      const names = [...oneCpu.map(({ name }) => name)];
      for (const form of ['spin', 'cold'] as const)
        rows.push(...names.map((name) => skipped(name, form, 'this process may use one CPU only')));
      rows.push(...oneCpu);
      return withMachine(async (cvm) => [...rows, ...(await asyncRows(context, cvm))]);
    }
    return withMachine(async (cvm) => {
      context.note('transitions with both sides awake');
      rows.push(...(await warmForms(context, cvm, 'spin')), ...oneCpu);
      context.note('transitions with the other side asleep');
      rows.push(...(await coldForms(context, cvm)));
      context.note('asynchronous ECALLs');
      rows.push(...(await asyncRows(context, cvm)));
      return rows;
    });
  },
};
