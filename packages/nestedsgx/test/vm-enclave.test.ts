/** An application of a Linux guest, written against Linux's own interface, and its enclave's quote outside. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { SIGSTRUCT } from '@nestedsgx/arch';
import { verify } from '@nestedsgx/attest';
import { generateKey, loadSigningKey } from '@nestedsgx/image/node';
import { fetchFiles, missingForGuests, Vm } from '@nestedsgx/vm';
import { type MicroImage, microImage } from '../src/attacks/stage/micro.js';

const PACKAGE = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const PAGE = 4096;
const lacking = missingForGuests();
const skip = lacking.length === 0 ? false : lacking.map(({ what }) => what).join('; ');
const folder = mkdtempSync(join(tmpdir(), 'nsgx-vm-enclave-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** The image as guest/enclave.c reads it. */
function imageFile({ image, sigstruct, tcs, data }: MicroImage): Buffer {
  const pages = [...image.pages()].flatMap((run) =>
    Array.from({ length: run.data!.length / PAGE || 1 }, (_, n) => {
      const page = Buffer.alloc(16 + PAGE);
      page.writeBigUInt64LE(BigInt(run.offset + n * PAGE), 0);
      page.writeBigUInt64LE(BigInt(run.secinfoFlags), 8);
      page.set(run.data!.subarray(n * PAGE, (n + 1) * PAGE), 16);
      return page;
    }),
  );
  const head = Buffer.alloc(48);
  const { attributes } = image;
  [image.size, attributes.FLAGS, attributes.XFRM, pages.length, tcs(0), data].forEach((value, n) => {
    head.writeBigUInt64LE(BigInt(value), n * 8);
  });
  return Buffer.concat([head, sigstruct, ...pages]);
}

test('an application enters its enclave by the vDSO, shares its memory with it, and has it quoted', {
  skip,
  timeout: 90_000,
}, async () => {
  const program = join(folder, 'enclave');
  const native = join(PACKAGE, '..', 'conformance', 'native');
  const source = join(PACKAGE, 'test', 'guest', 'enclave.c');
  const compiled = spawnSync('gcc', ['-O2', `-I${native}`, '-o', program, source], { encoding: 'utf8' });
  assert.equal(compiled.status, 0, compiled.stderr);
  const { privateKeyPem } = await generateKey();
  const image = microImage(loadSigningKey(privateKeyPem), { nssa: 6 }); // an exception that is not resumed keeps its frame
  writeFileSync(join(folder, 'image'), imageFile(image));
  await using vm = await Vm.start({
    accel: 'tcg',
    vcpus: 2,
    launch: { stateDir: null, epcBytes: 32 * 2 ** 20 },
    copies: [
      { from: program, to: '/root/enclave' },
      { from: join(folder, 'image'), to: '/root/image' },
    ],
  });
  const { launchDigest, rootFingerprint, isolation } = await vm.cvm!.info();
  const run = await vm.capture(['./enclave', 'image', 'quote']);
  assert.equal(run.code, 0, `${run.stdout}${run.stderr}${vm.consoleText}`);
  assert.deepEqual(run.stdout.toString().trim().split('\n'), [
    'calls 1000 of 1000',
    'a page that nobody has touched: function 4 vector 0 error 0x0',
    'it holds 0x1234',
    'the enclave reads 77',
    'a page that has gone: function 3 vector 14 error 0x4',
    'a page that is read only: function 3 vector 14 error 0x7',
    'an invalid instruction: function 3 vector 6 error 0x0',
    'inside 0x5ec2e7, outside 0xffffffffffffffff',
    'quoted',
  ]);
  await fetchFiles(vm, 'quote', folder);
  const reportData = Buffer.alloc(64);
  reportData.writeBigUInt64LE(0x64656e6769736en);
  const nested = {
    mrenclave: [mrenclave(image.sigstruct)],
    launchDigest: [launchDigest],
    softwareRoots: [rootFingerprint],
    isolation: [isolation],
  };
  const quote = readFileSync(join(folder, 'quote'));
  const policy = { version: 1 as const, nested };
  const accepted = await verify(quote, { policy, reportData });
  const failed = accepted.checks.filter(({ status }) => status === 'failed');
  assert.deepEqual(failed, []);
  assert.equal(accepted.verdict, 'accepted');
  quote[100] ^= 1;
  assert.equal((await verify(quote, { policy, reportData })).verdict, 'rejected');
});

function mrenclave(sigstruct: Uint8Array): string {
  return Buffer.from(SIGSTRUCT.decode(sigstruct).ENCLAVEHASH).toString('hex');
}

test('threads inside enclaves stand signals, fork, exec, exit, kill and unmapping; their module stays', {
  skip,
  timeout: 90_000,
}, async () => {
  const program = join(folder, 'robust');
  const native = join(PACKAGE, '..', 'conformance', 'native');
  const source = join(PACKAGE, 'test', 'guest', 'robust.c');
  const compiled = spawnSync('gcc', ['-O2', '-pthread', `-I${native}`, '-o', program, source], {
    encoding: 'utf8',
  });
  assert.equal(compiled.status, 0, compiled.stderr);
  const { privateKeyPem } = await generateKey();
  writeFileSync(join(folder, 'image'), imageFile(microImage(loadSigningKey(privateKeyPem), { nssa: 6 })));
  await using vm = await Vm.start({
    accel: 'tcg',
    vcpus: 2,
    launch: { stateDir: null, epcBytes: 32 * 2 ** 20 },
    copies: [
      { from: program, to: '/root/robust' },
      { from: join(folder, 'image'), to: '/root/image' },
    ],
  });
  const run = await vm.capture(['./robust', 'image']);
  assert.equal(run.code, 0, `${run.stdout}${run.stderr}${vm.consoleText}`);
  assert.deepEqual(run.stdout.toString().trim().split('\n'), [
    'signals: many handled, the enclave goes on',
    'its call: function 4 vector 0 error 0x0',
    'fork: the parent has 2, the child a copy of memory alone',
    'exec with a thread inside: 0',
    'kill with a thread inside: 9',
    'exit with a thread inside: 0',
    'unloading: refused',
    'unmapped: vector 14 error 0x8005',
  ]);
  const unload = await vm.capture(['rmmod', 'nsgx']);
  assert.equal(unload.code, 0, `${unload.stderr}`);
});
