/** The table of system calls: complete, consistent, and what docs/SYSCALLS.md says. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { SYSCALLS, syscallsMarkdown } from '../src/index.js';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..', '..');

test('docs/SYSCALLS.md is what the table says', () => {
  assert.equal(readFileSync(join(ROOT, 'docs', 'SYSCALLS.md'), 'utf8'), syscallsMarkdown());
});

test('every number and name stands once, in order, and each row says why', () => {
  assert.equal(new Set(SYSCALLS.map(({ name }) => name)).size, SYSCALLS.length);
  SYSCALLS.forEach((row, i) => {
    if (i > 0) assert.ok(row.number > SYSCALLS[i - 1].number, row.name);
    assert.equal(row.status === 'supported', row.note === '', row.name);
    assert.equal(row.status === 'refused', row.handler === undefined, row.name);
  });
});

test('all system calls up to clone3 have a row', () => {
  const numbers = new Set(SYSCALLS.map(({ number }) => number));
  for (let n = 0; n <= 334; n++) assert.ok(numbers.has(n), `${n}`);
  for (let n = 424; n <= 462; n++) assert.ok(numbers.has(n), `${n}`);
});
