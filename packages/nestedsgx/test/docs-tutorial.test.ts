/** The tutorial does what it says: its marked blocks are written and executed in order, and what it shows comes out. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..', '..');
const NSGX = join(ROOT, 'packages', 'nestedsgx', 'bin', 'nsgx.mjs');
const text = readFileSync(join(ROOT, 'docs', 'TUTORIAL.md'), 'utf8');

/** A fenced block and the marker in front of it, such as `run`, `run fails`, `output`, `errors` or `file PATH`. */
interface Block {
  readonly marker: string | undefined;
  readonly language: string;
  readonly body: string;
  readonly line: number;
}

function blocksOf(markdown: string): Block[] {
  const pattern = /(?:^<!-- tutorial: (.+?) -->\n)?^```(\w*)\n(.*?)^```$/gms;
  return [...markdown.matchAll(pattern)].map((match) => ({
    marker: match[1],
    language: match[2]!,
    body: match[3]!,
    line: markdown.slice(0, match.index).split('\n').length,
  }));
}

/** Shown output as a pattern: `…` stands for anything in a line, a line of its own for any number of lines. */
function patternOf(shown: string): RegExp {
  const lines = shown.trimEnd().split('\n');
  const escaped = lines.map((line) =>
    line === '…'
      ? '(?:.*\\n)*?'
      : `${line.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replaceAll('…', '.*')}[ \\t]*\\n`,
  );
  return new RegExp(`^${escaped.join('')}$`);
}

const blocks = blocksOf(text);
const folder = mkdtempSync(join(tmpdir(), 'nestedsgx-tutorial-'));
const tools = join(folder, '.tools');
const env = { ...process.env, PATH: `${tools}:${process.env.PATH}`, NSGX_HOME: join(folder, '.state') };

/** A folder that looks like the clone to what the tutorial types. */
function prepare(): void {
  mkdirSync(tools);
  mkdirSync(env.NSGX_HOME, { mode: 0o700 });
  const npx = [
    '#!/bin/sh',
    'tool=$1; shift',
    'case $tool in',
    `  nsgx) exec "${process.execPath}" "${NSGX}" "$@" ;;`,
    `  tsc) exec "${process.execPath}" "${join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc')}" "$@" ;;`,
    '  *) echo "npx $tool is not what the tutorial should type" >&2; exit 127 ;;',
    'esac',
  ];
  writeFileSync(join(tools, 'npx'), `${npx.join('\n')}\n`, { mode: 0o755 });
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }\n');
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
}

prepare();
after(() => {
  spawnSync(process.execPath, [NSGX, 'cvm', 'stop'], { env, stdio: 'ignore' });
  rmSync(folder, { recursive: true, force: true });
});

test('every fenced block of the tutorial is executed, compared or written; only the workflow is not', () => {
  assert.ok(blocks.length > 20);
  for (const { marker, language, line } of blocks)
    assert.ok(marker !== undefined || language === 'yaml', `line ${line}: a block without a marker`);
});

let last: { stdout: string; stderr: string } = { stdout: '', stderr: '' };
let broken = false;

for (const { marker, body, line } of blocks) {
  if (marker === undefined) continue;
  const [kind, argument] = marker.split(' ') as [string, string?];
  test(`TUTORIAL.md line ${line}: ${marker}`, (context) => {
    if (broken) return context.skip('an earlier command failed');
    if (kind === 'file') {
      writeFileSync(join(folder, argument!), body);
    } else if (kind === 'run') {
      const shell = ['-eu', '-c', body];
      const result = spawnSync('sh', shell, { cwd: folder, env, encoding: 'utf8', timeout: 120_000 });
      last = result;
      broken = (result.status === 0) === (argument === 'fails');
      assert.ok(!broken, `exit ${result.status} of:\n${body}\n${result.stdout}\n${result.stderr}`);
    } else {
      assert.ok(kind === 'output' || kind === 'errors', `a marker of a known kind, not ${marker}`);
      const got = kind === 'output' ? last.stdout : last.stderr;
      assert.match(got, patternOf(body), `the tutorial shows:\n${body}\nwhat came out:\n${got}`);
    }
  });
}

test('the npm scripts that the tutorial names exist', () => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>;
  };
  for (const [, name] of text.matchAll(/npm (?:run )?(start|build|test|soak)\b/g))
    assert.ok(name! in scripts, `npm run ${name}`);
});

test('the sections that the tutorial links to exist', () => {
  const headings = [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
    heading!
      .toLowerCase()
      .replace(/[^\w -]/g, '')
      .replaceAll(' ', '-'),
  );
  for (const [, anchor] of text.matchAll(/\]\(#([\w-]+)\)/g)) assert.ok(headings.includes(anchor!), anchor);
});
