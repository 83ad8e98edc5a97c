/** docs/LIBOS.md: its example of an image is built and run, and says what is shown; its table has every field there is. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { readSpec } from '@nestedsgx/libos';

const ROOT = fileURLToPath(new URL('../../../../', import.meta.url));
const NSGX = join(ROOT, 'packages/nestedsgx/bin/nsgx.mjs');
const text = readFileSync(join(ROOT, 'docs/LIBOS.md'), 'utf8');
const folder = mkdtempSync(join(tmpdir(), 'nsgx-docs-libos-'));
const env = { ...process.env, NSGX_HOME: join(folder, '.state') };
after(() => rmSync(folder, { recursive: true, force: true }));

function block(marker: string): string {
  const found = new RegExp(`<!-- libos: ${marker} -->\\n\`\`\`\\w+\\n(.*?)^\`\`\`$`, 'ms').exec(text);
  assert.ok(found, `docs/LIBOS.md has no block "${marker}"`);
  return found[1];
}

/** Shown output as a pattern: `…` stands for anything in a line, alone for any lines. */
function patternOf(shown: string): RegExp {
  const lines = shown.split('\n').filter((line) => line !== '');
  const escaped = lines.map((line) =>
    line === '…' ? '(?:.*\\n)*' : `${line.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replaceAll('…', '.*')}\\n`,
  );
  return new RegExp(`^${escaped.join('')}$`);
}

test('the example of an image is built and run as shown', () => {
  mkdirSync(env.NSGX_HOME, { mode: 0o700 });
  writeFileSync(join(folder, 'app.yaml'), block('file app.yaml'));
  for (const [, command, shown] of block('run').matchAll(/^\$ (.*)\n((?:(?!\$ ).*\n)*)/gm)) {
    const line = command.replace(/^nsgx /, `"${process.execPath}" "${NSGX}" `);
    const { status, stdout, stderr } = spawnSync('sh', ['-c', line], { cwd: folder, env, encoding: 'utf8' });
    assert.equal(status, 0, `${command}: ${stderr}`);
    assert.match(stdout, patternOf(shown), command);
  }
  const inspected = spawnSync(process.execPath, [NSGX, 'image', 'inspect', 'app.img', '--json'], {
    ...{ cwd: folder, env, encoding: 'utf8' },
  });
  const { policy, isvSvn, root } = JSON.parse(inspected.stdout);
  assert.deepEqual(policy.arguments, { policy: 'prefix', values: ['/usr/bin/sort', '--ignore-case'] });
  assert.equal(isvSvn, 3);
  assert.ok(root.some(({ path }: { path: string }) => path === '/srv/words.txt'));
});

test('every field of a specification is in the table, and no other', () => {
  const rows = [...text.matchAll(/^\| (`[^|]*`[^|]*) \| [^|]+ \| [^|]+ \|$/gm)].map(([, cell]) => cell);
  const told = rows.flatMap((cell) => [...cell.matchAll(/`([a-zA-Z]+)/g)].map(([, name]) => name));
  const fields: Readonly<Record<string, string>> = {
    entry: '/a',
    copy: '[]',
    packages: '[]',
    root: '/r',
    arguments: '{}',
    environment: 'any',
    memory: '1M',
    files: '1M',
    stack: '1M',
    jit: 'true',
    store: '{ path: /d }',
    mount: '[]',
    start: '/s',
    hostSignals: 'false',
    productId: '1',
    svn: '1',
    debug: 'true',
  };
  const path = join(folder, 'all.yaml');
  for (const name of told)
    if (name in fields) {
      writeFileSync(path, `${name}: ${fields[name]}`);
      assert.ok(name in readSpec(path), name);
    }
  for (const name of Object.keys(fields)) assert.ok(told.includes(name), `${name} is not in the table`);
});
