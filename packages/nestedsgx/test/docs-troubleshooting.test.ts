/** TROUBLESHOOTING.md has an entry for each error code, and none for codes that are gone. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..', '..');
const text = readFileSync(join(ROOT, 'docs', 'TROUBLESHOOTING.md'), 'utf8');
const CODE = /^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$/;

/** The TypeScript sources of all packages. */
function sources(): string[] {
  return readdirSync(join(ROOT, 'packages')).flatMap((name) => {
    const folder = join(ROOT, 'packages', name, 'src');
    if (!existsSync(folder)) return [];
    return readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts'))
      .map((path) => join(folder, path));
  });
}

/** All codes of the tables XXX_ERRORS that packages export, each with the names of its tables. */
async function tables(): Promise<Map<string, string[]>> {
  const codes = new Map<string, string[]>();
  for (const source of sources()) {
    if (!/^export const \w+_ERRORS\b/m.test(readFileSync(source, 'utf8'))) continue;
    const built = source.replace(/\/src\//, '/dist/src/').replace(/\.ts$/, '.js');
    const module_ = (await import(pathToFileURL(built).href)) as Record<string, unknown>;
    for (const [name, table] of Object.entries(module_)) {
      if (!name.endsWith('_ERRORS')) continue;
      for (const [code, meaning] of Object.entries(table as Record<string, string>)) {
        assert.match(code, CODE, `${name}.${code}`);
        assert.ok(meaning.length > 15, `${name}.${code} says what it means`);
        codes.set(code, [...(codes.get(code) ?? []), name]);
      }
    }
  }
  return codes;
}

/**
 * Codes that the sources give to an error: the first argument of a constructor or a function named …Error. A
 * PspCommandError begins with the firmware's command instead; its code is PSP_COMMAND. Names of errno values and leaves
 * (EINVAL, EINIT) are no codes.
 */
function thrown(): Map<string, string> {
  const codes = new Map<string, string>();
  for (const source of sources())
    for (const [, code] of readFileSync(source, 'utf8').matchAll(
      /\b(?!PspCommand)\w*Error\(\s*'([A-Z][A-Z0-9_]{3,})'/g,
    ))
      if (!/^E[A-Z0-9]+$/.test(code!)) codes.set(code!, source);
  return codes;
}

/** Sections with a code as their heading, and their text. */
function entries(): Map<string, string> {
  const found = new Map<string, string>();
  for (const section of text.split(/^### /m).slice(1)) {
    const [heading, ...body] = section.split('\n');
    if (!CODE.test(heading!)) continue;
    assert.ok(!found.has(heading!), `${heading} has one entry only`);
    found.set(heading!, body.join('\n').split(/^## /m)[0]!.trim());
  }
  return found;
}

test('every code of every table has an entry, and every entry has a code', async () => {
  const known = await tables();
  const described = entries();
  assert.ok(known.size > 150, `${known.size} codes were found`);
  assert.deepEqual(
    [...known.keys()].filter((code) => !described.has(code)).sort(),
    [],
    'codes without an entry',
  );
  assert.deepEqual(
    [...described.keys()].filter((code) => !known.has(code)).sort(),
    [],
    'entries without a code',
  );
});

test('every code that the sources throw is in a table', async () => {
  const known = await tables();
  const strangers = [...thrown()].filter(([code]) => !known.has(code));
  assert.deepEqual(strangers, []);
});

test('every entry says something', () => {
  for (const [code, body] of entries()) assert.ok(body.length >= 40, `${code}: ${body}`);
});

test('links between sections lead somewhere', () => {
  const headings = new Set(
    [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
      heading!
        .toLowerCase()
        .replace(/[^\w -]/g, '')
        .replaceAll(' ', '-'),
    ),
  );
  for (const [, anchor] of text.matchAll(/\]\(#([\w-]+)\)/g)) assert.ok(headings.has(anchor!), anchor);
  for (const [, file] of text.matchAll(/\]\(([A-Z]+\.md)\)/g))
    assert.ok(existsSync(join(ROOT, 'docs', file!)), file);
});
