/** Requests that are put off and reads ahead, without an enclave: both halves in one process (native/later-check.c). */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

const root = join(import.meta.dirname, '../..');

test('rounds of one call, order, what sockets do not take, closing, and lies of either half', () => {
  const folder = mkdtempSync(join(tmpdir(), 'nsgx-later-'));
  try {
    const host = join(root, 'native-host');
    const sources = [
      ...readdirSync(host)
        .filter((name) => name.endsWith('.c'))
        .map((name) => join(host, name)),
      join(root, 'native/src/transport/later.c'),
      join(root, 'test/native/later-check.c'),
    ];
    const includes = [join(root, 'native/include'), host, join(root, '../enclave/native/include')];
    const program = join(folder, 'check');
    execFileSync('gcc', [
      ...[
        '-std=gnu17',
        '-O1',
        '-Wall',
        '-Wextra',
        '-Werror',
        '-pthread',
        '-fsanitize=address,undefined',
        '-o',
        program,
      ],
      ...includes.map((path) => `-I${path}`),
      ...sources,
    ]);
    for (const args of [[], ['with servers']])
      assert.equal(execFileSync(program, args, { encoding: 'utf8', timeout: 60_000 }).trim(), 'passed');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
