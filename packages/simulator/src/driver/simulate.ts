/** Runs many sequences, or one again, and tells what was found. */
import type { ModelParameters } from '../model/parameters.js';
import { Random } from '../random.js';
import { Coverage } from './coverage.js';
import { Generator, parametersOf } from './generate.js';
import { type Failure, shrink } from './shrink.js';
import { simSigners } from './sigstructs.js';
import { type LeafHook, Simulation } from './simulation.js';
import { type Step, stepText } from './steps.js';

/** What {@link simulate} is asked to do. */
export interface SimulateOptions {
  readonly seed: number;
  readonly sequences: number;
  /** First sequence; 0 when not given. */
  readonly from?: number;
  /** Compare states after every step (default), or results only. */
  readonly states?: boolean;
  readonly hook?: LeafHook;
  /** Called now and then with the number of sequences done. */
  readonly progress?: (done: number) => void;
}

/** A sequence in which model and monitor differ, made small. */
export interface Finding {
  /** `SEED:INDEX`, which replays it. */
  readonly replay: string;
  readonly difference: string;
  /** The step after which the sides differ. */
  readonly at: number;
  readonly steps: readonly string[];
  /** As numbers, to be executed again. */
  readonly sequence: readonly Step[];
}

/** What a run found. */
export interface SimulateResult {
  readonly seed: number;
  readonly sequences: number;
  readonly calls: number;
  /** Calls that encrypt, sign or verify. */
  readonly cryptographic: number;
  readonly seconds: number;
  readonly callsPerSecond: number;
  /** Calls that are not cryptographic, a second of processor time that was not spent in the cryptographic ones. */
  readonly plainCallsPerSecond: number;
  readonly coverage: Coverage;
  readonly finding: Finding | null;
}

const PROGRESS_EVERY = 1000;

/** Executes sequences `from` … of a seed until one fails or all are done. */
export function simulate(options: SimulateOptions): SimulateResult {
  const { seed, sequences, from = 0 } = options;
  // Signers and their keys are made before the clock runs.
  simSigners();
  const coverage = new Coverage();
  const sim = new Simulation(coverage, options.hook ?? null);
  sim.compareStates = options.states ?? true;
  let finding: Finding | null = null;
  const before = process.cpuUsage();
  const begin = process.hrtime.bigint();
  let done = 0;
  for (; done < sequences && finding === null; done++) {
    finding = runOne(sim, seed, from + done, options.hook ?? null);
    if ((done + 1) % PROGRESS_EVERY === 0) options.progress?.(done + 1);
  }
  const seconds = Number(process.hrtime.bigint() - begin) / 1e9;
  const { calls, cryptographic } = coverage;
  return {
    seed,
    sequences: done,
    calls,
    cryptographic,
    seconds,
    callsPerSecond: Math.round(calls / Math.max(seconds, 1e-9)),
    plainCallsPerSecond: plainRate(coverage, seconds, process.cpuUsage(before)),
    coverage,
    finding,
  };
}

function plainRate(coverage: Coverage, seconds: number, { user, system }: NodeJS.CpuUsage): number {
  const share = 1 - coverage.cryptographicSeconds / Math.max(seconds, 1e-9);
  const processor = ((user + system) / 1e6) * share;
  return Math.round((coverage.calls - coverage.cryptographic) / Math.max(processor, 1e-9));
}

function runOne(sim: Simulation, seed: number, index: number, hook: LeafHook | null): Finding | null {
  const parameters = parametersOf(index);
  const generator = new Generator(new Random(seed, index), parameters.launchSigner !== null);
  const steps: Step[] = [];
  let failed: Failure | null = null;
  sim.begin(parameters);
  while (failed === null) {
    const made = generator.next(sim.model);
    if (made === null) break;
    steps.push(made);
    const difference = sim.execute(made);
    if (difference !== null) failed = { at: steps.length - 1, difference };
  }
  if (failed === null) {
    const difference = sim.finish();
    if (difference === null) return null;
    failed = { at: steps.length, difference };
  }
  return findingOf(`${seed}:${index}`, parameters, steps, hook);
}

function findingOf(
  name: string,
  parameters: ModelParameters,
  steps: readonly Step[],
  hook: LeafHook | null,
): Finding {
  const small = shrink(parameters, steps, hook);
  return {
    replay: name,
    difference: small.failure.difference,
    at: small.failure.at,
    steps: small.steps.map(stepText),
    sequence: small.steps,
  };
}
