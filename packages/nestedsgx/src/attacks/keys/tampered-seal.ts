import { randomBytes } from 'node:crypto';
import { ENCLAVE_STATUS, EnclaveStatusError } from '@nestedsgx/sdk';
import { generator } from '../adversary/world.js';
import { type Attack, type Finding, finding, Tally } from '../attack.js';
import type { Stage } from '../stage/stage.js';
import { loadVictim, victimImage } from '../stage/victim.js';

const FLIPS = 200;

/** Name of the status with which the enclave refused, else of the error. */
function refusalOf(error: unknown): string {
  if (!(error instanceof EnclaveStatusError)) return String((error as { code?: unknown }).code ?? error);
  const { failure, statusName } = error;
  const name = Object.entries(ENCLAVE_STATUS).find(([, [number]]) => number === failure)?.[0];
  return name ?? statusName;
}

/** Every change to a sealed blob is noticed. */
async function tamper(stage: Stage): Promise<Finding> {
  const calc = await stage.calc();
  const data = new Uint8Array(randomBytes(64));
  const blob = calc.calls.seal!(data) as Uint8Array;
  const random = generator(stage.seed);
  const blobs: Uint8Array[] = [];
  for (let i = 0; i < FLIPS; i++) {
    const copy = blob.slice();
    // The first bits of every part, then bits anywhere.
    const bit = i < 100 ? Math.floor((i * blob.length * 8) / 100) : random() % (blob.length * 8);
    copy[bit >> 3]! ^= 1 << (bit & 7);
    blobs.push(copy);
  }
  for (const cut of [0, 1, 16, blob.length >> 1, blob.length - 1]) blobs.push(blob.slice(0, cut));
  blobs.push(
    Buffer.concat([blob, new Uint8Array(1)]),
    new Uint8Array(blob.length),
    new Uint8Array(randomBytes(blob.length)),
  );
  const answers = new Tally();
  const broken: string[] = [];
  for (const changed of blobs) {
    try {
      calc.calls.unseal!(new Uint8Array(changed));
      answers.add('opened');
      broken.push('a changed blob was opened');
    } catch (error) {
      answers.add(refusalOf(error));
    }
  }
  const opened = calc.calls.unseal!(blob) as Uint8Array;
  if (Buffer.compare(opened, data) !== 0) broken.push('the unchanged blob no longer opens');
  if (Buffer.from(blob).indexOf(data.subarray(0, 16)) >= 0)
    broken.push('the blob holds the data in the clear');
  return finding(
    'whoever stores the blob',
    `${blobs.length} changed blobs: ${answers}; the unchanged one opens`,
    broken,
  );
}

/** A blob sealed to one signer is nothing to another's enclave. */
async function otherSigner(stage: Stage): Promise<Finding> {
  const calc = await stage.calc();
  const { device } = await stage.host();
  const data = new Uint8Array(randomBytes(64));
  const blob = calc.calls.seal!(data) as Uint8Array;
  const rival = loadVictim(device, victimImage('calc', await stage.rivalKey()));
  const broken: string[] = [];
  let answer = '';
  try {
    const opened = rival.calls.unseal!(blob) as Uint8Array;
    broken.push(
      `the other signer's enclave opened the blob${Buffer.compare(opened, data) === 0 ? ' and read it' : ''}`,
    );
  } catch (error) {
    answer = refusalOf(error);
  }
  const own = rival.calls.unseal!(rival.calls.seal!(data)) as Uint8Array;
  if (Buffer.compare(own, data) !== 0)
    broken.push('the other enclave cannot open its own blobs, so this shows nothing');
  await rival.close();
  return finding(
    'an enclave of another signer (same code, other MRSIGNER)',
    `unseals a blob of this signer: ${answer}; its own blobs open`,
    broken,
  );
}

export const tamperedSeal: Attack = Object.freeze({
  name: 'tampered-seal',
  group: 'keys',
  by: 'whoever carries the data',
  control: 'the unchanged blob opens, and the other signer opens its own',
  title: 'open or change sealed data',
  tries:
    'flips bits of a sealed blob, cuts and extends it, and gives it to the same code signed by another key',
  run: async (stage: Stage) => [await tamper(stage), await otherSigner(stage)],
});
