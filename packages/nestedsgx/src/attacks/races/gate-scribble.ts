import { randomBytes } from 'node:crypto';
import { bytes64, text64 } from '../adversary/world.js';
import { type Attack, finding, Tally } from '../attack.js';
import type { Stage } from '../stage/stage.js';
import { leaks } from '../stage/vault.js';
import { loadVictim, type Victim, victimImage } from '../stage/victim.js';

const PAGE = 4096;
/** The sequence numbers and the progress word: without them every call is lost soon, so most rounds leave them alone. */
const STEERING = [0, 64, 128];
const ROUNDS = [
  { ms: 700, gapUs: 10, spared: STEERING },
  { ms: 700, gapUs: 200, spared: STEERING },
  { ms: 400, gapUs: 200, spared: [] },
];
/** Enclaves in use in one round: most of them are ended by what the attacker makes of their gates. */
const VICTIMS = 8;
const PATIENCE_MS = 100;

/** One enclave under scribbling, called until it is of no use any more. */
async function callUntil(victim: Victim, deadline: number, tally: Tally): Promise<void> {
  const calls = victim.enclave.async as unknown as {
    add(a: number, b: number): Promise<number>;
    concat(a: string, b: string): Promise<string>;
  };
  for (let i = 1; performance.now() < deadline; i++) {
    const work = i % 4 === 0 ? calls.concat('a', String(i)) : calls.add(i, 1);
    work.catch(() => undefined);
    try {
      const got = await patiently<string | number>(work);
      // A gate that was made useless never answers; its thread is the attacker's to waste.
      if (got === null) return tally.add('no answer');
      tally.add(got === (i % 4 === 0 ? `a${i}` : i + 1) ? 'right' : 'forged by the attacker');
    } catch (error) {
      const { code } = error as { code?: unknown };
      tally.add(typeof code === 'string' ? code : `untyped: ${(error as Error).message}`);
      if (code === 'ENCLAVE_LOST' || code === 'ENCLAVE_CRASHED') return;
    }
  }
}

/** The result, or null after a while. */
async function patiently<T>(work: Promise<T>): Promise<T | null> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), PATIENCE_MS);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

export const gateScribble: Attack = Object.freeze({
  name: 'gate-scribble',
  group: 'races',
  by: 'guest OS',
  control: 'calls come through with right results while it is scribbled',
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
    const image = victimImage('calc', stage.signer, content);
    const tally = new Tally();
    const broken: (string | null | false)[] = [];
    const load = () => {
      const victim = loadVictim(device, image);
      // The content of a page at EADD is no secret; from here on no copy of it is left in guest RAM.
      for (const block of device.staging.pages()) block.bytes.fill(0);
      return victim;
    };
    let writes = 0;
    for (const [round, { ms, gapUs, spared }] of ROUNDS.entries()) {
      const victims = Array.from({ length: VICTIMS }, load);
      const sealed = victims[0]!.calls.seal!(data) as Uint8Array;
      const pages = victims.flatMap(({ built: { gates, threads } }) =>
        Array.from({ length: threads }, (_, i) => gates.gpa + i * PAGE),
      );
      const { done } = await adversary.begin('scribble', {
        pages,
        seed: stage.seed + round,
        ms,
        gapUs,
        spared,
      });
      const deadline = performance.now() + ms;
      await Promise.all(victims.map((victim) => callUntil(victim, deadline, tally)));
      writes += await done;
      for (const gpa of pages) {
        const page = bytes64(await adversary.act('peek', { gpa, length: PAGE }));
        broken.push(leaks(secret, page) && 'a gate page shows the secret');
      }
      const found = await adversary.act('search', { needle: text64(secret.subarray(0, 16)) });
      broken.push(found.length > 0 && `guest RAM shows the secret at 0x${found[0]!.toString(16)}`);
      for (const victim of victims) {
        // Ends the runner first: a thread that waits for an answer is told so, and nothing has to be waited for.
        victim.built.file.close();
        await victim.close();
      }
      // Keys and code of the enclave are what they were: a new instance opens what an old one sealed.
      const heir = load();
      const opened = heir.calls.unseal!(sealed) as Uint8Array;
      broken.push(Buffer.compare(opened, data) !== 0 && 'sealed data no longer opens');
      await heir.close();
    }
    broken.push(tally.count('right') === 0 && 'no call came through, so nothing was in use');
    return [
      finding(
        stage.cast.guest.label,
        `${writes} writes under ${tally.total} calls: ${tally}; no leak in gate pages or guest RAM`,
        broken,
      ),
    ];
  },
});
