import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import test from 'node:test';
import { ARCH_ERRORS } from '../src/index.js';

test('every error code in the sources is listed with its meaning, and every listed one is used', () => {
  const src = new URL('../../src/', import.meta.url);
  const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter(
    (f) => f.endsWith('.ts') && !f.endsWith('errors.ts'),
  );
  const used = new Set<string>();
  let all = '';
  for (const file of files) {
    const text = readFileSync(new URL(file, src), 'utf8');
    all += text;
    for (const m of text.matchAll(/(?:NsgxError|damaged|SigstructError)\(\s*'([A-Z][A-Z0-9]*_[A-Z0-9_]+)'/g))
      used.add(m[1]);
  }
  assert.ok(files.length > 5 && used.size > 5);
  for (const code of used) assert.ok(code in ARCH_ERRORS, `${code} is thrown but not listed`);
  for (const [code, meaning] of Object.entries(ARCH_ERRORS)) {
    assert.match(meaning, /^[A-Z].*\.$/);
    assert.ok(all.includes(`'${code}'`), `${code} is listed but never thrown`);
  }
});
