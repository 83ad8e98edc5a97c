import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EnclaveMeasurement, secinfoBytes } from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import { ThreadedHashing } from '../src/index.js';

test('the hash thread measures what the plain hash measures: small, large, several at once, copies', () => {
  const hashing = new ThreadedHashing();
  try {
    const data = new Uint8Array(3 << 20).map((_, i) => (i * 13) ^ (i >>> 7));
    const pairs = [0, 1, 2, 3].map(() => [hashing.measurement(), new EnclaveMeasurement(nodeHash)] as const);
    for (const pair of pairs) for (const m of pair) m.ecreate(1, 1n << 30n);
    const secinfo = secinfoBytes(0x203);
    // Different amounts in turns: enclave 0 stays local, the others move to the thread at different moments.
    for (let round = 0; round < 3; round++) {
      pairs.forEach((pair, i) => {
        for (const m of pair) {
          const run = data.subarray(0, i * 0x4_0000 * (round + 1));
          m.addPages(BigInt(round) << 24n, secinfo, run, true);
          m.eadd(0x3f00_0000n, secinfo);
          m.eextend(0x3f00_0100n, data.subarray(i, i + 256));
        }
      });
      for (const [threaded, plain] of pairs) assert.deepEqual(threaded.digest(), plain.digest());
    }
    for (const [threaded, plain] of pairs) assert.deepEqual(threaded.digest(), plain.digest());
  } finally {
    hashing.close();
  }
});

test('a measurement that is released leaves nothing in the hash thread, measured or not', () => {
  const hashing = new ThreadedHashing();
  try {
    const secinfo = secinfoBytes(0x203);
    for (const finished of [true, false]) {
      const m = hashing.measurement();
      m.ecreate(1, 1n << 30n);
      m.addPages(0n, secinfo, new Uint8Array(2 << 20), true);
      assert.equal(hashing.held, 1);
      if (finished) m.digest();
      assert.equal(hashing.held, 1);
      m.release!();
      m.release!();
      assert.equal(hashing.held, 0);
    }
  } finally {
    hashing.close();
  }
});
