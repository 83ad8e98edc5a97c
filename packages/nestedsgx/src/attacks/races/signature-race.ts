import { randomBytes } from 'node:crypto';
import { mrsigner, REPORT, SIGSTRUCT } from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import { quotingTarget } from '@nestedsgx/sdk';
import { text64 } from '../adversary/world.js';
import { codeOf } from '../answers.js';
import { type Attack, type Finding, finding, Tally } from '../attack.js';
import type { Stage } from '../stage/stage.js';
import { prepare } from '../stage/stepwise.js';
import { victimImage, victimOf } from '../stage/victim.js';

const PAGE = 4096;
const RACES = 14;
const TRIES = 12;
const RACE_MS = 60;

/** Two contents of a part of SIGSTRUCT between which the attacker changes, and what an accepted enclave may be. */
interface Race {
  what: string;
  offset: number;
  one: Uint8Array;
  two: Uint8Array;
  /** The identity, for the report. */
  name(report: ReturnType<typeof REPORT.decode>): string;
  /** What is wrong with the identity, or null. */
  judge(report: ReturnType<typeof REPORT.decode>): string | null;
}

async function run(stage: Stage, race: Race): Promise<Finding> {
  const { connection, device } = await stage.host();
  const adversary = await stage.adversary(stage.cast.guest);
  const image = stage.image('calc');
  const codes = new Tally();
  const broken: (string | null)[] = [];
  // The driver puts the SIGSTRUCT into the second page of its operands; that is guest RAM, so everybody can write it.
  const place = device.staging.operands.gpa + PAGE;
  for (let round = 0; round < RACES; round++) {
    const { file, gates, threads, give, handOver } = prepare(device, image);
    const { done } = await adversary.begin('toggle', {
      gpa: place + race.offset,
      one: text64(race.one),
      two: text64(race.two),
      ms: RACE_MS,
    });
    for (let i = 0; i < TRIES && !file.initialised; i++) {
      try {
        file.init(image.sigstruct);
      } catch (error) {
        codes.add(codeOf(error));
      }
    }
    await done;
    if (file.initialised) {
      handOver();
      const built = { file, gates, gateCount: threads, threads, mrenclave: new Uint8Array(32), debug: false };
      const victim = victimOf(connection, built, image.description, image.page);
      const target = quotingTarget(connection);
      const report = victim.calls.report!(target, new Uint8Array(randomBytes(64))) as Uint8Array;
      const identity = REPORT.decode(report);
      codes.add(`accepted as ${race.name(identity)}`);
      broken.push(race.judge(identity));
      await victim.close();
    } else give();
  }
  return finding(
    stage.cast.guest.label,
    `${race.what}: ${codes}; every accepted enclave is what was signed`,
    broken,
  );
}

export const signatureRace: Attack = Object.freeze({
  name: 'signature-race',
  group: 'races',
  by: 'guest OS',
  control: 'most rounds end in an accepted enclave, whose report is read',
  title: 'change a signature while EINIT checks it',
  tries: 'a second process changes ISVSVN, or the whole SIGSTRUCT to that of another signer, during EINIT',
  run: async (stage: Stage) => {
    const { sigstruct } = stage.image('calc');
    const signed = SIGSTRUCT.decode(sigstruct);
    const at = SIGSTRUCT.offsets.ISVSVN;
    const rival = victimImage('calc', await stage.rivalKey()).sigstruct;
    const signers = [signed.MODULUS, SIGSTRUCT.decode(rival).MODULUS].map((modulus) =>
      mrsigner(nodeHash, modulus),
    );
    const mine = signers[0]!;
    return [
      await run(stage, {
        what: 'ISVSVN toggled between the signed one and 65535',
        offset: at,
        one: sigstruct.slice(at, at + 2),
        two: new Uint8Array([0xff, 0xff]),
        name: ({ ISVSVN }) => `ISVSVN ${ISVSVN}`,
        judge: ({ ISVSVN }) => (ISVSVN === signed.ISVSVN ? null : `an enclave runs with ISVSVN ${ISVSVN}`),
      }),
      await run(stage, {
        what: 'SIGSTRUCT toggled between two signers',
        offset: 0,
        one: sigstruct,
        two: rival,
        name: ({ MRSIGNER }) => (Buffer.compare(MRSIGNER, mine) === 0 ? 'one signer' : 'the other signer'),
        judge: ({ MRSIGNER, ISVSVN }) =>
          ISVSVN === signed.ISVSVN && signers.some((signer) => Buffer.compare(signer, MRSIGNER) === 0)
            ? null
            : 'an enclave runs under a mixed identity',
      }),
    ];
  },
});
