/** An enclave that works beside an attack: what others do must not stop it. */
import type { Stage } from './stage.js';

/** What its calls took, in milliseconds. */
export interface Latency {
  calls: number;
  median: number;
  worst: number;
  /** Results that were wrong, and calls that failed. */
  wrong: number;
}

/** Calls the innocent enclave until `done` settles (at least `leastMs`), and asks the monitor as well. */
export async function workBeside(stage: Stage, done: Promise<unknown>, leastMs = 300): Promise<Latency> {
  const calc = await stage.calc();
  const { device } = await stage.host();
  const { add } = calc.enclave.async as unknown as { add(a: number, b: number): Promise<number> };
  const times: number[] = [];
  let wrong = 0;
  let over = false;
  const noted = done.then(
    () => {
      over = true;
    },
    () => {
      over = true;
    },
  );
  const started = performance.now();
  for (let i = 0; !over || performance.now() - started < leastMs; i++) {
    const before = performance.now();
    try {
      if ((await add(i, 1)) !== i + 1) wrong++;
      device.query();
    } catch {
      wrong++;
    }
    times.push(performance.now() - before);
    await new Promise<void>((resolve) => setTimeout(resolve, 2));
  }
  await noted;
  times.sort((a, b) => a - b);
  return { calls: times.length, median: times[times.length >> 1]!, worst: times[times.length - 1]!, wrong };
}

/** The latency in a few words. */
export function latencyText({ calls, median, worst }: Latency): string {
  return `${calls} calls of an innocent enclave beside it, median ${median.toFixed(1)} ms, worst ${worst.toFixed(0)} ms`;
}

/** Longest that one call of the innocent enclave may take, in milliseconds, with a busy machine's share. */
export const WORST_MS = 1500;

/** What is wrong with the latency, for a finding. */
export function latencyFaults({ wrong, worst, calls }: Latency): (string | false)[] {
  return [
    wrong > 0 && `${wrong} calls of the innocent enclave failed`,
    worst > WORST_MS && `a call of the innocent enclave took ${worst.toFixed(0)} ms`,
    calls < 5 && 'the innocent enclave hardly worked, so this shows little',
  ];
}
