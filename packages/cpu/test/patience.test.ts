import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Patience } from '../src/monitor/patience.js';

test('quick orders never use up the monitor’s patience', () => {
  const patience = new Patience(0);
  for (let now = 0, i = 0; i < 100_000; i++, now += 0.9) assert.ok(patience.spend(now, now + 0.9));
});

test('an enclave whose orders are all answered just in time is given up after some of them', () => {
  const patience = new Patience(0);
  let now = 0;
  let served = 0;
  while (patience.spend(now, now + 99)) {
    now += 99;
    assert.ok(++served < 100, 'there is an end');
  }
  assert.ok(served >= 10, `a slow moment is forgiven; ${served} were served`);
});

test('what was used up comes back slowly, and never more than that', () => {
  const patience = new Patience(0);
  assert.ok(patience.spend(0, 3000));
  assert.ok(!new Patience(0).spend(0, 4600));
  assert.ok(patience.spend(1e9, 1e9 + 3000));
  assert.ok(!patience.spend(1e9 + 3000, 1e9 + 6000));
});
