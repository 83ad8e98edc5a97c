/** What is collected for a program, and for those that it runs. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readProgram } from '../src/elf/program.js';
import { collect } from '../src/image/collect.js';
import { compile, folder } from './programs.js';

test('a program named along brings its own interpreter and libraries, whatever the first one has', () => {
  const first = compile('echo', '-static-pie');
  const second = compile('names');
  const { interpreter, binaries, entries } = collect(first, { copy: [second] });
  assert.equal(interpreter, undefined);
  const { interpreter: own, needed } = readProgram(readFileSync(second), second);
  const paths = binaries.map(({ path }) => path);
  assert.ok(own !== undefined && entries.has(realpathSync(own)), `${own} is there`);
  for (const name of needed)
    assert.ok(
      paths.some((path) => path.endsWith(`/${name}`)),
      `${name} is there`,
    );
  assert.equal(new Set(paths).size, paths.length);
});

test('a folder is collected with what is in it, also through links', () => {
  const tree = mkdtempSync(join(folder, 'tree-'));
  mkdirSync(join(tree, 'data', 'deep'), { recursive: true });
  writeFileSync(join(tree, 'data', 'deep', 'file'), 'x');
  symlinkSync('data', join(tree, 'link'));
  const { entries } = collect(compile('names'), { copy: [join(tree, 'link')] });
  const kinds = ['data', 'data/deep', 'data/deep/file', 'link'].map(
    (path) => entries.get(join(realpathSync(tree), path))?.kind,
  );
  assert.deepEqual(kinds, ['folder', 'folder', 'file', 'link']);
  assert.throws(() => collect(compile('names'), { copy: [join(tree, 'none')] }), { code: 'PROGRAM_MISSING' });
});

test('names of users and hosts that any system has are there, unless others are copied', () => {
  const program = compile('names');
  const text = (entries: ReturnType<typeof collect>['entries'], path: string) =>
    new TextDecoder().decode(entries.get(path)?.bytes);
  assert.match(text(collect(program).entries, '/etc/passwd'), /^root:x:0:0:/);
  const { entries } = collect(program, { copy: ['/etc/passwd'] });
  assert.equal(text(entries, '/etc/passwd'), readFileSync('/etc/passwd', 'utf8'));
  assert.match(text(entries, '/etc/hosts'), /localhost/);
});
