/** Launch control as a host meets it: a machine that accepts some signers only. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { mrsigner, SIGSTRUCT } from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import { samplesBuildDirectory } from '@nestedsgx/enclave';
import { type AnyInterface, Cvm, type Enclave } from '../src/index.js';

const image = join(samplesBuildDirectory(), 'calc', 'calc');
const ocalls = { host_name: () => '', host_nothing: () => undefined };
const signature = SIGSTRUCT.decode(new Uint8Array(readFileSync(`${image}.sig`)));
const signer = Buffer.from(mrsigner(nodeHash, signature.MODULUS)).toString('hex');
const other = 'ab'.repeat(32);

test('an enclave of a signer that the policy lacks is refused by name, with the cure', async () => {
  await using cvm = await Cvm.launch({ stateDir: null, launchSigners: [other] });
  await assert.rejects(cvm.load(image, { ocalls }), {
    code: 'LAUNCH_SIGNER_REFUSED',
    message: new RegExp(signer),
    advice: new RegExp(`--launch-signer ${signer}`),
  });
  assert.deepEqual(await cvm.ps(), []);
});

test('an enclave of an accepted signer runs, and the policy is part of the launch digest', async () => {
  await using open = await Cvm.launch({ stateDir: null });
  await using cvm = await Cvm.launch({ stateDir: null, launchSigners: [signer, other] });
  await using same = await Cvm.launch({ stateDir: null, launchSigners: [other, signer.toUpperCase()] });
  const enclave = (await cvm.load(image, { ocalls })) as Enclave<AnyInterface>;
  assert.equal(enclave.ecalls.add(2, 3), 5);
  const digests = await Promise.all([open, cvm, same].map(async (each) => (await each.info()).launchDigest));
  assert.deepEqual((await same.info()).launchSigners, [signer, other].sort());
  assert.notEqual(digests[0], digests[1]);
  assert.equal(digests[1], digests[2]);
});
