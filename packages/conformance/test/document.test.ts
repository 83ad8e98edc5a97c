import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ENCLS, ENCLU } from '@nestedsgx/arch';
import { ENCLS_LEAVES, ENCLU_LEAVES } from '@nestedsgx/monitor';
import { ALL_CASES, conformanceDocument, DEVIATIONS } from '../src/index.js';

const document = fileURLToPath(new URL('../../../../docs/CONFORMANCE.md', import.meta.url));

test('docs/CONFORMANCE.md is what the tables say (nsgx conformance --document docs/CONFORMANCE.md)', () => {
  assert.equal(readFileSync(document, 'utf8'), conformanceDocument(ALL_CASES));
});

test('every leaf of the architecture has a row, and every row a number of the architecture', () => {
  const rows = (table: readonly { name: string; number: number }[]) =>
    Object.fromEntries(table.map(({ name, number }) => [name, number]));
  assert.deepEqual(rows(ENCLS_LEAVES), { ...ENCLS });
  assert.deepEqual(rows(ENCLU_LEAVES), { ...ENCLU });
});

test('deviations are named once and concern leaves that exist', () => {
  const names = new Set([...ENCLS_LEAVES, ...ENCLU_LEAVES].map(({ name }) => name));
  assert.equal(new Set(DEVIATIONS.map(({ id }) => id)).size, DEVIATIONS.length);
  for (const { leaves } of DEVIATIONS)
    for (const leaf of leaves) assert.ok(names.has(leaf) || leaf.startsWith('every '), leaf);
});
