/** SECURITY.md shows the attacks that there are. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { attackMarkdown, TABLE_BEGIN, TABLE_END } from '../src/attacks/document.js';
import { attackTable } from '../src/attacks/index.js';

const text = readFileSync(join(import.meta.dirname, '../../../../docs/SECURITY.md'), 'utf8');

describe('docs/SECURITY.md', () => {
  it('holds the table of attacks as the code has it', () => {
    const begin = text.indexOf(TABLE_BEGIN);
    const end = text.indexOf(TABLE_END);
    assert.ok(begin > 0 && end > begin, 'the marks are missing');
    const shown = text.slice(begin + TABLE_BEGIN.length, end).trim();
    assert.equal(shown, attackMarkdown().trim(), 'run: node scripts/attack-table.mjs');
  });

  it('says how many there are', () => {
    assert.match(text, new RegExp(`\\b${attackTable.length} attacks\\b`));
  });
});
