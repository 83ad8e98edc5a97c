import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EpcFrames, type GuestBlock, GuestMemory, LinearRanges } from '../src/index.js';
import { codeOf } from './harness.js';

const RUNS = Number(process.env.NSGX_FUZZ_RUNS ?? 100);
const SEED = Number(process.env.NSGX_SEED ?? 0x51ce);
const GPA = 0x40_0000;
const BASE = 0x1000_0000_0000;

const memory = (pages: number) =>
  new GuestMemory({ base: BASE, slice: new Uint8Array(pages * 4096), gpa: GPA, length: pages * 4096 });

test('blocks lie in the slice, are aligned, do not overlap, and coalesce when freed', () => {
  console.log(`fuzz seed ${SEED}, ${RUNS} runs`);
  const step = fc.record({
    free: fc.boolean(),
    pick: fc.nat(),
    size: fc.integer({ min: 1, max: 20_000 }),
    shift: fc.integer({ min: 0, max: 12 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const m = memory(64);
      const live: GuestBlock[] = [];
      for (const { free, pick, size, shift } of steps) {
        if (free && live.length > 0) m.free(live.splice(pick % live.length, 1)[0]);
        else {
          let block: GuestBlock;
          try {
            block = m.alloc(size, { alignment: 2 ** shift });
          } catch (error) {
            assert.equal((error as { code: string }).code, 'GUEST_MEMORY_EXHAUSTED');
            continue;
          }
          assert.equal(block.gpa % 2 ** shift, 0);
          assert.equal(block.address, BASE + block.gpa);
          assert.equal(block.bytes.length, size);
          assert.ok(block.gpa >= GPA && block.gpa + size <= GPA + 64 * 4096);
          for (const other of live)
            assert.ok(block.gpa + size <= other.gpa || other.gpa + other.length <= block.gpa, 'overlap');
          live.push(block);
        }
      }
      for (const block of live) m.free(block);
      assert.equal(m.used, 0);
      assert.equal(m.blocks, 0);
      m.free(m.alloc(64 * 4096));
    }),
    { seed: SEED, numRuns: RUNS },
  );
});

test('a block is a view of the slice, and views at addresses are bounded', () => {
  const m = memory(4);
  const block = m.alloc(100, { zero: true });
  block.bytes[7] = 9;
  assert.equal(m.viewAt(block.address + 7, 1)[0], 9);
  assert.equal(
    codeOf(() => m.viewAt(BASE + GPA - 1, 2)),
    'GUEST_MEMORY_BAD_SIZE',
  );
  assert.equal(
    codeOf(() => m.viewAt(BASE + GPA + 4 * 4096 - 1, 2)),
    'GUEST_MEMORY_BAD_SIZE',
  );
  assert.equal(m.contains(Number.NaN, 1), false);
  assert.equal(m.contains(BASE + GPA, -1), false);
});

test('double free, foreign blocks and impossible sizes are refused', () => {
  const m = memory(4);
  const block = m.alloc(5000);
  m.free(block);
  assert.equal(
    codeOf(() => m.free(block)),
    'GUEST_MEMORY_BAD_FREE',
  );
  const again = m.alloc(5000);
  assert.equal(
    codeOf(() => m.free(block)),
    'GUEST_MEMORY_BAD_FREE',
  );
  assert.equal(
    codeOf(() => memory(4).free(again)),
    'GUEST_MEMORY_BAD_FREE',
  );
  for (const size of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])
    assert.equal(
      codeOf(() => m.alloc(size)),
      'GUEST_MEMORY_BAD_SIZE',
    );
  assert.equal(
    codeOf(() => m.alloc(8, { alignment: 3 * 4096 })),
    'GUEST_MEMORY_BAD_SIZE',
  );
  assert.equal(
    codeOf(() => m.alloc(5 * 4096)),
    'GUEST_MEMORY_EXHAUSTED',
  );
});

test('nothing is handed out after the end', () => {
  const m = memory(4);
  const block = m.alloc(64);
  m.close();
  m.free(block);
  assert.equal(
    codeOf(() => m.alloc(64, { zero: true })),
    'GUEST_CLOSED',
  );
  assert.equal(
    codeOf(() => m.viewAt(block.address, 1)),
    'GUEST_CLOSED',
  );
});

test('small free blocks are joined again before memory counts as exhausted', () => {
  const m = memory(4);
  const blocks = Array.from({ length: 4 }, () => m.alloc(4096));
  for (const block of blocks) m.free(block);
  assert.equal(m.alloc(4 * 4096).length, 4 * 4096);
});

test('EPC frames come in runs, are given back once and found again', () => {
  const frames = new EpcFrames(0x80_0000_0000, 16);
  const a = frames.take(6);
  const b = frames.take(6);
  frames.give(a.gpa, 6);
  assert.deepEqual(frames.take(8), { gpa: a.gpa, count: 6 });
  assert.deepEqual(frames.take(8), { gpa: b.gpa + 6 * 4096, count: 4 });
  assert.equal(frames.free, 0);
  assert.equal(
    codeOf(() => frames.take(1)),
    'EPC_EXHAUSTED',
  );
  frames.give(b.gpa, 6);
  assert.equal(
    codeOf(() => frames.give(b.gpa, 1)),
    'GUEST_MEMORY_BAD_FREE',
  );
  assert.equal(
    codeOf(() => frames.give(0, 1)),
    'GUEST_MEMORY_BAD_FREE',
  );
  frames.give(a.gpa, 6);
  frames.give(b.gpa + 6 * 4096, 4);
  assert.deepEqual(frames.take(16), { gpa: 0x80_0000_0000, count: 16 });
});

test('linear ranges are aligned to their size, disjoint and reused', () => {
  const ranges = new LinearRanges();
  const small = ranges.reserve(8192);
  const big = ranges.reserve(2 ** 30);
  const next = ranges.reserve(8192);
  assert.equal(small, 0x5000_0000_0000);
  assert.equal(big % 2 ** 30, 0);
  assert.equal(next, small + 8192);
  ranges.release(small);
  assert.equal(ranges.reserve(4096 * 2), small);
  for (const size of [0, 4096, 12288, 2 ** 41, 1.5, Number.NaN])
    assert.equal(
      codeOf(() => ranges.reserve(size)),
      'ELRANGE_EXHAUSTED',
    );
  const many = Array.from({ length: 31 }, () => ranges.reserve(2 ** 40));
  assert.ok(many.every((base) => base + 2 ** 40 <= 0x7000_0000_0000));
  assert.equal(
    codeOf(() => ranges.reserve(2 ** 40)),
    'ELRANGE_EXHAUSTED',
  );
});
