import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

test('the package bundles for the browser without Node built-ins, under 150 KiB gzipped', async () => {
  const entry = fileURLToPath(new URL('../src/index.js', import.meta.url));
  const result = await build({
    entryPoints: [entry],
    bundle: true,
    platform: 'browser',
    format: 'esm',
    minify: true,
    write: false,
    metafile: true,
    logLevel: 'silent',
  });
  assert.equal(result.errors.length, 0);
  assert.equal(result.warnings.length, 0);
  for (const [path, input] of Object.entries(result.metafile.inputs)) {
    for (const imported of input.imports) {
      assert.ok(
        !imported.path.startsWith('node:') && imported.external !== true,
        `${path} imports ${imported.path}`,
      );
    }
  }
  const code = result.outputFiles[0]!.contents;
  assert.ok(gzipSync(code).length < 150 * 1024, `the bundle has ${gzipSync(code).length} bytes gzipped`);
  assert.doesNotMatch(new TextDecoder().decode(code), /\bBuffer\.|\brequire\(|process\.env/);
});
