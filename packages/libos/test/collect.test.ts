/** What is collected for a program, and for those that it runs. */
import assert from 'node:assert/strict';
import { readFileSync, realpathSync } from 'node:fs';
import { test } from 'node:test';
import { readProgram } from '../src/elf/program.js';
import { collect } from '../src/image/collect.js';
import { compile } from './programs.js';

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
