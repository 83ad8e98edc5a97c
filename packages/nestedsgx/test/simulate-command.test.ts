/** `nsgx simulate` as a process: its document, its replays, its exit codes. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const NSGX = fileURLToPath(new URL('../../bin/nsgx.mjs', import.meta.url));

function nsgx(...args: string[]): Promise<{ status: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [NSGX, 'simulate', ...args], (_error, stdout, stderr) => {
      resolve({ status: child.exitCode ?? -1, stdout, stderr });
    });
  });
}

test('a run is told as one document', async () => {
  const { status, stdout } = await nsgx('--seed', '11', '--sequences', '120', '--coverage', '--json');
  assert.equal(status, 0);
  const document = JSON.parse(stdout);
  assert.equal(document.seed, 11);
  assert.equal(document.sequences, 120);
  assert.equal(document.finding, null);
  assert.ok(document.calls > 120 * 10);
  const rows = document.coverage as { name: string; hits: number; unreachable?: string }[];
  assert.ok(rows.some(({ name, hits }) => name === 'ECREATE' && hits > 0));
  assert.ok(rows.some(({ unreachable }) => unreachable !== undefined));
});

test('for people: figures, and how much was hit', async () => {
  const { status, stdout } = await nsgx('--seed', '11', '--sequences', '60', '--coverage');
  assert.equal(status, 0);
  assert.match(stdout, /^EADD\.linaddr-free +#GP\(0\) +\d+$/m);
  assert.match(stdout, /60 sequences of seed 11/);
  assert.match(stdout, /model and monitor agree/);
});

test('one sequence runs again by its name', async () => {
  const first = JSON.parse((await nsgx('--replay', '11:7', '--json')).stdout);
  const again = JSON.parse((await nsgx('--replay', '11:7', '--json')).stdout);
  assert.equal(first.sequences, 1);
  assert.equal(again.calls, first.calls);
});

test('wrong numbers are wrong usage', async () => {
  for (const args of [
    ['--replay', '11'],
    ['--seed', '-1'],
    ['--sequences', 'many'],
    ['--seed', '4294967296'],
  ]) {
    const { status, stdout, stderr } = await nsgx(...args);
    assert.equal(status, 2, args.join(' '));
    assert.equal(stdout, '');
    assert.match(stderr, /^nsgx: /);
  }
});
