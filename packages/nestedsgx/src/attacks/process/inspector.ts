import { endProcess, type LaunchedCvm, launchCvm } from '@nestedsgx/sdk';
import type { Adversary } from '../adversary/process.js';
import { childrenOf } from '../adversary/process-acts.js';
import { type Attack, type Finding, finding } from '../attack.js';
import type { Person } from '../people.js';
import { launchOptions } from '../stage/machine.js';
import type { Stage } from '../stage/stage.js';

const SIGUSR1 = 10;
const INSPECTOR_PORTS = [9229, 9230];

/** A moment at which signals begin, and how they come. Times in milliseconds from when the process was seen. */
const AMBUSHES = [
  { when: 'from the first moment', delayMs: 0, ms: 60, gapMs: 0.5 },
  { when: 'while it starts', delayMs: 60, ms: 400, gapMs: 2 },
] as const;

/** Listeners that are there now and were not before, and what the inspector's ports answer. */
export async function inspectorSigns(
  adversary: Adversary,
  before: readonly number[],
  uid: number,
): Promise<string[]> {
  const now = (await adversary.act('listeners', undefined)).filter(
    (listener) => listener.uid === uid && !before.includes(listener.port),
  );
  const signs = now
    .filter(({ port }) => INSPECTOR_PORTS.includes(port))
    .map(({ port }) => `port ${port} is open and belongs to the machine's user`);
  const asked = [...new Set([...INSPECTOR_PORTS, ...now.map(({ port }) => port)])].slice(0, 32);
  for (const { port, answer } of await adversary.act('inspect', { ports: asked }))
    if (/webSocketDebuggerUrl|HTTP\/1/.test(answer) && !before.includes(port))
      signs.push(`port ${port} answers as an inspector`);
  return signs;
}

/** Signals a machine while it is launched, and looks for an inspector. */
async function ambush(stage: Stage, person: Person, moment: (typeof AMBUSHES)[number]): Promise<Finding> {
  const adversary = await stage.adversary(person);
  const before = (await adversary.act('listeners', undefined)).map(({ port }) => port);
  const { done } = await adversary.begin('ambush', {
    parent: process.pid,
    known: childrenOf(process.pid),
    signal: SIGUSR1,
    delayMs: moment.delayMs,
    ms: moment.ms,
    gapMs: moment.gapMs,
  });
  let launched: LaunchedCvm | null = null;
  let ended = '';
  try {
    launched = await launchCvm({ ...launchOptions(stage.cast, stage.options), timeoutMs: 10_000 });
  } catch (error) {
    ended = (error as Error).message;
  }
  try {
    const { sent, refused } = await done;
    const signs = await inspectorSigns(adversary, before, stage.cast.own.uid);
    let served = 'the launch was refused, so it never had a key';
    let broken: string | null = null;
    if (launched !== null) {
      const { body } = await launched.control.request({ op: 'info' }, 5000);
      served = body.ok === true ? 'the machine serves' : '';
      if (body.ok !== true) broken = 'the machine does not serve';
    }
    const told = refused === null || sent > 0 ? `${sent} signals` : `refused: ${refused}`;
    return finding(
      person.label,
      `SIGUSR1 ${moment.when}: ${told}; no inspector; ${served}${ended === '' ? '' : ` (${ended})`}`,
      [...signs, broken],
    );
  } finally {
    if (launched !== null) {
      launched.control.close();
      await endProcess(launched.pid, launched.pidfd, 1000);
    }
  }
}

/** Signals a machine that serves. */
async function signalServing(stage: Stage, person: Person): Promise<Finding> {
  const adversary = await stage.adversary(person);
  const { pid, cvm } = await stage.machine();
  const before = (await adversary.act('listeners', undefined)).map(({ port }) => port);
  const { sent, refused } = await adversary.act('forge', {
    pid,
    forgeries: (['kill', 'tgkill', 'sigqueue'] as const).map((how) => ({ signal: SIGUSR1, how })),
    times: 10,
    gapMs: 1,
  });
  const signs = await inspectorSigns(adversary, before, stage.cast.own.uid);
  await cvm.info();
  const told = sent > 0 ? `${sent} signals` : `refused: ${refused ?? 'EPERM'}`;
  return finding(person.label, `SIGUSR1 while it serves: ${told}; no inspector; the machine serves`, signs);
}

export const inspector: Attack = Object.freeze({
  name: 'sigusr1-inspector',
  group: 'process',
  by: 'local user',
  control: 'the same signal opens the inspector of an ordinary Node process (a test)',
  title: 'open a debugger in the monitor with SIGUSR1',
  tries:
    "signals the machine from its first moment, while it starts and while it serves, and looks for Node's inspector",
  run: async (stage: Stage) => {
    const findings: Finding[] = [];
    for (const person of stage.cast.processes) findings.push(await signalServing(stage, person));
    for (const moment of AMBUSHES) findings.push(await ambush(stage, stage.cast.own, moment));
    return findings;
  },
});
