import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { MACHINE_ERRORS } from '../src/index.js';

it('works bundled into one CommonJS file', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'nsgx-bundle-'));
  try {
    const outfile = join(dir, 'machine.cjs');
    await build({
      entryPoints: [fileURLToPath(new URL('../src/index.js', import.meta.url))],
      bundle: true,
      platform: 'node',
      format: 'cjs',
      outfile,
      external: ['koffi'],
      logLevel: 'silent',
    });
    const program = `
      const m = require(${JSON.stringify(outfile)});
      m.SoftwarePsp.open(null).then((psp) => {
        psp.launchStart();
        psp.launchFinish();
        const c = new m.GuestMessageChannel(0, psp.vmpck(0), (x) => psp.guestRequest(x));
        console.log(c.report(new Uint8Array(64)).length);
      });`;
    writeFileSync(join(dir, 'run.cjs'), program);
    assert.equal(execFileSync(process.execPath, [join(dir, 'run.cjs')]).toString(), '1184\n');
  } finally {
    rmSync(dir, { recursive: true });
  }
});

it('names every error code with one line', () => {
  for (const [code, meaning] of Object.entries(MACHINE_ERRORS)) {
    assert.match(code, /^[A-Z][A-Z0-9_]+$/);
    assert.match(meaning, /^[^\n]+\.$/);
  }
});
