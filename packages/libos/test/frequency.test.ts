/** The frequency that was measured is kept while it is true. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { keptTscHz } from '../src/run/frequency.js';

const folder = mkdtempSync(join(tmpdir(), 'nsgx-frequency-'));
after(() => rmSync(folder, { recursive: true, force: true }));

test('what was measured serves again, but not after a start of the machine, a pause or damage', () => {
  const path = join(folder, 'new', 'tsc.json');
  const boot = join(folder, 'boot');
  writeFileSync(boot, 'first\n');
  const hz = keptTscHz(path, boot);
  const kept = readFileSync(path, 'utf8');
  assert.equal(keptTscHz(path, boot), hz);
  assert.equal(readFileSync(path, 'utf8'), kept, 'it was measured again');
  const measuredAgain = (change: (kept: Record<string, unknown>) => void) => {
    const other = JSON.parse(kept);
    change(other);
    writeFileSync(path, JSON.stringify(other));
    const again = keptTscHz(path, boot);
    assert.ok(Math.abs(again / hz - 1) < 0.01, `${again}, not about ${hz}`);
    assert.notEqual(readFileSync(path, 'utf8'), JSON.stringify(other));
  };
  measuredAgain((row) => Object.assign(row, { boot: 'second' }));
  measuredAgain((row) => Object.assign(row, { hz: hz / 2, counter: 0, seconds: 0 }));
  measuredAgain((row) => Object.assign(row, { seconds: (row.seconds as number) - 0.5 }));
  writeFileSync(path, '{');
  assert.ok(Math.abs(keptTscHz(path, boot) / hz - 1) < 0.01);
  assert.equal(statSync(path).mode & 0o022, 0);
});

test('where nothing can be kept it is measured', () => {
  assert.ok(keptTscHz(join(process.execPath, 'tsc.json')) > 1e8);
  assert.ok(keptTscHz(join(folder, 'x.json'), join(folder, 'none')) > 1e8);
});
