/** What outlives a machine: sealed data and the chip's identity; and machines kept apart from their own account. */
import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connectUnix } from '@nestedsgx/os';
import { verify } from '../../src/attest.js';
import {
  Cvm,
  endProcess,
  generateKey,
  launchCvm,
  openImage,
  sampleImage,
  signImage,
} from '../../src/index.js';
import { codeOf, launch, load, until } from './observe.js';

const folder = mkdtempSync(join(tmpdir(), 'nsgx-sealing-'));
after(() => rmSync(folder, { recursive: true }));
const SECRET = new TextEncoder().encode('kept over restarts');
const { image } = openImage(sampleImage('calc'));
const signing = { isvProdId: 1, isvSvn: 1 };
let keys: string[];
before(async () => {
  keys = await Promise.all([0, 1].map(async () => (await generateKey()).privateKeyPem));
});

/** The sample signed by one of two keys. */
function loadSigned(cvm: Cvm, key: number, isvSvn = 1) {
  const { attributes, miscselect } = image;
  const sig = signImage(image, keys[key], { ...signing, attributes, miscselect, isvSvn } as never);
  return cvm.load({ sgxs: image, sig, description: image.description as object });
}

test('sealed data outlive the machine, and open only for the same signer on the same chip', async () => {
  const stateDir = join(folder, 'chip');
  let blob: Uint8Array;
  {
    await using cvm = await launch({ stateDir });
    const e = await loadSigned(cvm, 0);
    blob = e.ecalls.seal(SECRET);
    assert.equal(Buffer.from(blob).includes(Buffer.from(SECRET)), false);
  }
  {
    await using cvm = await launch({ stateDir });
    const again = await loadSigned(cvm, 0);
    assert.deepEqual(again.ecalls.unseal(blob), SECRET);
    const newer = await loadSigned(cvm, 0, 2);
    assert.deepEqual(newer.ecalls.unseal(blob), SECRET);
    const other = await loadSigned(cvm, 1);
    assert.deepEqual(other.mrenclave, again.mrenclave);
    assert.equal(await codeOf(() => other.ecalls.unseal(blob)), 'ENCLAVE_STATUS');
    // Data sealed by a newer version do not open for an older one.
    const fromNewer = newer.ecalls.seal(SECRET);
    assert.equal(await codeOf(() => again.ecalls.unseal(fromNewer)), 'ENCLAVE_STATUS');
    for (let at = 0; at < blob.length; at += 7) {
      const tampered = Uint8Array.from(blob);
      tampered[at] ^= 1;
      assert.equal(await codeOf(() => again.ecalls.unseal(tampered)), 'ENCLAVE_STATUS', `byte ${at}`);
    }
    for (const length of [0, 1, 15, blob.length - 1])
      assert.equal(await codeOf(() => again.ecalls.unseal(blob.subarray(0, length))), 'ENCLAVE_STATUS');
    assert.deepEqual(again.ecalls.unseal(blob), SECRET);
  }
  await using elsewhere = await launch({ stateDir: join(folder, 'other chip') });
  const foreign = await loadSigned(elsewhere, 0);
  assert.equal(await codeOf(() => foreign.ecalls.unseal(blob)), 'ENCLAVE_STATUS');
});

test('a quote of another machine with the same launch digest is refused by its root', async () => {
  const [one, other] = await Promise.all(
    ['one', 'two'].map(async (name) => {
      await using cvm = await launch({ stateDir: join(folder, name) });
      await using e = await load(cvm);
      const { launchDigest, rootFingerprint } = await cvm.info();
      const mrenclave = Buffer.from(e.mrenclave).toString('hex');
      return { launchDigest, rootFingerprint, mrenclave, evidence: e.attest() };
    }),
  );
  assert.equal(one.launchDigest, other.launchDigest);
  assert.equal(one.mrenclave, other.mrenclave);
  assert.notEqual(one.rootFingerprint, other.rootFingerprint);
  const policy = {
    version: 1 as const,
    nested: {
      mrenclave: [one.mrenclave],
      launchDigest: [one.launchDigest],
      softwareRoots: [one.rootFingerprint],
      isolation: ['same-user' as const],
    },
  };
  const reportData = new Uint8Array(64);
  assert.equal((await verify(one.evidence, { policy, reportData })).verdict, 'accepted');
  const refused = await verify(other.evidence, { policy, reportData });
  assert.equal(refused.verdict, 'rejected');
  const failed = refused.checks.filter((check) => check.status === 'failed').map((check) => check.id);
  assert.ok(failed.includes('snp.chain'), failed.join());
  const strict = { version: 1 as const, nested: { ...policy.nested, isolation: undefined } };
  assert.equal((await verify(one.evidence, { policy: strict, reportData })).verdict, 'rejected');
});

const UID = 64_801;

test('separate-user: a machine under its own account serves others and refuses that account', async (t) => {
  if (process.getuid?.() !== 0) return t.skip('only root can start a machine under another account');
  chmodSync(folder, 0o755);
  const stateDir = mkdtempSync(join(folder, 'service-'));
  chownSync(stateDir, UID, UID);
  const path = join(folder, 'service.sock');
  const service = await launchCvm({
    lifetime: 'service',
    isolation: 'separate-user',
    user: { uid: UID, gid: UID },
    stateDir,
    listen: { path, mode: 0o666 },
    stderr: 'ignore',
    epcBytes: 256 * 2 ** 20,
  });
  service.control.close();
  try {
    await using cvm = await Cvm.connect(path);
    const info = await cvm.info();
    assert.equal(info.isolation, 'separate-user');
    const e = await load(cvm);
    assert.equal(e.ecalls.add(2, 3), 5);
    const nested = { launchDigest: [info.launchDigest], softwareRoots: [info.rootFingerprint] };
    const mrenclave = [Buffer.from(e.mrenclave).toString('hex')];
    const verdict = await verify(e.attest(), {
      policy: { version: 1, nested: { ...nested, mrenclave } },
      reportData: new Uint8Array(64),
    });
    assert.equal(verdict.verdict, 'accepted', JSON.stringify(verdict.checks));
    process.seteuid?.(UID);
    let same: Cvm;
    try {
      same = await Cvm.connect(path);
    } finally {
      process.seteuid?.(0);
    }
    await assert.rejects(load(same), /CVM_REQUEST_REFUSED|serves only other users/);
    await same.close();
    assert.equal(e.ecalls.add(2, 3), 5);
    await cvm.stop();
  } finally {
    await endProcess(service.pid, service.pidfd, 2000);
  }
  assert.notEqual(
    await until(() => codeOf(() => connectUnix(path)).then((code) => code !== 'none'), 1000),
    null,
  );
});
