/** Native code without an enclave: both halves of the transport `gate`, and the driver of a thread (native/…-check.c). */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

const root = join(import.meta.dirname, '../..');

/** Compiles a check with the host's half and more, and runs it. */
function passes(check: string, ...more: string[]): void {
  const folder = mkdtempSync(join(tmpdir(), 'nsgx-gate-'));
  try {
    const host = join(root, 'native-host');
    const sources = [
      ...readdirSync(host)
        .filter((name) => name.endsWith('.c'))
        .map((name) => join(host, name)),
      ...more.map((name) => join(root, name)),
      join(root, 'test/native', check),
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
}

test('operations on granted descriptors, waits, wake-ups and closing', () => {
  passes('gate-check.c', 'native/src/transport/gate.c');
});

test('writes to absent pages are offered where they arrive; all else is left to Node', () => {
  passes('drive-check.c');
});
