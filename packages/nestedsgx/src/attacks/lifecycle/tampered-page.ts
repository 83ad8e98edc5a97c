import { text64 } from '../adversary/world.js';
import { codeOf } from '../answers.js';
import { type Attack, type Finding, finding, Tally } from '../attack.js';
import type { Stage } from '../stage/stage.js';
import { buildStepwise, prepare } from '../stage/stepwise.js';
import { victimImage, victimOf } from '../stage/victim.js';

const PAGE = 4096;
const RACES = 12;

/** A pattern that both sides of a race can be told from. */
function pattern(seed: number): Uint8Array {
  return Uint8Array.from({ length: PAGE }, (_, i) => (i * 7 + seed) & 0xff);
}

/** The source is changed after EADD: the enclave has what was measured. */
async function afterEadd(stage: Stage): Promise<Finding> {
  const { connection, device } = await stage.host();
  const adversary = await stage.adversary(stage.cast.guest);
  const content = pattern(1);
  const image = victimImage('evil', stage.signer, content);
  const { file, gates, threads, source, handOver } = prepare(device, image);
  await adversary.act('poke', { gpa: source.gpa, bytes: text64(pattern(99)) });
  file.init(image.sigstruct);
  handOver();
  const built = { file, gates, gateCount: threads, threads, mrenclave: new Uint8Array(32), debug: false };
  const victim = victimOf(connection, built, image.description, image.page);
  const inside = victim.calls.read_memory!(BigInt(victim.address), BigInt(PAGE)) as Uint8Array;
  await victim.close();
  return finding(
    stage.cast.guest.label,
    'source page overwritten between EADD and EINIT: the enclave starts with the content that was measured',
    [Buffer.compare(inside, content) !== 0 && 'the enclave holds what the attacker wrote'],
  );
}

/** The content is changed before EADD: EINIT refuses. */
async function beforeEadd(stage: Stage): Promise<Finding> {
  const { device } = await stage.host();
  const image = victimImage('evil', stage.signer, pattern(1));
  const codes = new Tally();
  const broken: string[] = [];
  for (const at of [0, 255, 256, 2048, PAGE - 1]) {
    try {
      buildStepwise(device, image, {
        beforeLastPage: (source) => {
          source.bytes[at]! ^= 1 << (at & 7);
        },
      }).file.close();
      broken.push(`an enclave with one bit changed at byte ${at} was initialised`);
    } catch (error) {
      codes.add(codeOf(error));
      if (codeOf(error) !== 'SGX_INVALID_MEASUREMENT') broken.push(`EINIT gave ${codeOf(error)}`);
    }
  }
  return finding('the host itself', `one bit of a page changed before EADD: ${codes}`, broken);
}

/** The source is toggled by another process while it is added and measured. */
async function duringEadd(stage: Stage): Promise<Finding> {
  const { connection, device } = await stage.host();
  const adversary = await stage.adversary(stage.cast.guest);
  const one = pattern(1);
  const two = pattern(2);
  const image = victimImage('evil', stage.signer, one);
  const codes = new Tally();
  const broken: string[] = [];
  const source = connection.memory.alloc(PAGE, { alignment: PAGE, zero: true });
  for (let race = 0; race < RACES; race++) {
    const { done } = await adversary.begin('toggle', {
      gpa: source.gpa,
      one: text64(one),
      two: text64(two),
      ms: 25,
    });
    try {
      const built = buildStepwise(device, image, { source });
      const victim = victimOf(connection, built, image.description, image.page);
      const inside = victim.calls.read_memory!(BigInt(victim.address), BigInt(PAGE)) as Uint8Array;
      codes.add('accepted as measured');
      if (Buffer.compare(inside, one) !== 0)
        broken.push('EINIT accepted a page that was not the measured one');
      await victim.close();
    } catch (error) {
      codes.add(codeOf(error));
    }
    await done;
  }
  connection.memory.free(source);
  return finding(
    stage.cast.guest.label,
    `source page toggled by another process during EADD and EEXTEND, ${RACES} times: ${codes}`,
    broken,
  );
}

export const tamperedPage: Attack = Object.freeze({
  name: 'tampered-page',
  group: 'lifecycle',
  by: 'guest OS',
  control: 'the unchanged page is accepted and read back from inside',
  title: 'change a page between EADD and EINIT',
  tries: 'overwrites the source of a page before, while and after it is added',
  run: async (stage: Stage) => [await beforeEadd(stage), await afterEadd(stage), await duringEadd(stage)],
});
