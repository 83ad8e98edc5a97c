import { randomBytes } from 'node:crypto';
import { bytes64, text64 } from './adversary/world.js';
import { type Attack, finding, Tally } from './attack.js';
import type { Stage } from './stage/stage.js';
import { leaks } from './stage/vault.js';
import { loadVictim, type Victim, victimImage } from './stage/victim.js';

const PAGE = 4096;
const ROUNDS = 3;
const ROUND_MS = 500;

/** Calls of one round, made until `deadline`: what came back, and whether it was what it should be. */
function callUntil(victim: Victim, deadline: number, tally: Tally): void {
  for (let i = 1; performance.now() < deadline; i++) {
    try {
      const right = victim.calls.add!(i, 1) === i + 1 && victim.calls.concat!('a', String(i)) === `a${i}`;
      tally.add(right ? 'right' : 'forged by the attacker');
    } catch (error) {
      const { code } = error as { code?: unknown };
      tally.add(typeof code === 'string' ? code : `untyped: ${(error as Error).message}`);
      if (code === 'ENCLAVE_LOST' || code === 'ENCLAVE_CRASHED') return;
    }
  }
}

export const gateScribble: Attack = Object.freeze({
  name: 'gate-scribble',
  title: "scribble on an enclave's gate page while it runs",
  tries:
    'a second process writes seeded noise over the gate page of a thread in use, thousands of times, then looks for the ' +
    "enclave's secret in the page and in all of guest RAM",
  run: async (stage: Stage) => {
    const { device } = await stage.host();
    const adversary = await stage.adversary(stage.cast.guest);
    const secret = new Uint8Array(randomBytes(64));
    const data = new Uint8Array(randomBytes(32));
    const content = new Uint8Array(PAGE);
    content.set(secret);
    const image = victimImage('calc', content);
    const tally = new Tally();
    const broken: (string | null | false)[] = [];
    let writes = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const victim = loadVictim(device, image);
      // The content of a page at EADD is no secret; from here on no copy of it is left in guest RAM.
      for (const block of device.staging.pages()) block.bytes.fill(0);
      const { gates } = victim.built;
      const sealed = victim.calls.seal!(data) as Uint8Array;
      const { done } = await adversary.begin('scribble', {
        gpa: gates.gpa,
        length: PAGE,
        seed: stage.seed + round,
        ms: ROUND_MS,
        gapUs: [20, 200, 2000][round % 3]!,
      });
      callUntil(victim, performance.now() + ROUND_MS, tally);
      writes += await done;
      const page = bytes64(await adversary.act('peek', { gpa: gates.gpa, length: PAGE }));
      broken.push(leaks(secret, page) && 'the gate page shows the secret');
      const found = await adversary.act('search', { needle: text64(secret.subarray(0, 16)) });
      broken.push(found.length > 0 && `guest RAM shows the secret at 0x${found[0]!.toString(16)}`);
      await victim.close();
      // Keys and code of the enclave are what they were: a new instance opens what the old one sealed.
      const heir = loadVictim(device, image);
      for (const block of device.staging.pages()) block.bytes.fill(0);
      const opened = heir.calls.unseal!(sealed) as Uint8Array;
      broken.push(Buffer.compare(opened, data) !== 0 && 'sealed data no longer opens');
      await heir.close();
    }
    broken.push(tally.count('right') === 0 && 'no call came through, so nothing was in use');
    return [
      finding(
        stage.cast.guest.label,
        `${writes} writes under ${tally.total} calls: ${tally}; no leak in the gate page or guest RAM`,
        broken,
      ),
    ];
  },
});
