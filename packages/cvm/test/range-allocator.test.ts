import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RangeAllocator } from '../src/range-allocator.js';

const UNIT = 4096;
const seed = Number(process.env.NSGX_SEED ?? 1);
const numRuns = Math.min(2000, Number(process.env.NSGX_FUZZ_RUNS ?? 200));

test('ranges are disjoint, inside the area, and everything comes back as one range', () => {
  const steps = fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 40 * UNIT }), fc.nat()), {
    maxLength: 60,
  });
  fc.assert(
    fc.property(steps, (list) => {
      const size = 256 * UNIT;
      const allocator = new RangeAllocator(UNIT, size, UNIT);
      const held: { start: number; length: number }[] = [];
      for (const [take, length, pick] of list) {
        if (take) {
          const range = allocator.take(length);
          if (range === null) {
            assert.ok(allocator.largest < Math.ceil(length / UNIT) * UNIT);
            continue;
          }
          assert.ok(
            range.length >= length && range.start >= UNIT && range.start + range.length <= UNIT + size,
          );
          for (const other of held)
            assert.ok(range.start + range.length <= other.start || other.start + other.length <= range.start);
          held.push(range);
        } else if (held.length > 0) allocator.give(held.splice(pick % held.length, 1)[0]!);
        const used = held.reduce((sum, range) => sum + range.length, 0);
        assert.equal(allocator.available, size - used);
      }
      for (const range of held) allocator.give(range);
      assert.equal(allocator.largest, size);
    }),
    { seed, numRuns },
  );
});
