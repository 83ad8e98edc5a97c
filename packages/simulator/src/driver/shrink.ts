/** Makes a failing sequence small: steps are left out, then arguments set to nothing, as long as it still fails. */
import type { ModelParameters } from '../model/parameters.js';
import { Coverage } from './coverage.js';
import { type LeafHook, Simulation } from './simulation.js';
import { FIELDS, type Step } from './steps.js';

/** Where and how a sequence failed. */
export interface Failure {
  /** Index of the step after which the sides differed; the number of steps when only the end showed it. */
  readonly at: number;
  readonly difference: string;
}

/** Executes given steps on fresh sides. */
export function replay(sim: Simulation, parameters: ModelParameters, steps: readonly Step[]): Failure | null {
  sim.begin(parameters);
  for (let at = 0; at < steps.length; at++) {
    const difference = sim.execute(steps[at]);
    if (difference !== null) return { at, difference };
  }
  const difference = sim.finish();
  return difference === null ? null : { at: steps.length, difference };
}

/** The smallest failing sequence that leaving out and simplifying finds. */
export function shrink(
  parameters: ModelParameters,
  steps: readonly Step[],
  hook: LeafHook | null = null,
): { steps: Step[]; failure: Failure } {
  const sim = new Simulation(new Coverage(), hook);
  const fails = (candidate: readonly Step[]) => replay(sim, parameters, candidate);
  let best = steps.map((s) => ({ ...s }));
  let failure = fails(best);
  if (failure === null) throw new Error('the sequence does not fail again');
  for (let progress = true; progress; ) {
    progress = false;
    // After the step that failed nothing matters.
    best = best.slice(0, failure.at + 1);
    for (let length = best.length >> 1; length >= 1; length >>= 1) {
      for (let from = best.length - length; from >= 0; from -= length) {
        const candidate = [...best.slice(0, from), ...best.slice(from + length)];
        const its = fails(candidate);
        if (its === null) continue;
        best = candidate.slice(0, its.at + 1);
        failure = its;
        progress = true;
      }
    }
    const jumped = jump(best, fails);
    if (jumped !== null) {
      best = jumped;
      failure = fails(best)!;
      progress = true;
    }
    for (let i = 0; i < best.length; i++) {
      for (const name of ['twist', ...FIELDS[best[i].op]] as const) {
        if (best[i][name] === 0) continue;
        const candidate = best.map((s, j) => (j === i ? { ...s, [name]: 0 } : s));
        const its = fails(candidate);
        if (its === null || its.at !== candidate.length - 1) continue;
        best = candidate;
        failure = its;
        progress = true;
      }
    }
  }
  return { steps: best, failure };
}

/** The last step acts on a frame of an earlier step instead, so that everything between can go. */
function jump(steps: Step[], fails: (candidate: readonly Step[]) => Failure | null): Step[] | null {
  const last = steps.length - 1;
  if (last < 2 || !FIELDS[steps[last].op].includes('frame')) return null;
  for (let keep = 1; keep < last - 1; keep++) {
    for (const frame of new Set(steps.slice(0, keep).map((s) => s.frame))) {
      const candidate = [...steps.slice(0, keep), { ...steps[last], frame }];
      const its = fails(candidate);
      if (its !== null && its.at === keep) return candidate;
    }
  }
  return null;
}
