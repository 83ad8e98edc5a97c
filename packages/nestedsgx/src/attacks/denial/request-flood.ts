import { readdirSync } from 'node:fs';
import { type Attack, type Finding, finding } from '../attack.js';
import type { Stage } from '../stage/stage.js';

const MIB = 2 ** 20;
const GHCB_MS = 1000;
const MESSAGES = 160;
const CROWD = 200;

/** Open descriptors of a process, or null when this user may not count them. */
function descriptors(pid: number): number | null {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return null;
  }
}

async function ghcbNoise(stage: Stage): Promise<Finding> {
  const adversary = await stage.adversary(stage.cast.guest, 'noise');
  const { socketPath } = await stage.machine();
  const { device } = await stage.host();
  await adversary.act('attach', { path: socketPath, slice: 8 * MIB, epc: 4 * MIB });
  const { done } = await adversary.begin('floodGhcb', { seed: stage.seed, ms: GHCB_MS });
  let worst = 0;
  let served = 0;
  const started = performance.now();
  while (performance.now() - started < GHCB_MS) {
    const before = performance.now();
    device.query();
    worst = Math.max(worst, performance.now() - before);
    served++;
    await new Promise<void>((resolve) => setTimeout(resolve, 2));
  }
  const exits = await done;
  await adversary.act('detach', undefined);
  return finding(
    `${stage.cast.guest.label}, attached as a second guest`,
    `${exits} malformed exits; meanwhile the first guest was served ${served} times, worst ${worst.toFixed(1)} ms`,
    [
      exits < 100 && 'too few requests came through to show anything',
      worst > 1000 && 'the first guest had to wait',
    ],
  );
}

async function socketNoise(stage: Stage): Promise<Finding> {
  const adversary = await stage.adversary(stage.cast.guest);
  const { socketPath, pid, cvm } = await stage.machine();
  const before = descriptors(pid);
  const outcome = await adversary.act('floodSocket', {
    path: socketPath,
    seed: stage.seed,
    messages: MESSAGES,
  });
  const crowd = await adversary.act('crowd', { path: socketPath, count: CROWD });
  await new Promise<void>((resolve) => setTimeout(resolve, 100));
  await cvm.info();
  const after = descriptors(pid);
  const counted =
    before === null || after === null ? 'not countable by this user' : `${before} before, ${after} after`;
  return finding(
    stage.cast.guest.label,
    `${outcome.sent} bad messages (a third with descriptors): ${outcome.answered} refused by name, ${outcome.hungUp} hung up on, ` +
      `${outcome.refused} not sent; ${crowd} connections at once; descriptors of the machine: ${counted}`,
    [
      outcome.accepted > 0 && `${outcome.accepted} bad messages were accepted`,
      outcome.sent < MESSAGES / 2 && `only ${outcome.sent} messages could be sent (${outcome.why})`,
      before !== null && after !== null && after > before + 4 && 'descriptors were left behind',
    ],
  );
}

export const requestFlood: Attack = Object.freeze({
  name: 'request-flood',
  group: 'denial',
  by: 'guest OS',
  control: 'the requests that came through are counted',
  title: 'malformed requests in great number',
  tries:
    'seeded noise in GHCB pages, and noise, wrong JSON, oversized messages and descriptors over the control socket',
  run: async (stage: Stage) => [await ghcbNoise(stage), await socketNoise(stage)],
});
