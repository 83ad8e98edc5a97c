// Writes the table of attacks into docs/SECURITY.md, between its two marks. Run it after a build.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const { attackMarkdown, TABLE_BEGIN, TABLE_END } = await import(
  join(root, 'packages/nestedsgx/dist/src/attacks/document.js')
);
const path = join(root, 'docs/SECURITY.md');
const text = readFileSync(path, 'utf8');
const begin = text.indexOf(TABLE_BEGIN);
const end = text.indexOf(TABLE_END);
if (begin < 0 || end < begin) throw new Error('docs/SECURITY.md has no place for the table');
const before = text.slice(0, begin + TABLE_BEGIN.length);
writeFileSync(path, `${before}\n\n${attackMarkdown()}\n${text.slice(end)}`);
