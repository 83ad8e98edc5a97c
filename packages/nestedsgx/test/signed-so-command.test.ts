/** `nsgx measure` and `nsgx inspect` with an enclave in Intel's format, which they recognise by its magic. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { SIGSTRUCT } from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import { loadSignedSo, measureImage, writeMetadata, writeMetadataSection } from '@nestedsgx/image';

const NSGX = fileURLToPath(new URL('../../bin/nsgx.mjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'nsgx-signed-so-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** One PT_LOAD with 8 KiB of code, and metadata with a heap and one thread. */
function signedSo(enclaveHash: Uint8Array): Buffer {
  const entry = (id: number, attributes: number, page_count: number, rva: bigint, si_flags: bigint) => ({
    entry: { id, attributes, page_count, rva, si_flags },
  });
  const template = new Uint8Array(72);
  template[28] = 2;
  const block = writeMetadata({
    version: { major: 1, minor: 5 },
    ssa_frame_size: 1,
    tcs_policy: 1,
    enclave_size: 0x40000n,
    attributes: { FLAGS: 4n, XFRM: 0xe7n },
    enclave_css: SIGSTRUCT.encode({ ENCLAVEHASH: enclaveHash, ISVPRODID: 7, ISVSVN: 3 }),
    layout: [
      entry(1, 1, 4, 0x2000n, 0x203n),
      entry(10, 0, 16, 0x6000n, 0n),
      { ...entry(4, 3, 1, 0x16000n, 0x100n), content: template },
      entry(6, 3, 2, 0x17000n, 0x203n),
    ],
    patches: [{ dst: 40n, data: new Uint8Array(8) }],
  });
  const note = writeMetadataSection([block]);
  const strings = Buffer.from('\0.note.sgxmeta\0.shstrtab\0', 'latin1');
  const code = Buffer.alloc(0x2000, 0x90);
  code.fill(0, 0, 0x100);
  code.write('\x7fELF\x02\x01\x01', 'latin1');
  const header: [at: number, value: number][] = [
    [16, 3],
    [18, 62],
    [54, 56],
    [56, 1],
    [58, 64],
    [60, 3],
    [62, 2],
  ];
  for (const [at, value] of header) code.writeUInt16LE(value, at);
  code.writeUInt32LE(64, 32);
  code.writeUInt32LE(0x2000 + note.length + strings.length, 40);
  code.writeUInt32LE(1, 64);
  code.writeUInt32LE(5, 68);
  for (const at of [96, 104]) code.writeUInt32LE(0x2000, at);
  code.writeUInt32LE(0x1000, 112);
  const sections = Buffer.alloc(3 * 64);
  [
    [1, 7, 0x2000, note.length],
    [15, 3, 0x2000 + note.length, strings.length],
  ].forEach(([name, type, offset, size], i) => {
    sections.writeUInt32LE(name, 64 * (i + 1));
    sections.writeUInt32LE(type, 64 * (i + 1) + 4);
    sections.writeUInt32LE(offset, 64 * (i + 1) + 24);
    sections.writeUInt32LE(size, 64 * (i + 1) + 32);
  });
  return Buffer.concat([code, note, strings, sections]);
}

const mrenclave = measureImage(nodeHash, loadSignedSo(signedSo(new Uint8Array(32))));
const hex = Buffer.from(mrenclave).toString('hex');
const right = join(folder, 'enclave.signed.so');
const wrong = join(folder, 'other.signed.so');
writeFileSync(right, signedSo(mrenclave));
writeFileSync(wrong, signedSo(new Uint8Array(32)));

function nsgx(...args: string[]) {
  return spawnSync(process.execPath, [NSGX, ...args], {
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1' },
  });
}

test('measure compares MRENCLAVE with the SIGSTRUCT in the file', () => {
  const good = nsgx('measure', right, '--json');
  assert.equal(good.status, 0, good.stderr);
  assert.deepEqual(JSON.parse(good.stdout), { mrenclave: hex, enclaveHash: hex, signatureMatches: true });
  assert.equal(nsgx('measure', right).stdout, `${hex}\n`);
  const bad = nsgx('measure', wrong);
  assert.equal(bad.status, 1);
  assert.match(bad.stdout, new RegExp(`^${hex}\n.*signs another enclave: ${'00'.repeat(32)}`));
});

test('inspect names versions, layout, threads, sizes, signer and product', () => {
  const { stdout, stderr } = nsgx('inspect', right, '--json');
  const document = JSON.parse(stdout);
  const { layout, tcsTemplate, mrsigner, ...rest } = document;
  assert.match(mrsigner, /^[0-9a-f]{64}$/, stderr);
  const expected = {
    format: 'intel',
    mrenclave: hex,
    size: 0x40000,
    tcs: 1,
    isvProdId: 7,
    isvSvn: 3,
    signatureMatches: true,
    signatureValid: false,
    metadataVersions: '1.5',
    metadataUsed: '1.5',
    tcsPolicy: 'unbind',
    threads: 1,
    heapInitBytes: 4 * 4096,
  };
  for (const [name, value] of Object.entries(expected)) assert.equal(rest[name], value, name);
  assert.equal(tcsTemplate.nssa, 2);
  assert.deepEqual(
    layout.map((row: { id: string }) => row.id),
    ['HEAP_MIN', 'GUARD', 'TCS', 'SSA'],
  );
  assert.match(nsgx('inspect', right).stdout, /2 +TCS +1 +0x16000 +0x100 +EADD EEXTEND/);
});

test('a damaged file is refused with structure, field and value', () => {
  const file = signedSo(mrenclave);
  file.writeUInt16LE(40, 18);
  const path = join(folder, 'damaged.signed.so');
  writeFileSync(path, file);
  for (const command of ['measure', 'inspect']) {
    const { status, stderr } = nsgx(command, path);
    assert.notEqual(status, 0);
    assert.match(stderr, /Elf64_Ehdr\.e_machine is 40/);
    assert.match(stderr, /IMAGE_ELF/);
  }
});
