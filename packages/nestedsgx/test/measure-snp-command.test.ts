/** `nsgx measure --snp`: options, files, and what is said of wrong ones. The digests are proved in package arch. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { guidBytes, hashCommandLine, measureGuestLaunch, parseFirmware, VCPU_TYPES } from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import { snpKeyDigest } from '@nestedsgx/attest';

const NSGX = fileURLToPath(new URL('../../bin/nsgx.mjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'nsgx-measure-snp-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** A page with a table that says where kernel hashes go and where further vCPUs start, and one metadata section. */
function firmware(): Uint8Array {
  const image = Buffer.alloc(4096, 0xcc);
  const entry = (guid: string, ...words: number[]) => {
    const data = Buffer.alloc(4 * words.length + 18);
    words.forEach((word, i) => {
      data.writeUInt32LE(word, 4 * i);
    });
    data.writeUInt16LE(data.length, 4 * words.length);
    data.set(guidBytes(guid), 4 * words.length + 2);
    return data;
  };
  const table = Buffer.concat([
    entry('dc886566-984a-4798-a75e-5585a7bf67cc', 1024),
    entry('7255371f-3a3b-4b04-927b-1da6efa8d454', 0x81_0c00),
    entry('00f771de-1a7e-4fcb-890e-68c77e2fb44e', 0x80_b004),
    entry('96b582de-1fb2-45f7-baea-a366c55a082d'),
  ]);
  table.writeUInt16LE(table.length, table.length - 18);
  image.set(table, 4096 - 32 - table.length);
  [0x56455341, 28, 1, 1, 0x81_0000, 0x1000, 0x10].forEach((word, i) => {
    image.writeUInt32LE(word, 4096 - 1024 + 4 * i);
  });
  return new Uint8Array(image);
}

const file = (name: string, bytes: Uint8Array | string) => {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
};
const ovmf = file('OVMF.fd', firmware());
const kernel = file('vmlinuz', 'a kernel');
const nsgx = (...args: string[]) =>
  spawnSync(process.execPath, [NSGX, 'measure', '--snp', ...args], { encoding: 'utf8' });

test('the digest is that of the parts given', () => {
  const sha256 = (text: string) => nodeHash.sha256().update(Buffer.from(text)).digest();
  const expected = measureGuestLaunch(nodeHash, {
    firmware: parseFirmware(firmware()),
    kernel: {
      kernel: sha256('a kernel'),
      initrd: sha256(''),
      cmdline: hashCommandLine(nodeHash, 'console=ttyS0'),
    },
    vcpus: 3,
    vcpuSignature: VCPU_TYPES['EPYC-Genoa']!,
    guestFeatures: 0x21n,
  });
  const parts = ['--ovmf', ovmf, '--kernel', kernel, '--append', 'console=ttyS0', '--vcpus', '3'];
  const answer = nsgx(...parts, '--vcpu-type', 'EPYC-Genoa', '--guest-features', '0x21', '--json');
  assert.equal(answer.status, 0, answer.stderr);
  const document = JSON.parse(answer.stdout) as { launchDigest: string; firmwareDigest: string };
  assert.equal(document.launchDigest, Buffer.from(expected).toString('hex'));
  // By signature instead of name, from the firmware's digest instead of its contents.
  const again = nsgx(
    ...parts,
    '--vcpu-sig',
    '0xa10f10',
    '--guest-features',
    '33',
    '--ovmf-hash',
    document.firmwareDigest,
  );
  assert.equal(again.stdout.trim(), document.launchDigest, again.stderr);
});

test('inspect names the parts of firmware, and AMD’s extensions of certificates', () => {
  const inspect = (path: string) => {
    const answer = spawnSync(process.execPath, [NSGX, 'inspect', path, '--json'], { encoding: 'utf8' });
    assert.equal(answer.status, 0, answer.stderr);
    return JSON.parse(answer.stdout) as Record<string, unknown>;
  };
  const image = inspect(ovmf);
  assert.deepEqual(
    [image['format'], image['kernelHashes'], image['sections']],
    ['firmware', '0x810c00', [{ type: 'kernel-hashes', gpa: '0x810000', size: 4096 }]],
  );
  const vectors = fileURLToPath(new URL('../../../attest/vectors/snp/', import.meta.url));
  const amdOf = (name: string) =>
    (
      inspect(vectors + name)['certificates'] as { subject: string; amd: Record<string, unknown> | null }[]
    ).map(({ amd }) => (amd === null ? null : [amd['kind'], amd['productName'], amd['cspId']]));
  assert.deepEqual(amdOf('milan-v2.vcek.der'), [['VCEK', 'Milan-B0', null]]);
  assert.deepEqual(amdOf('milan-v3-vlek.vlek.der'), [['VLEK', 'Milan', 'CN=cc-us-east-2.amazonaws.com']]);
  assert.deepEqual(amdOf('turin-v5.chain.pem'), [['VCEK', 'Turin', null], null, null]);
  const extended = inspect(`${vectors}genoa-v3.tsm.cbor`);
  assert.deepEqual(
    [extended['format'], extended['form'], extended['version']],
    ['snp-report', 'TSM report', 3],
  );
});

test('the digest of a key is that of the report, from private key, public key or certificate', () => {
  const measure = (path: string) =>
    spawnSync(process.execPath, [NSGX, 'measure', '--snp-key', path], { encoding: 'utf8' });
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' });
  const pem = (name: string, key: KeyObject, type: 'spki' | 'pkcs8') =>
    file(name, key.export({ format: 'pem', type } as const) as string);
  const digest = snpKeyDigest(new Uint8Array(publicKey.export({ format: 'der', type: 'spki' })));
  assert.equal(measure(pem('id.pub.pem', publicKey, 'spki')).stdout.trim(), digest);
  assert.equal(measure(pem('id.pem', privateKey, 'pkcs8')).stdout.trim(), digest);
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey;
  assert.match(measure(pem('other.pem', other, 'spki')).stderr, /P-384/);
  assert.equal(measure(kernel).status, 2);
});

test('wrong usage is told apart from unusable files', () => {
  const type = ['--vcpu-type', 'EPYC'];
  const usage: [RegExp, ...string[]][] = [
    [/give --ovmf/],
    [/--vcpu-type is one of EPYC, .*not "486"/, '--ovmf', ovmf, '--vcpu-type', '486'],
    [/give --vcpu-type or --vcpu-sig$/m, '--ovmf', ovmf],
    [/not both/, '--ovmf', ovmf, ...type, '--vcpu-sig', '1'],
    [/belong to a kernel/, '--ovmf', ovmf, ...type, '--initrd', kernel],
    [/--vmm-type is one of/, '--ovmf', ovmf, ...type, '--vmm-type', 'xen'],
    [/--vcpus wants a number/, '--ovmf', ovmf, ...type, '--vcpus', 'four'],
    [/needs --vars-size/, '--ovmf', ovmf, ...type, '--svsm', ovmf],
    [/takes its parts as options/, '--ovmf', ovmf, ...type, 'hello.sgxs'],
  ];
  for (const [pattern, ...args] of usage) {
    const answer = nsgx(...args);
    assert.match(answer.stderr, pattern);
    assert.equal(answer.status, 2, args.join(' '));
  }
  const files: [RegExp, ...string[]][] = [
    [/FILE_UNREADABLE/, '--ovmf', join(folder, 'absent'), ...type],
    [/FILE_UNREADABLE/, '--ovmf', ovmf, ...type, '--kernel', folder],
    [/SNP_FIRMWARE/, '--ovmf', kernel, ...type],
    [/VALUE_NOT_HEX/, '--ovmf', ovmf, ...type, '--ovmf-hash', '00'],
    [/SNP_LAUNCH_OPTION/, '--ovmf', ovmf, ...type, '--vcpus', '5000'],
  ];
  for (const [pattern, ...args] of files) {
    const answer = nsgx(...args);
    assert.match(answer.stderr, pattern);
    assert.equal(answer.status, 1, args.join(' '));
  }
});
