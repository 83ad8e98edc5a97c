/** The driver's page table: runs are what as many pages are. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EnclavePageTable } from '../src/page-table.js';

const PAGE = 4096;

test('runs of absent pages are found and entered across chunks', () => {
  const table = new EnclavePageTable();
  table.insert({ offset: 500 * PAGE, count: 1000, gpa: 0x8000_0000, flags: 0x203 });
  assert.deepEqual([table.pages, table.resident], [1000, 1000]);
  for (const page of [500, 511, 512, 1023, 1024, 1499])
    assert.deepEqual(
      [table.frame(page * PAGE), table.flags(page * PAGE)],
      [0x8000_0000 + (page - 500) * PAGE, 0x203],
    );
  assert.deepEqual([table.has(499 * PAGE), table.has(1500 * PAGE)], [false, false]);
  assert.equal(table.absent(0, 5000), 500);
  assert.equal(table.absent(500 * PAGE, 5), 0);
  assert.equal(table.absent(1500 * PAGE, 2000), 2000);
  table.evict(1024 * PAGE, 3);
  table.remove(600 * PAGE);
  assert.equal(table.absent(600 * PAGE, 9), 1);
  assert.equal(table.absent(1024 * PAGE, 9), 0, 'an evicted page is not absent');
  assert.deepEqual([table.pages, table.resident, table.evicted], [999, 998, 1]);
  table.insert({ offset: 600 * PAGE, count: 1, gpa: 0x1000, flags: 0x203 });
  assert.equal(table.pages, 1000);
});
