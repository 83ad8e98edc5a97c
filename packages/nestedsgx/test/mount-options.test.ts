/** What --mount and --cwd of nsgx exec take. */
import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { checkMounts, parseMount, parseStart } from '../src/cli/mount-options.js';
import { UsageError } from '../src/cli/terminal.js';

test('--mount: a folder, a place, and whether it may be changed', () => {
  assert.deepEqual(parseMount('/a:/b'), { folder: '/a', path: '/b', writable: false });
  assert.deepEqual(parseMount('/a:/b:ro'), { folder: '/a', path: '/b', writable: false });
  assert.deepEqual(parseMount('x:/b/c/:rw'), { folder: resolve('x'), path: '/b/c', writable: true });
  assert.deepEqual(parseMount('/with:colon:/b'), { folder: '/with:colon', path: '/b', writable: false });
  for (const text of ['', '/a', '/a:b', ':/b', '/a:/b:rx', '/a:/b:'])
    assert.throws(() => parseMount(text), UsageError, text);
  assert.equal(parseStart('/work/'), '/work');
  assert.throws(() => parseStart('work'), UsageError);
});

test('--mount: what an image has no place for, or does not let change, is refused; what is missing is told', () => {
  const places = [
    { path: '/data', writable: false },
    { path: '/out', writable: true },
  ];
  assert.deepEqual(checkMounts([parseMount('/a:/data'), parseMount('/b:/out:rw')], places), []);
  assert.match(checkMounts([parseMount('/a:/data')], places).join(), /\/out.*--mount DIR:\/out:rw/);
  assert.throws(() => checkMounts([parseMount('/a:/other')], places), /no place.*\/data, \/out/);
  assert.throws(() => checkMounts([parseMount('/a:/data:rw')], places), /does not let/);
});
