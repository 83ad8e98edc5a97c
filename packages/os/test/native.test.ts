import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import * as os from '../src/index.js';
import { code } from './support.js';

const index = fileURLToPath(new URL('../src/index.js', import.meta.url));

test('bundled into one CommonJS file, everything native comes from sealed memory', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'nsgx-os-'));
  const require = createRequire(import.meta.url);
  const koffi = require.resolve('@koromix/koffi-linux-x64/linux_x64/koffi.node', {
    paths: [require.resolve('koffi')],
  });
  writeFileSync(
    join(dir, 'main.mjs'),
    `import * as os from ${JSON.stringify(index)};
     const module = { exports: {} };
     process.dlopen(module, '/proc/self/fd/3');
     os.configureNative({ koffi: module.exports, libraryPath: '/proc/self/fd/4' });
     const fd = os.memfdCreate('x', { size: 4096, seal: true });
     let code = '';
     try { os.ftruncate(fd, 0); } catch (e) { code = e.code; }
     try { os.configureNative({ libraryPath: '/' }); } catch (e) { code += ' ' + e.code; }
     const pool = new os.CallPool(2);
     pool.submit(os.nativeSymbol('nsgx_identity'), 6).then(async (v) => {
       await pool.close();
       const maps = require('node:fs').readFileSync('/proc/self/maps', 'latin1');
       console.log(code, v, /koffi\\.node|libnsgx-os\\.so$/m.test(maps.replace(/\\/memfd:.*/g, '')));
     });`,
  );
  const bundle = join(dir, 'bundle.cjs');
  await build({
    entryPoints: [join(dir, 'main.mjs')],
    outfile: bundle,
    bundle: true,
    format: 'cjs',
    platform: 'node',
    logLevel: 'error',
  });
  const parts = [koffi, os.packageLibraryPath()].map((path) =>
    os.sealedExecutable(path.split('/').at(-1)!, readFileSync(path)),
  );
  const run = spawnSync(process.execPath, [bundle], {
    stdio: ['ignore', 'pipe', 'inherit', parts[0]!, parts[1]!],
    encoding: 'utf8',
    timeout: 20_000,
  });
  assert.equal(run.stdout.trim(), 'EPERM NATIVE_ALREADY_LOADED 6 false');
  for (const fd of parts) os.close(fd);
  rmSync(dir, { recursive: true });
});

test('a missing library is a typed error with a cure', () => {
  assert.throws(() => os.loadLibrary('/does/not/exist.so'), code('NATIVE_LIBRARY_MISSING'));
  try {
    os.loadLibrary('/does/not/exist.so');
  } catch (error) {
    assert.match((error as os.OsError).advice ?? '', /npm run build/);
  }
  os.loadNative();
  assert.throws(() => os.configureNative({ libraryPath: '/x' }), code('NATIVE_ALREADY_LOADED'));
});
