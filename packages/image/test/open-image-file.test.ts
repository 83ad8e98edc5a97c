import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { nodeHash } from '@nestedsgx/arch/node';
import { loadSignedSo, measureImage } from '../src/index.js';
import { isElfFile, loadSignedSoFile, openImageFile } from '../src/node/index.js';
import { plainSgxs, sampleRuns } from './samples.js';
import { sampleMetadata, sampleSignedSo } from './signed-so-samples.js';

const folder = mkdtempSync(join(tmpdir(), 'nsgx-open-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const bytes = sampleSignedSo([sampleMetadata(1, 5)]);
const so = join(folder, 'enclave.signed.so');
writeFileSync(so, bytes);
writeFileSync(join(folder, 'hello.sgxs'), plainSgxs(0x10000, 1, sampleRuns()).bytes);
mkdirSync(join(folder, 'hello'));
writeFileSync(join(folder, 'short'), 'EL');

test('files are opened by their first bytes, whatever their name', () => {
  const image = openImageFile(so);
  assert.equal(image.format, 'intel');
  assert.deepEqual(measureImage(nodeHash, image), measureImage(nodeHash, loadSignedSo(bytes)));
  assert.equal(openImageFile(join(folder, 'hello')).format, 'sgxs');
  assert.deepEqual(
    ['enclave.signed.so', 'hello.sgxs', 'hello', 'short', 'absent'].map((name) =>
      isElfFile(join(folder, name)),
    ),
    [true, false, false, false, false],
  );
  assert.throws(() => openImageFile(join(folder, 'absent')), { code: 'IMAGE_FILE' });
  assert.throws(() => loadSignedSoFile(so, { limits: { maxFileBytes: 100 } }), { code: 'IMAGE_TOO_LARGE' });
  assert.throws(() => loadSignedSoFile(join(folder, 'hello.sgxs')), { code: 'IMAGE_ELF' });
});
