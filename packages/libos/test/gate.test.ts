/** The transport `gate` without an enclave: both its halves in one process (native/gate-check.c). */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

const root = join(import.meta.dirname, '../..');

test('operations on granted descriptors, waits, wake-ups and closing', () => {
  const folder = mkdtempSync(join(tmpdir(), 'nsgx-gate-'));
  try {
    const host = join(root, 'native-host');
    const sources = [
      ...readdirSync(host)
        .filter((name) => name.endsWith('.c'))
        .map((name) => join(host, name)),
      join(root, 'native/src/transport/gate.c'),
      join(root, 'test/native/gate-check.c'),
    ];
    const includes = [join(root, 'native/include'), host, join(root, '../enclave/native/include')];
    const program = join(folder, 'check');
    execFileSync('gcc', [
      ...['-std=gnu17', '-O1', '-Wall', '-Wextra', '-Werror', '-pthread', '-o', program],
      ...includes.map((path) => `-I${path}`),
      ...sources,
    ]);
    assert.equal(execFileSync(program, { encoding: 'utf8' }).trim(), 'passed');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
