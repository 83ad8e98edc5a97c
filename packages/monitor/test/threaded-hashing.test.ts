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

test('what measurements keep beside the thread is bounded, and they stay right', () => {
  const hashing = new ThreadedHashing();
  try {
    const secinfo = secinfoBytes(0x203);
    const pages = new Uint8Array(160 * 4096).map((_, i) => i ^ (i >>> 9));
    const plain = new EnclaveMeasurement(nodeHash);
    const all = Array.from({ length: 120 }, () => hashing.measurement());
    for (const m of [plain, ...all]) {
      m.ecreate(1, 1n << 30n);
      m.addPages(0n, secinfo, pages, true);
      m.eadd(0x3f00_0000n, secinfo);
    }
    assert.ok(hashing.kept <= 64 << 20, `${hashing.kept} bytes are kept`);
    assert.ok(hashing.held > 0, 'the others are in the thread');
    for (const m of [all[0]!, all[60]!, all[119]!]) {
      assert.deepEqual(m.digest(), plain.digest());
      m.eextend(0x3f00_0000n, pages.subarray(0, 256));
    }
    for (const m of all) m.release!();
    assert.deepEqual([hashing.kept, hashing.held], [0, 0]);
  } finally {
    hashing.close();
  }
});

test('runs of any lengths after each other are hashed in their order', () => {
  const hashing = new ThreadedHashing();
  try {
    const secinfo = secinfoBytes(0x205);
    const pages = new Uint8Array(300 * 4096).map((_, i) => (i * 7) ^ (i >>> 8));
    // 26 to 48 pages fit half a slot to a whole one: after shorter runs they once overtook what was kept of these.
    const lengths = [1, 26, 256, 94, 4, 256, 26, 30, 3, 48, 47, 1, 49, 2, 27, 300, 25, 26, 12, 13, 40];
    for (let first = 0; first < lengths.length; first++) {
      const threaded = hashing.measurement();
      const plain = new EnclaveMeasurement(nodeHash);
      for (const m of [threaded, plain]) {
        m.ecreate(1, 1n << 30n);
        m.addPages(0n, secinfo, pages, true);
        lengths.slice(first).forEach((count, i) => {
          m.addPages(
            BigInt(i + 1) << 24n,
            secinfo,
            pages.subarray(i * 4096, (i + count) * 4096),
            i % 3 !== 2,
          );
        });
      }
      assert.deepEqual(threaded.digest(), plain.digest(), `from length ${first}`);
      threaded.release!();
    }
  } finally {
    hashing.close();
  }
});
