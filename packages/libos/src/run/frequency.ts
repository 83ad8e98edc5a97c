/**
 * The frequency of the time stamp counter, which takes 30 ms to measure, kept for the next start. What was kept is used while
 * the machine has not been started anew and the counter has kept step with the clock since: it does not after a migration or a
 * pause of the machine.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { rdtsc, tscHz } from '@nestedsgx/os';

const BOOT_ID = '/proc/sys/kernel/random/boot_id';
/** The counter is this near to the clock, in parts of what has passed, or in seconds if little has. */
const TOLERANCE = 1e-4;
const SLACK_S = 1e-3;

interface Kept {
  readonly boot: string;
  readonly hz: number;
  /** The counter, and CLOCK_MONOTONIC in seconds, at one time. */
  readonly counter: number;
  readonly seconds: number;
}

function now(): { counter: number; seconds: number } {
  return { counter: rdtsc(), seconds: Number(process.hrtime.bigint()) / 1e9 };
}

function keepsStep({ hz, counter, seconds }: Kept): boolean {
  const at = now();
  const passed = at.seconds - seconds;
  const error = Math.abs((at.counter - counter) / hz - passed);
  return passed >= 0 && error <= Math.max(passed * TOLERANCE, SLACK_S);
}

/** The frequency in Hz, from a file if what that says is true; else it is measured and written there, if that is possible. */
export function keptTscHz(path: string, bootId = BOOT_ID): number {
  let boot: string;
  try {
    boot = readFileSync(bootId, 'utf8').trim();
  } catch {
    return tscHz();
  }
  try {
    const kept = JSON.parse(readFileSync(path, 'utf8')) as Kept;
    if (kept.boot === boot && kept.hz > 0 && keepsStep(kept)) return kept.hz;
  } catch {
    // There is none yet.
  }
  const hz = tscHz();
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const temporary = `${path}.${process.pid}`;
    writeFileSync(temporary, JSON.stringify({ boot, hz, ...now() } satisfies Kept));
    renameSync(temporary, path);
  } catch {
    // Measured again next time.
  }
  return hz;
}
