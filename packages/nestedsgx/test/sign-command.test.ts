/** `nsgx sign`: shared objects of Intel's SDK in one step and in two, keys with passphrases, wrong usage. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createPrivateKey, sign } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { nodeHash } from '@nestedsgx/arch/node';
import { loadSignedSo, measureImage, writeSgxs } from '@nestedsgx/image';
import { generateKey } from '@nestedsgx/image/node';

const NSGX = fileURLToPath(new URL('../../bin/nsgx.mjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'nsgx-sign-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string): string => join(folder, name);
const { privateKeyPem, publicKeyPem } = await generateKey();
const locked = createPrivateKey(privateKeyPem).export({
  type: 'pkcs1',
  format: 'pem',
  cipher: 'aes-256-cbc',
  passphrase: 'open sesame',
});
writeFileSync(file('key.pem'), privateKeyPem);
writeFileSync(file('public.pem'), publicKeyPem);
writeFileSync(file('locked.pem'), locked);
writeFileSync(
  file('config.xml'),
  '<EnclaveConfiguration><ProdID>7</ProdID><TCSNum>2</TCSNum><MiscSelect>1</MiscSelect><MiscMask>0xFFFFFFFE</MiscMask></EnclaveConfiguration>',
);
writeFileSync(file('wrong.xml'), '<EnclaveConfiguration><TCSNum>0</TCSNum></EnclaveConfiguration>');

/** What the SDK's libraries bring into every enclave, as far as signing is concerned. */
const SOURCE = `
__attribute__((visibility("default"))) struct { unsigned long version; char rest[1760]; } g_global_data = {0x2001a0064, {1}};
int table[3] = {1, 2, 3};
int *pointer = &table[1];
static char space[9000];
__attribute__((visibility("default"))) int enclave_entry(int i) { return *pointer + space[i]; }
__asm__(".section .note.sgxmeta,\\"\\",@note\\n.p2align 2\\n.long 13, 0x6000, 1\\n.asciz \\"sgx_metadata\\"\\n.fill 0x6000\\n.p2align 2\\n.text");
`;
writeFileSync(file('enclave.c'), SOURCE);
const linked = spawnSync(
  'gcc',
  ['-O1', '-fPIC', '-shared', '-nostdlib', '-Wl,-z,now', 'enclave.c', '-o', 'enclave.so'],
  { cwd: folder, encoding: 'utf8' },
);
const skip = linked.status === 0 ? false : 'there is no gcc';

function nsgx(args: string[], more: Record<string, string> = {}) {
  const { NSGX_KEY_PASSPHRASE: _, ...env } = process.env;
  // A session of its own: there is no terminal to ask on.
  return spawnSync('setsid', ['-w', process.execPath, NSGX, 'sign', ...args], {
    cwd: folder,
    encoding: 'utf8',
    env: { ...env, ...more },
  });
}

test('a shared object is signed, and the answer is that of its measurement', { skip }, () => {
  const { status, stdout, stderr } = nsgx([
    'enclave.so',
    '--config',
    'config.xml',
    '--key',
    'key.pem',
    '--json',
  ]);
  assert.equal(status, 0, stderr);
  const answer = JSON.parse(stdout);
  assert.equal(answer.image, 'enclave.signed.so');
  assert.deepEqual(answer.metadataVersions, ['3.3', '1.5']);
  const image = loadSignedSo(readFileSync(file('enclave.signed.so')));
  assert.equal(answer.mrenclave, Buffer.from(measureImage(nodeHash, image)).toString('hex'));
  assert.equal(answer.size, image.size);
  const plain = nsgx(['enclave.so', '--config', 'config.xml', '--key', 'key.pem', '--out', 'plain.so']);
  assert.match(plain.stdout, /metadata +3\.3, 1\.5: for loaders with EDMM and without EDMM/);
});

test('two steps and an encrypted key give the same file', { skip }, () => {
  const common = ['enclave.so', '--config', 'config.xml'];
  assert.equal(nsgx([...common, '--key', 'key.pem', '--date', '20260131', '--out', 'one.so']).status, 0);
  const first = nsgx([...common, '--print-digest', '--date', '20260131', '--out', 'unsigned', '--json']);
  assert.equal(first.status, 0, first.stderr);
  const data = readFileSync(file('unsigned'));
  assert.equal(data.toString('hex'), JSON.parse(first.stdout).data);
  writeFileSync(file('signature'), sign('sha256', data, privateKeyPem));
  const step = [
    ...common,
    '--unsigned',
    'unsigned',
    '--signature',
    'signature',
    '--public-key',
    'public.pem',
  ];
  const second = nsgx([...step, '--out', 'two.so']);
  assert.equal(second.status, 0, second.stderr);
  assert.deepEqual(readFileSync(file('two.so')), readFileSync(file('one.so')));
  const encrypted = nsgx([...common, '--key', 'locked.pem', '--date', '20260131', '--out', 'three.so'], {
    NSGX_KEY_PASSPHRASE: 'open sesame',
  });
  assert.equal(encrypted.status, 0, encrypted.stderr);
  assert.deepEqual(readFileSync(file('three.so')), readFileSync(file('one.so')));
  const other = nsgx([
    'enclave.so',
    '--unsigned',
    'unsigned',
    '--signature',
    'signature',
    '--public-key',
    'public.pem',
  ]);
  assert.equal(other.status, 1);
  assert.match(other.stderr, /differs in MISCMASK.*SIGN_REQUEST/);
});

test('NAME.sgxs takes the same steps', () => {
  const page = { offset: 0, secinfoFlags: 0x205, data: new Uint8Array(4096), measured: true };
  writeFileSync(file('plain.sgxs'), writeSgxs({ size: 0x4000, ssaFrameSize: 1, pages: [page] }));
  assert.equal(nsgx(['plain.sgxs', '--key', 'key.pem', '--date', '20260131']).status, 0);
  assert.equal(nsgx(['plain.sgxs', '--print-digest', '--date', '20260131', '--out', 'digest']).status, 0);
  writeFileSync(file('made'), sign('sha256', readFileSync(file('digest')), privateKeyPem));
  const step = ['plain.sgxs', '--unsigned', 'digest', '--signature', 'made', '--public-key', 'public.pem'];
  const second = nsgx([...step, '--out', 'second.sig']);
  assert.equal(second.status, 0, second.stderr);
  assert.deepEqual(readFileSync(file('second.sig')), readFileSync(file('plain.sig')));
});

test('refusals have codes and exit status 1, wrong usage 2', { skip }, () => {
  const cases: [args: string[], status: number, said: RegExp, env?: Record<string, string>][] = [
    [['enclave.so'], 2, /--key/],
    [['enclave.so', '--key', 'key.pem', '--out', 'enclave.so'], 2, /replace the enclave itself/],
    [['enclave.so', '--public-key', 'public.pem', '--key', 'key.pem'], 2, /belong to --signature/],
    [['enclave.so', '--print-digest', '--signature', 'x'], 2, /first step/],
    [['enclave.so', '--signature', 'key.pem'], 2, /--public-key/],
    [
      ['enclave.so', '--signature', 'x', '--unsigned', 'y', '--date', '20260131', '--public-key', 'z'],
      2,
      /leave out --date/,
    ],
    [['none.sgxs', '--key', 'key.pem', '--resign'], 2, /for shared objects/],
    [
      ['enclave.so', '--key', 'key.pem', '--config', 'wrong.xml'],
      1,
      /TCSNum is 0; permitted is 1….*SIGN_CONFIG_ELEMENT/,
    ],
    [['enclave.so', '--key', 'key.pem', '--config', 'key.pem'], 1, /SIGN_CONFIG_XML/],
    [['enclave.signed.so', '--key', 'key.pem'], 1, /SIGN_ALREADY_SIGNED/],
    [['enclave.so', '--key', 'public.pem'], 1, /SIGN_KEY_PUBLIC/],
    [['enclave.so', '--key', 'locked.pem'], 1, /PASSPHRASE_UNAVAILABLE/],
    [['enclave.so', '--key', 'locked.pem'], 1, /SIGN_KEY_PASSPHRASE/, { NSGX_KEY_PASSPHRASE: 'wrong' }],
    [['enclave.so', '--signature', 'key.pem', '--public-key', 'public.pem'], 1, /SIGSTRUCT_KEY|FILE_/],
  ];
  for (const [args, status, said, env] of cases) {
    const run = nsgx(args, env);
    assert.equal(run.status, status, `${args.join(' ')}: ${run.stderr}`);
    assert.match(run.stderr, said);
    assert.equal(run.stdout, '');
  }
});
