import type { Forgery } from '../adversary/process-acts.js';
import { type Attack, type Finding, finding } from '../attack.js';
import type { Person } from '../people.js';
import type { Stage } from '../stage/stage.js';
import { loadVictim } from '../stage/victim.js';

/** SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS: what faults of enclave code arrive as; SIGUSR2: the runner's own kick. */
const FAULT_SIGNALS = [4, 5, 7, 8, 11, 31, 12];
const SIGCONT = 18;
const SIGSTOP = 19;
const WAYS = ['kill', 'tgkill', 'sigqueue'] as const;
const ROUNDS = 30_000_000;

/** Sends signals that look like faults while the enclave computes. */
async function forge(stage: Stage, person: Person): Promise<Finding> {
  const { device } = await stage.host();
  const calc = loadVictim(device, stage.image('calc'));
  const pid = await stage.runnerOf(calc);
  const adversary = await stage.adversary(person);
  const before = calc.enclave.stats().exceptions;
  const forgeries: Forgery[] = FAULT_SIGNALS.flatMap((signal) => WAYS.map((how) => ({ signal, how })));
  const { done } = await adversary.begin('forge', { pid, forgeries, times: 5, gapMs: 0.2 });
  const broken: (string | null | false)[] = [];
  let calls = 0;
  try {
    const spins = (calc.enclave.async as unknown as { spin(rounds: bigint): Promise<bigint | number> }).spin;
    const started = performance.now();
    while (performance.now() - started < 150 || calls < 2) {
      const value = await spins(BigInt(ROUNDS));
      calls++;
      broken.push(BigInt(value) !== BigInt(ROUNDS) && 'a computation inside came out wrong');
    }
  } catch (error) {
    broken.push(`a call ended with: ${(error as Error).message}`);
  }
  const { sent, refused } = await done;
  const exceptions = calc.enclave.stats().exceptions - before;
  broken.push(exceptions > 0 && `${exceptions} forged signals became exceptions of the enclave`);
  // A process that is stopped and goes on has its waits restarted by the kernel, which must not end the enclave; a monitor
  // that happens to look meanwhile gives it up, and says so.
  const pauses = [SIGSTOP, SIGCONT].map((signal) => ({ signal, how: 'kill' as const }));
  await adversary.act('forge', { pid, forgeries: pauses, times: 2, gapMs: 2 });
  let stopped = 'it goes on after a stop';
  try {
    const { add } = calc.enclave.async as unknown as { add(a: number, b: number): Promise<number> };
    broken.push((await add(20, 22)) !== 42 && 'a call after a stop came out wrong');
  } catch (error) {
    const { code } = error as { code?: unknown };
    stopped = `a stop ended it (${String(code)})`;
    broken.push((sent === 0 || code !== 'ENCLAVE_LOST') && `after SIGSTOP and SIGCONT: ${String(code)}`);
  }
  await calc.close();
  const told =
    sent > 0 ? `${sent} signals with si_code ≤ 0 sent to its threads` : `refused: ${refused ?? 'EPERM'}`;
  return finding(
    person.label,
    `${told}; ${calls} computations inside came out right, no exception; ${stopped}`,
    broken,
  );
}

export const forgedSignals: Attack = Object.freeze({
  name: 'forged-signals',
  group: 'process',
  by: 'local user',
  control: "as the machine's own user the signals arrive; they are counted",
  title: 'signals that pretend to be faults of the enclave',
  tries:
    'SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS and SIGUSR2 by kill, tgkill and sigqueue to a runner that computes; SIGSTOP and SIGCONT',
  run: async (stage: Stage) => {
    const findings: Finding[] = [];
    for (const person of stage.cast.processes) findings.push(await forge(stage, person));
    return findings;
  },
});
