/** Images that are kept: found while nothing of them has changed, and not more of them than there may be. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { builderIdentity, digestOf } from '../src/image/builder.js';
import { factOf } from '../src/image/fact.js';
import { KeptImages } from '../src/image/kept.js';

const folder = mkdtempSync(join(tmpdir(), 'nsgx-kept-'));
after(() => rmSync(folder, { recursive: true, force: true }));

test('an image is found while its sources and its builder are as they were', () => {
  const source = join(folder, 'source');
  writeFileSync(source, 'one');
  const place = join(folder, 'a');
  const kept = new KeptImages(place, 'builder');
  const facts = () => [[source, factOf(source)]] as const;
  const path = kept.keep('request', facts(), (at) => writeFileSync(at, 'image'));
  assert.equal(kept.find('request'), path);
  assert.equal(kept.find('other'), undefined);
  assert.equal(new KeptImages(place, 'upgraded').find('request'), undefined);
  assert.equal(new KeptImages(place).find('request'), undefined);
  writeFileSync(source, 'two');
  assert.equal(kept.find('request'), undefined);
});

test('a builder is told from another by its version and its files', () => {
  const code = join(folder, 'code');
  mkdirSync(code);
  writeFileSync(join(code, 'a.js'), '1');
  writeFileSync(join(code, 'a.js.map'), '1');
  const first = digestOf('1.0.0', [code]);
  writeFileSync(join(code, 'a.js.map'), '22');
  assert.equal(digestOf('1.0.0', [code]), first);
  assert.notEqual(digestOf('1.0.1', [code]), first);
  utimesSync(join(code, 'a.js'), 5, 5);
  const later = digestOf('1.0.0', [code]);
  assert.notEqual(later, first);
  writeFileSync(join(code, 'b.js'), '');
  assert.notEqual(digestOf('1.0.0', [code]), later);
  assert.match(builderIdentity(), /^[0-9a-f]{64}$/);
});

test('those that were not used for longest go first', () => {
  const place = join(folder, 'b');
  const kept = new KeptImages(place, 'builder', { images: 3, bytes: 100 });
  const put = (name: string, size: number, age: number) => {
    const path = kept.keep(name, [], (at) => writeFileSync(at, Buffer.alloc(size)));
    const then = new Date(Date.now() - age * 1000);
    utimesSync(path!, then, then);
  };
  put('a', 10, 40);
  put('b', 10, 30);
  put('c', 10, 20);
  assert.notEqual(kept.find('a'), undefined, 'and is now the newest');
  put('d', 10, 10);
  assert.deepEqual(
    ['a', 'b', 'c', 'd'].filter((name) => kept.find(name) !== undefined),
    ['a', 'c', 'd'],
  );
  writeFileSync(join(place, 'torn.img.1'), '');
  utimesSync(join(place, 'torn.img.1'), 5, 5);
  put('large', 95, 0);
  assert.deepEqual(readdirSync(place).length, 2);
  put('larger', 200, 0);
  assert.notEqual(kept.find('larger'), undefined);
  assert.equal(kept.find('large'), undefined);
});
