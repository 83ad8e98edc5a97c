/** Every leaf that the monitor performs, as its guest and its enclaves see it. */
import { SECS, SIGSTRUCT, secinfoBytes } from '@nestedsgx/arch';
import { SGX_PAGE_MEASURE } from '@nestedsgx/guest';
import { rdtsc } from '@nestedsgx/os';
import type { Cvm } from '@nestedsgx/sdk';
import { floorLibrary } from './floor.js';
import { LeafBed } from './leaf-bed.js';
import {
  BUILDING_BYTES,
  buildingLeaves,
  Cycles,
  doorbells,
  EXTRA_FRAMES,
  idleLeaves,
  pageLeaves,
} from './leaf-sequences.js';
import { pageRates } from './page-rates.js';
import { onCpus, withMachine } from './place.js';
import { PROBE, Probe, probeImage } from './probe.js';
import type { Bench, BenchContext, Row } from './row.js';
import { averageCycles, median, quantile } from './statistics.js';
import { tracingRow } from './tracing.js';

type Form = 'spin' | 'one-cpu' | 'cold';

/** Leaves that an enclave executes many times in one entry. */
const INSIDE = [
  ['ereport', PROBE.EREPORT],
  ['egetkey', PROBE.EGETKEY],
] as const;
const PAGE = 4096;
const ELRANGE = 2 ** 20;
const COLD_PAUSE_MS = 10.5;
const DOORBELL_NOTE = 'the shortest SVSM call there is';

interface Sizes {
  /** Repetitions of each order of leaves, and before them to warm up. */
  rounds: number;
  warm: number;
  /** Pages of one round, doorbells of one, leaves of one entry. */
  pages: number;
  doorbells: number;
  inside: number;
  /** Enclaves that are initialised. */
  loads: number;
}

function sizes({ short }: BenchContext, form: Form): Sizes {
  if (form === 'cold')
    return { rounds: short ? 1 : 12, warm: short ? 1 : 200, pages: 1, doorbells: 3, inside: 1, loads: 0 };
  return short
    ? { rounds: 2, warm: 1, pages: 2, doorbells: 5, inside: 5, loads: 2 }
    : { rounds: 25, warm: 40, pages: 32, doorbells: 200, inside: 100, loads: 15 };
}

/** What enclave threads ask for: averages over one entry with many leaves, so that the entry counts little. */
function insideLeaves(bed: LeafBed, cycles: Cycles, probe: Probe, leaves: number): void {
  for (const [name, command] of INSIDE) {
    bed.before();
    cycles.note(name, averageCycles(() => probe.call(command, leaves), 1) / leaves);
  }
}

/** EINIT with its driver: a new enclave each time. */
async function initialising(cvm: Cvm, cycles: Cycles, loads: number): Promise<void> {
  const image = await probeImage(ELRANGE);
  const sigstruct = image.sigstruct as Uint8Array;
  const { ATTRIBUTES } = SIGSTRUCT.decode(sigstruct);
  const { connection, device } = await cvm.guest();
  for (let i = 0; i < loads; i++) {
    const file = device.open();
    const gates = connection.memory.alloc(PAGE, { alignment: PAGE, zero: true });
    try {
      const base = BigInt(file.reserve(image.size));
      const { ssaFrameSize } = image;
      const SIZE = BigInt(image.size);
      file.create(SECS.encode({ SIZE, BASEADDR: base, SSAFRAMESIZE: ssaFrameSize, ATTRIBUTES }));
      for (const { offset, data, secinfoFlags } of image.pages()) {
        const secinfo = secinfoBytes(secinfoFlags);
        file.addPages({ src: data, offset, length: data.length, secinfo, flags: SGX_PAGE_MEASURE });
      }
      file.bindGates(gates, 1);
      const start = rdtsc();
      file.init(sigstruct);
      cycles.note('einit', rdtsc() - start);
    } finally {
      file.close();
      connection.memory.free(gates);
    }
  }
}

async function formRows(context: BenchContext, cvm: Cvm, form: Form): Promise<Row[]> {
  const { rounds, warm, pages, doorbells: rings, inside, loads } = sizes(context, form);
  const { connection, device } = await cvm.guest();
  const here = context.cpus.slice(0, 1);
  return onCpus(here, async () => {
    using bed = new LeafBed(connection);
    const frames = bed.frames(pages + EXTRA_FRAMES);
    const base = device.ranges.reserve(BUILDING_BYTES);
    const warming = new Cycles();
    const cycles = new Cycles();
    const all = [
      // Both sides run compiled code when it counts, also where one of them then sleeps.
      { cycles: warming, times: warm, before: () => undefined },
      { cycles, times: rounds, before: form === 'cold' ? coldPause(context) : () => undefined },
    ];
    for (const { cycles, times, before } of all) {
      bed.before = before;
      for (let i = 0; i < times; i++) {
        doorbells(bed, cycles, rings);
        idleLeaves(bed, cycles);
      }
      for (let i = 0; i < times; i++) buildingLeaves(bed, cycles, { frames, base, pages });
    }
    device.ranges.release(base);
    await initialising(cvm, cycles, loads);
    using probe = await Probe.load(cvm, { elrange: ELRANGE, debug: true });
    for (const { cycles, times, before } of all) {
      bed.before = before;
      for (let i = 0; i < times; i++) {
        pageLeaves(bed, cycles, probe, frames, pages);
        insideLeaves(bed, cycles, probe, inside);
        doorbells(bed, cycles, rings);
      }
    }
    return rowsOf(cycles, form);
  });
}

/** Lets the other side sleep while this one stays awake. */
function coldPause(context: BenchContext): () => void {
  const library = floorLibrary();
  return () => {
    library.pause((context.tscHz * (context.short ? 1 : COLD_PAUSE_MS)) / 1000);
  };
}

function rowsOf(cycles: Cycles, form: Form): Row[] {
  const doorbell = median(cycles.figures.get('doorbell') as number[]);
  const enclosed = new Set(['ereport', 'egetkey', 'eaccept', 'emodpe', 'eacceptcopy']);
  return [...cycles.figures].map(([name, figures]) => ({
    name,
    form,
    value: median(figures),
    unit: 'cycles',
    p99: quantile(figures, 0.99),
    floor: name === 'doorbell' ? null : doorbell,
    peer: null,
    paper: null,
    note: noteOf(name, form, enclosed.has(name)),
  }));
}

function noteOf(name: string, form: Form, inside: boolean): string {
  if (name === 'doorbell') return DOORBELL_NOTE;
  const floor = `floor: ${DOORBELL_NOTE}`;
  if (name === 'einit') return `the monitor starts the enclave's process; through the driver; ${floor}`;
  if (!inside) return floor;
  return form === 'cold'
    ? `one leaf with its EENTER and EEXIT, both the thread and the monitor asleep; ${floor}`
    : `average over many leaves of one entry; ${floor}`;
}

/** `nsgx bench leaves`. */
export const leaves: Bench = {
  name: 'leaves',
  summary: 'every leaf the monitor performs, and pages a second against raw SHA-256 and AES-GCM',
  async run(context) {
    const rows: Row[] = [];
    const form = (name: Form) => withMachine((cvm) => formRows(context, cvm, name));
    context.note('leaves on one CPU');
    const oneCpu = await onCpus(context.cpus.slice(0, 1), () => form('one-cpu'));
    if (context.cpus.length > 1) {
      context.note('leaves with both sides awake');
      rows.push(...(await form('spin')));
      context.note('leaves with the other side asleep');
      rows.push(...oneCpu, ...(await form('cold')));
    } else rows.push(...oneCpu);
    context.note('leaves on many pages at once');
    const batched = (name: string) => withMachine((cvm) => pageRates(context, cvm, name));
    if (context.cpus.length > 1) rows.push(...(await batched('batched')));
    rows.push(...(await onCpus(context.cpus.slice(0, 1), () => batched('batched, one CPU'))));
    context.note('a traced machine');
    rows.push(await tracingRow(context));
    return rows;
  },
};
