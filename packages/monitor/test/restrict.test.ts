/** RESTRICT: EMODPR of many pages in one call. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SECINFO_PR } from '@nestedsgx/arch';
import { restrict } from '../src/bulk/restrict.js';
import { SET_PTE_RUNS } from '../src/bulk/set-pte.js';
import { LIST, PagingWorld } from './support/paging-world.js';
import { augment, grown } from './support/sgx2.js';
import { BASE, gpaOf, must, tripped } from './support/world.js';

const PAGE = 4096;
const FREE = BASE + 0x8000;

function world() {
  const w = new PagingWorld();
  const { running } = w.running();
  for (let i = 0; i < 4; i++) grown(w, 20 + i, FREE + i * PAGE);
  const call = (entries: number[]) => {
    w.ptes(entries);
    return restrict(w.s, w.owner, { secs: gpaOf(0), list: LIST, count: entries.length });
  };
  return { w, running, call };
}

test('adjacent pages lose rights with one order for the processor', () => {
  const { w, running, call } = world();
  let orders = 0;
  const { protect } = running;
  running.protect = (range: Parameters<typeof protect>[0]) => {
    orders++;
    protect.call(running, range);
  };
  const { outcome, done } = call([0, 1, 2].map((page) => FREE + page * PAGE + 1));
  must(outcome);
  assert.equal(done, 3);
  assert.equal(orders, 1);
  for (let i = 0; i < 3; i++) {
    assert.equal(running.rights.get(0x8000 + i * PAGE), 'r');
    assert.equal(w.s.epcm.bits(20 + i) & 0x27, SECINFO_PR | 1);
  }
  assert.equal(running.rights.get(0x8000 + 3 * PAGE), 'rw');
});

test('rights are never added, and what EMODPR refuses ends the list where it is', () => {
  const { w, running, call } = world();
  must(call([FREE + 1]).outcome);
  must(call([FREE + 3]).outcome);
  assert.equal(running.rights.get(0x8000), 'r');
  must(augment(w, 24, FREE + 4 * PAGE));
  const pending = call([3, 4].map((page) => FREE + page * PAGE + 1));
  assert.equal(tripped(pending.outcome), 'EMODPR.modifiable');
  assert.equal(pending.done, 1);
  assert.equal(running.rights.get(0x8000 + 3 * PAGE), 'r');
  assert.equal(tripped(call([FREE + 2]).outcome), 'EMODPR.secinfo-valid');
  assert.equal(tripped(call([FREE + 8]).outcome), 'RESTRICT.entry-bits');
  assert.equal(tripped(call([FREE + 9 * PAGE + 1]).outcome), 'RESTRICT.page-present');
  assert.equal(tripped(call([BASE - PAGE + 1]).outcome), 'RESTRICT.page-present');
  assert.equal(tripped(call([2 ** 52]).outcome), 'RESTRICT.page-present');
});

test('many places are done in several calls', () => {
  const { call } = world();
  const entries = Array.from({ length: SET_PTE_RUNS + 5 }, (_, i) => FREE + (i % 2) * 2 * PAGE + 1);
  assert.deepEqual(
    { ...call(entries), outcome: null },
    { outcome: null, done: SET_PTE_RUNS, incomplete: true },
  );
});
