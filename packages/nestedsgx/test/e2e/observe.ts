/** What the tests of whole machines look at: processes, descriptors, mappings, memory, time. */
import { readdirSync, readFileSync } from 'node:fs';
import {
  type AnyInterface,
  type ConnectOptions,
  Cvm,
  type Enclave,
  type LaunchOptions,
  sampleImage,
} from '../../src/index.js';

/** True for the full counts of `npm run soak`. */
export const SOAK = process.env.NSGX_SOAK !== undefined && process.env.NSGX_SOAK !== '';
/** Random cases per fuzz test. */
export const FUZZ_RUNS = Number(process.env.NSGX_FUZZ_RUNS ?? 60);
/** Seed of everything random, printed by the tests that use it. */
export const SEED = Number(process.env.NSGX_SEED ?? 20_251_122) >>> 0;

export type Calc = Enclave<AnyInterface>;

/** A private machine without a state directory. */
export function launch(options: LaunchOptions = {}, share: ConnectOptions = {}): Promise<Cvm> {
  return Cvm.launch({ stateDir: null, ramBytes: 256 * 2 ** 20, epcBytes: 512 * 2 ** 20, ...options }, share);
}

/** The sample `calc` (or another) with quiet OCALL handlers. */
export function load(
  cvm: Cvm,
  name: 'calc' | 'bench' | 'evil' = 'calc',
  options: object = {},
): Promise<Calc> {
  return cvm.load(sampleImage(name), {
    ocalls: { host_name: () => 'test', host_nothing: () => undefined },
    ...options,
  }) as Promise<Calc>;
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Processes whose parent is `pid` (of any of its threads). */
export function childrenOf(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
  );
}

/** State letter of a process: R, S, T (stopped), Z (ended, not collected) …; null when there is none. */
export function stateOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.charAt(stat.lastIndexOf(')') + 2);
  } catch {
    return null;
  }
}

/** True while a process runs: neither gone nor a zombie. */
export function alive(pid: number): boolean {
  const state = stateOf(pid);
  return state !== null && state !== 'Z' && state !== 'X';
}

/** Waits for a condition; returns the milliseconds it took, or null when it did not come true in time. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  limitMs: number,
): Promise<number | null> {
  const start = performance.now();
  while (!(await condition())) {
    if (performance.now() - start > limitMs) return null;
    await sleep(2);
  }
  return performance.now() - start;
}

/** What a process holds. */
export interface Holdings {
  descriptors: number;
  mappings: number;
  children: number;
}

/** False for pages of V8's heap (unnamed, in units of 256 KiB), of which a garbage collector keeps what it likes. */
function isLasting(line: string): boolean {
  const [range, , , , , name] = line.split(/\s+/);
  if (range === '') return false;
  const [from, to] = range.split('-').map((text) => Number.parseInt(text, 16));
  return name !== '' || (to - from) % 262_144 !== 0;
}

export function holdings(pid: number | 'self'): Holdings {
  return {
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    mappings: readFileSync(`/proc/${pid}/maps`, 'latin1').split('\n').filter(isLasting).length,
    children: childrenOf(pid === 'self' ? process.pid : pid).length,
  };
}

/** Resident bytes of a process that belong to it alone or to shared memory. */
export function residentBytes(pid: number | 'self'): { anonymous: number; shared: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  const field = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0) * 1024;
  return { anonymous: field('RssAnon'), shared: field('RssShmem') };
}

/** The middle of a list of numbers (the upper one of two). */
export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

/** The `code` of what a promise or function throws; `'none'` when it does not throw. */
export async function codeOf(act: () => unknown): Promise<string> {
  try {
    await act();
    return 'none';
  } catch (error) {
    const { code } = error as { code?: unknown };
    return typeof code === 'string' ? code : `untyped: ${String(error)}`;
  }
}

/** Small seeded generator (mulberry32): values in [0, 1). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Random bytes of a generator. */
export function randomBytes(next: () => number, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => Math.floor(next() * 256));
}
