/** Runs of pages and frames: the same as page by page, across the chunks in which both tables are kept. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EPCM_PENDING, EPCM_RWX, Epcm, NO_FRAME } from '../src/state/epcm.js';
import { EnclavePages } from '../src/state/page-table.js';

const PAGE = 4096;
const CHUNK = 16_384;
const BASE = 0x5000_0000_0000;

test('a run of EPCM entries is what as many entries are', () => {
  const single = new Epcm();
  const bulk = new Epcm();
  for (const [frame, count] of [
    [CHUNK - 3, 7],
    [5, 1],
    [2 * CHUNK, CHUNK + 2],
  ]) {
    assert.equal(bulk.freeRun(frame, count), count);
    bulk.fillRun(frame, count, EPCM_PENDING | 3, 1, BASE);
    for (let i = 0; i < count; i++) single.fill(frame + i, EPCM_PENDING | 3, 1, BASE + i * PAGE);
  }
  assert.equal(bulk.validCount, single.validCount);
  for (let frame = 0; frame < 4 * CHUNK; frame++)
    assert.deepEqual(
      [bulk.bits(frame), bulk.secs(frame), bulk.address(frame), bulk.pte(frame), bulk.stamp(frame)],
      [single.bits(frame), single.secs(frame), single.address(frame), single.pte(frame), single.stamp(frame)],
    );
  assert.equal(bulk.freeRun(0, 10), 5);
  assert.equal(bulk.freeRun(6, 2 * CHUNK), CHUNK - 3 - 6);
  assert.equal(bulk.freeRun(CHUNK - 3, 4), 0);
});

test('entries are alike only where flags, page table, mapping and stamp are', () => {
  const epcm = new Epcm();
  epcm.fillRun(100, 20, 3, 1, BASE);
  const lengths = () => epcm.alikeRun(100, 20);
  assert.equal(lengths(), 20);
  epcm.setStamp(118, 2);
  assert.equal(lengths(), 18);
  epcm.setMapped(116, 3);
  assert.equal(lengths(), 16);
  epcm.setPte(114, 1);
  assert.equal(lengths(), 14);
  epcm.setBits(112, 1);
  assert.equal(lengths(), 12);
  assert.equal(epcm.alikeRun(100, 5), 5);
  assert.equal(epcm.alikeRun(119, 9), 1, 'an entry that is not valid is not like one that is');
  epcm.setBitsRun(100, 12, 7);
  epcm.setMappedRun(100, 12, EPCM_RWX);
  assert.deepEqual([lengths(), epcm.bits(111) & 7, epcm.mapped(111), epcm.mapped(112)], [12, 7, 7, 0]);
});

test('runs of the page table are what its pages are', () => {
  let seed = 7;
  const random = (below: number) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
    return seed % below;
  };
  const pages = new EnclavePages();
  for (let round = 0; round < 200; round++) {
    const page = random(2000);
    const count = 1 + random(700);
    let absent = 0;
    while (absent < count && pages.get(page + absent) === NO_FRAME) absent++;
    assert.equal(pages.absentRun(page, count), absent);
    const first = pages.get(page);
    const run = pages.run(page, count);
    assert.ok(run >= 1 && run <= count);
    for (let i = 0; i < run; i++)
      assert.equal(pages.get(page + i), first === NO_FRAME ? NO_FRAME : first + i);
    if (random(3) === 0) {
      for (let i = 0; i < count; i++) pages.delete(page + i);
      continue;
    }
    const before = pages.count;
    if (absent > 0) pages.setRun(page, 10_000 * round, absent);
    assert.equal(pages.count, before + absent);
    for (let i = 0; i < absent; i++) assert.equal(pages.get(page + i), 10_000 * round + i);
  }
  let counted = 0;
  pages.forEach(() => {
    counted++;
  });
  assert.equal(pages.count, counted);
  for (let page = 0; page < 3000; page++) pages.delete(page);
  assert.deepEqual([pages.count, pages.chunks], [0, 0]);
});
