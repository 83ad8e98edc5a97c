import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { NsgxError, SIGSTRUCT } from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import { generateKey, loadImageFiles, signImage } from '../src/node/index.js';
import { byPage, plainSgxs, sampleRuns } from './samples.js';

const folder = mkdtempSync(join(tmpdir(), 'nsgx-image-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const runs = sampleRuns(600);
const sample = plainSgxs(2 ** 22, 1, runs);
const { privateKeyPem } = await generateKey();
let count = 0;

/** A fresh image of files; `parts` replaces or (null) leaves out some of them. */
function files(parts: { sgxs?: Uint8Array; sig?: Uint8Array | null; json?: string | null } = {}): string {
  const name = join(folder, `image${count++}`);
  writeFileSync(`${name}.sgxs`, parts.sgxs ?? sample.bytes);
  if (parts.sig !== undefined && parts.sig !== null) writeFileSync(`${name}.sig`, parts.sig);
  if (parts.json !== null) writeFileSync(`${name}.json`, parts.json ?? '{"format":1,"name":"x"}');
  return name;
}

function refuses(f: () => unknown, code: string, message?: RegExp): void {
  assert.throws(f, (e) => {
    assert.ok(e instanceof NsgxError, String(e));
    assert.equal(e.code, code, e.message);
    if (message !== undefined) assert.match(e.message, message);
    return true;
  });
}

test('an image is read from its files, by NAME, NAME.sgxs or paths', () => {
  const name = files();
  const sig = signImage(loadImageFiles(name), privateKeyPem, { isvProdId: 5 });
  writeFileSync(`${name}.sig`, sig);
  for (const path of [
    name,
    `${name}.sgxs`,
    { sgxs: `${name}.sgxs`, sig: `${name}.sig`, json: `${name}.json` },
  ]) {
    const image = loadImageFiles(path, { verify: true });
    assert.equal(image.format, 'sgxs');
    assert.equal(image.size, 2 ** 22);
    assert.deepEqual(image.description, { format: 1, name: 'x' });
    assert.equal(SIGSTRUCT.decode(image.sigstruct!).ISVPRODID, 5);
    assert.equal(image.tcs, 1);
    assert.deepEqual(byPage(image.pages()), byPage(runs));
    assert.equal(Buffer.from(image.mrenclave(nodeHash)).toString('hex'), sample.mrenclave);
  }
  const bare = loadImageFiles({ sgxs: `${name}.sgxs` });
  assert.equal(bare.sigstruct, undefined);
  assert.equal(bare.description, undefined);
});

test('missing, oversized, damaged and strange files are refused by name', () => {
  refuses(() => loadImageFiles(join(folder, 'nothing')), 'IMAGE_FILE', /nothing\.sgxs.*ENOENT/);
  const name = files();
  refuses(() => loadImageFiles({ sgxs: `${name}.sgxs`, sig: `${name}.sig` }), 'IMAGE_FILE', /\.sig/);
  refuses(() => loadImageFiles({ sgxs: `${name}.sgxs`, json: `${name}.none` }), 'IMAGE_FILE', /\.none/);
  refuses(() => loadImageFiles(name, { limits: { maxFileBytes: 100 } }), 'IMAGE_TOO_LARGE');
  refuses(() => loadImageFiles(name, { limits: { maxDescriptionBytes: 10 } }), 'IMAGE_TOO_LARGE', /\.json/);
  refuses(() => loadImageFiles(files({ sig: new Uint8Array(1807) })), 'IMAGE_SIGNATURE_FILE');
  refuses(() => loadImageFiles(files({ sig: new Uint8Array(1 << 20) })), 'IMAGE_TOO_LARGE');
  for (const json of ['', '[]', '3', 'null', '{', '['.repeat(100_000)]) {
    refuses(() => loadImageFiles(files({ json })), 'IMAGE_DESCRIPTION');
  }
  const dir = join(folder, 'dir');
  mkdirSync(`${dir}.sgxs`);
  refuses(() => loadImageFiles(dir), 'IMAGE_FILE', /regular/);
  refuses(() => loadImageFiles({ sgxs: `${name}.sgxs`, json: '/dev/zero' }), 'IMAGE_FILE', /regular/);
  execFileSync('mkfifo', [join(folder, 'pipe.sgxs')]);
  refuses(() => loadImageFiles(join(folder, 'pipe')), 'IMAGE_FILE', /regular/);
});

test('a signature of another enclave is noticed when asked', () => {
  const other = plainSgxs(2 ** 22, 2, runs);
  const sig = signImage(loadImageFiles(files({ sgxs: other.bytes })), privateKeyPem);
  const name = files({ sig });
  loadImageFiles(name);
  refuses(() => loadImageFiles(name, { verify: true }), 'IMAGE_SIGNATURE_MISMATCH');
});

test('a file that changes under the image is noticed', () => {
  const name = files();
  const image = loadImageFiles(name);
  const pass = image.pages()[Symbol.iterator]();
  pass.next();
  truncateSync(`${name}.sgxs`, 2 ** 20);
  refuses(() => {
    while (!pass.next().done);
  }, 'IMAGE_CHANGED');
  refuses(() => [...image.pages()], 'IMAGE_CHANGED');
});
