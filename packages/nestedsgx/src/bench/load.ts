/** Launch and loading: a large enclave against one pass of SHA-256, a small one, and many one after another. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { PT_REG, PT_TCS, SECINFO_R, SECINFO_W, SECINFO_X } from '@nestedsgx/arch';
import { samplesBuildDirectory } from '@nestedsgx/enclave';
import type { PageRun } from '@nestedsgx/image';
import { buildEnclave, Cvm } from '@nestedsgx/sdk';
import { processMemoryKib } from './host.js';
import { BENCH_MACHINE, withMachine } from './place.js';
import { imageOfRuns, Probe, tcsPage } from './probe.js';
import type { Bench, BenchContext, Row } from './row.js';
import { median, quantile } from './statistics.js';

const MIB = 2 ** 20;
const PAGE = 4096;
/** Bytes that a measured page adds to the measurement: EADD's block, and 16 times EEXTEND's block and 256 bytes. */
const MEASURED_PER_PAGE = 64 + 16 * (64 + 256);
const WINDOW = 8 * MIB;
const NOTHING = { p99: null, floor: null, peer: null, paper: null } as const;

const smallSample = (): string => join(samplesBuildDirectory(), 'calc', 'calc.sgxs');

/** Milliseconds of `work`. */
async function milliseconds(work: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

function* largeRuns(bytes: number, contents: Uint8Array): Generator<PageRun> {
  const flags = (PT_REG << 8) | SECINFO_R;
  yield { offset: 0, secinfoFlags: flags | SECINFO_X, data: contents.subarray(0, PAGE), measured: true };
  yield { offset: PAGE, secinfoFlags: PT_TCS << 8, data: tcsPage(2 * PAGE), measured: true };
  const ssa = contents.subarray(0, 2 * PAGE);
  yield { offset: 2 * PAGE, secinfoFlags: flags | SECINFO_W, data: ssa, measured: true };
  for (let at = 4 * PAGE; at < bytes; at += WINDOW) {
    const length = Math.min(WINDOW, bytes - at);
    yield { offset: at, secinfoFlags: flags | SECINFO_W, data: contents.subarray(0, length), measured: true };
  }
}

/** SHA-256 of as many bytes as measuring the pages hashes, in long runs. */
function hashPass(pages: number, contents: Uint8Array): number {
  const start = performance.now();
  const hash = createHash('sha256');
  for (let left = pages * MEASURED_PER_PAGE; left > 0; left -= contents.length)
    hash.update(left < contents.length ? contents.subarray(0, left) : contents);
  hash.digest();
  return performance.now() - start;
}

async function largeRows(context: BenchContext, cvm: Cvm): Promise<Row[]> {
  const bytes = (context.short ? 4 : 256) * MIB;
  const contents = new Uint8Array(WINDOW);
  for (let i = 0; i < contents.length; i += 4) contents[i] = i >>> 12;
  const image = await imageOfRuns(2 * bytes, () => largeRuns(bytes, contents));
  const { connection, device } = await cvm.guest();
  const loads: number[] = [];
  const passes: number[] = [];
  for (let round = 0; round < (context.short ? 2 : 10); round++) {
    passes.push(hashPass(bytes / PAGE, contents));
    const start = performance.now();
    const built = buildEnclave(
      device,
      { image, sigstruct: image.sigstruct as Uint8Array, description: undefined },
      { debug: false, provision: false, maxThreads: 1 },
    );
    loads.push(performance.now() - start);
    built.file.close();
    connection.memory.free(built.gates);
  }
  const size = `${bytes / MIB} MiB`;
  const peak = processMemoryKib(cvm.pid as number, 'VmHWM');
  return [
    {
      ...NOTHING,
      name: 'load',
      form: context.cpus.length > 1 ? size : `${size}, one CPU`,
      value: median(loads),
      unit: 'ms',
      p99: Math.max(...loads),
      floor: median(passes),
      note: 'ECREATE to EINIT; floor: one SHA-256 pass over the measured bytes, 5,184 for each page',
    },
    {
      ...NOTHING,
      name: 'load memory',
      form: size,
      value: peak === null ? null : peak / 1024,
      unit: 'MiB',
      note: 'peak resident memory of the cvm; the target is the size of the image and 200 MiB',
    },
  ];
}

async function smallRows(context: BenchContext, cvm: Cvm): Promise<Row[]> {
  const loads: number[] = [];
  const closes: number[] = [];
  for (let round = 0; round < (context.short ? 3 : 41); round++) {
    const start = performance.now();
    const enclave = await cvm.load(smallSample(), { ocalls: {} as never });
    loads.push(performance.now() - start);
    closes.push(await milliseconds(() => enclave.close()));
    await new Promise<void>((resolve) => setTimeout(resolve, 20));
  }
  return [
    { ...NOTHING, name: 'load', form: 'small', value: median(loads), unit: 'ms', p99: quantile(loads, 0.99) },
    {
      ...NOTHING,
      name: 'unload',
      form: 'small',
      value: median(closes),
      unit: 'ms',
      p99: quantile(closes, 0.99),
    },
  ];
}

async function launchRow(context: BenchContext): Promise<Row> {
  const times: number[] = [];
  for (let round = 0; round < (context.short ? 1 : 7); round++) {
    let machine: Cvm | undefined;
    times.push(
      await milliseconds(async () => {
        machine = await Cvm.launch(BENCH_MACHINE);
        const enclave = await machine.load(smallSample(), { ocalls: {} as never });
        (enclave.ecalls as unknown as { empty(): void }).empty();
      }),
    );
    await machine?.close();
  }
  return {
    ...NOTHING,
    name: 'launch',
    form: 'to first ECALL',
    value: median(times),
    unit: 'ms',
    p99: Math.max(...times),
    note: 'new machine with a new chip, measured, and the sample loaded',
  };
}

/** Descriptors of a process; null when it does not show them. */
function descriptors(pid: number | 'self'): number | null {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return null;
  }
}

/**
 * Figures, when those but the memory have been the same for half a second: processes are reaped late on a busy machine, and the runner for the next
 * enclave is started when there is nothing else to do.
 */
async function settled<T extends { memoryKib: number }>(figures: () => Promise<T>): Promise<T> {
  let latest = await figures();
  for (let same = 0, tries = 0; same < 10 && tries < 100; tries++) {
    await new Promise<void>((resolve) => setTimeout(resolve, 50));
    const next = await figures();
    same = isDeepStrictEqual({ ...next, memoryKib: 0 }, { ...latest, memoryKib: 0 }) ? same + 1 : 0;
    latest = next;
  }
  return latest;
}

async function churnRows(context: BenchContext, cvm: Cvm): Promise<Row[]> {
  const count = context.short ? 10 : 1000;
  const pid = cvm.pid as number;
  const { connection } = await cvm.guest();
  const once = async () => (await Probe.load(cvm))[Symbol.dispose]();
  for (let i = 0; i < 20; i++) await once();
  const figures = async () => ({
    descriptors: (descriptors(pid) ?? 0) + (descriptors('self') ?? 0),
    memoryKib: processMemoryKib(pid, 'VmRSS') ?? 0,
    enclaves: (await cvm.ps()).length,
    processes: children(pid),
    blocks: connection.memory.blocks,
  });
  const before = await settled(figures);
  const elapsed = await milliseconds(async () => {
    for (let i = 0; i < count; i++) await once();
  });
  const after = await settled(figures);
  const left = (form: string, value: number, unit: string, note?: string): Row => ({
    ...NOTHING,
    name: 'churn left over',
    form,
    value,
    unit,
    note,
  });
  const of = `after ${count} enclaves`;
  return [
    {
      ...NOTHING,
      name: 'churn',
      form: 'create and destroy',
      value: count / (elapsed / 1000),
      unit: 'enclaves/s',
      note: `${count} of them`,
    },
    left('processes', after.processes - before.processes + after.enclaves - before.enclaves, 'processes', of),
    left('descriptors', after.descriptors - before.descriptors, 'descriptors', `${of}, of host and cvm`),
    left('guest RAM', after.blocks - before.blocks, 'blocks', of),
    left(
      'memory',
      (after.memoryKib - before.memoryKib) / count,
      'KiB per enclave',
      `${of}; resident memory of the cvm`,
    ),
  ];
}

function children(pid: number): number {
  let count = 0;
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const parent = /^PPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${entry}/status`, 'latin1'));
      if (parent !== null && Number(parent[1]) === pid) count++;
    } catch {
      // It ended meanwhile.
    }
  }
  return count;
}

/** `nsgx bench load`. */
export const load: Bench = {
  name: 'load',
  summary: 'launch, loading of large and small enclaves, and what a thousand of them leave behind',
  async run(context) {
    context.note('launch');
    const launch = await launchRow(context);
    context.note('a large enclave');
    const large = await withMachine((cvm) => largeRows(context, cvm));
    return withMachine(async (cvm) => {
      context.note('a small enclave');
      const small = await smallRows(context, cvm);
      context.note('enclaves created and destroyed');
      return [launch, ...large, ...small, ...(await churnRows(context, cvm))];
    });
  },
};
