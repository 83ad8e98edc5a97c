import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EnclaveMemory, PageRange } from '@nestedsgx/arch';
import fc from 'fast-check';
import { defineLayout } from '../src/layout/layout.js';
import { RUNNER_MEMORY } from '../src/layout/memory.js';
import { buildOverlay } from '../src/monitor/overlay.js';
import { normalizeRanges, placesBeside } from '../src/monitor/plan-builder.js';
import { findEncluSites } from '../src/monitor/sites.js';
import { shortJump, TRAMPOLINE_BYTES, trampoline } from '../src/monitor/trampoline.js';

const PAGE = 4096;
const runs = { seed: 20261122, numRuns: Number(process.env.NSGX_FUZZ_RUNS ?? 200) };

/** Enclave memory in an array. */
const inArray = (bytes: Uint8Array): EnclaveMemory => ({
  size: bytes.length,
  read: (offset, length) => bytes.slice(offset, offset + length),
  write: () => assert.fail('the overlay never writes'),
  reserve: () => assert.fail('the overlay never reserves'),
  discard: () => assert.fail('the overlay never discards'),
  close: () => {},
});

/** Code-like bytes: pieces of sites among random ones. */
const code = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        [0xb8, 4, 0, 0, 0, 0x0f, 0x01, 0xd7],
        [0x48, 0xc7, 0xc0, 0, 0, 0, 0, 0x0f, 0x01, 0xd7],
        [0x41, 0xb8, 4, 0, 0, 0, 0x0f, 0x01, 0xd7],
        [0x0f, 0x01, 0xd7],
      ),
      fc.array(fc.integer({ min: 0, max: 255 }), { minLength: 1, maxLength: 9 }),
      fc.integer({ min: 1, max: 3000 }).map((n) => new Array<number>(n).fill(0x90)),
    ),
    { maxLength: 12 },
  )
  .map((parts) => {
    const flat = parts.flat();
    const bytes = new Uint8Array(Math.max(1, Math.ceil(flat.length / PAGE)) * PAGE).fill(0x90);
    bytes.set(flat);
    return bytes;
  });

test('every site is a whole mov directly before its ENCLU, on one page, of a known leaf', () => {
  fc.assert(
    fc.property(code, (bytes) => {
      for (const { mov, movBytes, enclu, leaf } of findEncluSites(bytes, 1000)) {
        assert.equal(mov + movBytes, enclu);
        assert.equal(Math.floor(mov / PAGE), Math.floor((enclu + 2) / PAGE));
        assert.deepEqual([...bytes.subarray(enclu, enclu + 3)], [0x0f, 0x01, 0xd7]);
        assert.ok(leaf <= 0x0c);
        if (movBytes === 5) assert.ok(bytes[mov] === 0xb8 && (bytes[mov - 1]! & 0xf0) !== 0x40);
        else assert.deepEqual([...bytes.subarray(mov, mov + 3)], [0x48, 0xc7, 0xc0]);
      }
    }),
    runs,
  );
});

test('an overlay differs from the code in the replaced movs only', () => {
  fc.assert(
    fc.property(code, (bytes) => {
      const base = 0x2000_0000_0000;
      const ranges: PageRange[] = [{ offset: 0, length: bytes.length, r: true, w: false, x: true }];
      const facts = { selector: 99, patchedEnclu: 0x0100_1000 };
      const overlay = buildOverlay(base, inArray(bytes), ranges, facts, (n) => [base - n]);
      const sites = findEncluSites(bytes, 1000);
      assert.equal(overlay?.sites.length ?? 0, sites.length);
      for (const page of overlay?.pages ?? [])
        for (let i = 0; i < PAGE; i++) {
          const at = page.offset + i;
          if (sites.some((s) => at >= s.mov && at < s.enclu)) continue;
          assert.equal(overlay!.bytes[page.fileOffset + i], bytes[at]);
        }
    }),
    runs,
  );
});

test('writable and unreadable ranges are never patched', () => {
  const bytes = new Uint8Array(PAGE).fill(0x90);
  bytes.set([0xb8, 4, 0, 0, 0, 0x0f, 0x01, 0xd7], 16);
  const facts = { selector: 99, patchedEnclu: 0x0100_1000 };
  for (const [r, w, x] of [
    [true, true, true],
    [false, false, true],
    [true, false, false],
  ])
    assert.equal(
      buildOverlay(
        2 ** 40,
        inArray(bytes),
        [{ offset: 0, length: PAGE, r: r!, w: w!, x: x! }],
        facts,
        () => [],
      ),
      null,
    );
});

test('a short mov out of every trampoline’s reach is left alone', () => {
  const bytes = new Uint8Array(PAGE).fill(0x90);
  bytes.set([0xb8, 4, 0, 0, 0, 0x0f, 0x01, 0xd7], 16);
  const range = [{ offset: 0, length: PAGE, r: true, w: false, x: true }];
  const facts = { selector: 99, patchedEnclu: 0x0100_1000 };
  assert.equal(
    buildOverlay(2 ** 40, inArray(bytes), range, facts, () => [2 ** 41]),
    null,
  );
  assert.equal(shortJump(0, 2 ** 31 + 5), null);
  assert.equal(shortJump(2 ** 33, 0), null);
  assert.ok(shortJump(100, 90));
});

test('trampolines have one size and stay inside it', () => {
  for (const site of [0, 1, 8000]) assert.equal(trampoline(site, 99).length, TRAMPOLINE_BYTES);
  assert.ok(!trampoline(8191, 0x63).subarray(0, 61).includes(0xcc));
});

test('ranges come out sorted, disjoint and merged, or are refused', () => {
  const range = fc.record({
    offset: fc.integer({ min: 0, max: 20 }).map((n) => n * PAGE),
    length: fc.integer({ min: 0, max: 4 }).map((n) => n * PAGE),
    r: fc.boolean(),
    w: fc.boolean(),
    x: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(range, { maxLength: 8 }), (ranges) => {
      const size = 32 * PAGE;
      let out: PageRange[];
      try {
        out = normalizeRanges(ranges, size);
      } catch (error) {
        assert.equal((error as { code: string }).code, 'PROCESSOR_ARGUMENT');
        return;
      }
      let end = -1;
      for (const { offset, length } of out) {
        assert.ok(offset >= end && length > 0);
        end = offset + length;
      }
      const bytes = (list: PageRange[]) => list.reduce((sum, { length }) => sum + length, 0);
      assert.equal(bytes(out), bytes(ranges));
    }),
    runs,
  );
});

test('trampolines are never placed over guest RAM or the runner', () => {
  const memory = { ramBase: 2 ** 44, ramBytes: 2 ** 30, doorbell: 0 };
  assert.deepEqual(placesBeside(2 ** 44 + 2 ** 30, 2 ** 20, memory, PAGE), [2 ** 44 + 2 ** 30 + 2 ** 20]);
  assert.deepEqual(placesBeside(RUNNER_MEMORY.END, PAGE, memory, PAGE), [RUNNER_MEMORY.END + PAGE]);
});

test('a layout that overlaps or is misaligned is refused when it is defined', () => {
  assert.throws(() => defineLayout('x', 8, { a: ['u32', 2] }), RangeError);
  assert.throws(() => defineLayout('x', 8, { a: ['u64', 0], b: ['u32', 4] }), RangeError);
  assert.throws(() => defineLayout('x', 8, { a: ['u64', 8] }), RangeError);
});

test('code that is nothing but ENCLUs is searched for a while only', () => {
  const flood = Buffer.alloc(1 << 20);
  for (let at = 0; at + 3 <= flood.length; at += 3) flood.set([0x0f, 0x01, 0xd7], at);
  const site = Buffer.from([0xb8, 4, 0, 0, 0, 0x0f, 0x01, 0xd7]);
  const early = Buffer.from(flood);
  early.set(site, 4096);
  assert.equal(findEncluSites(early, 10).length, 1);
  const late = Buffer.from(flood);
  late.set(site, late.length - 4096);
  assert.equal(findEncluSites(late, 10).length, 0);
});

test('a mov with a prefix is not a site', () => {
  const short = [0xb8, 4, 0, 0, 0, 0x0f, 0x01, 0xd7];
  const long = [0x48, 0xc7, 0xc0, 4, 0, 0, 0, 0x0f, 0x01, 0xd7];
  const found = (before: number, mov: number[]) =>
    findEncluSites(Buffer.from([0x90, before, ...mov]), 10).length;
  for (const mov of [short, long]) {
    assert.equal(found(0x90, mov), 1);
    assert.equal(found(0x66, mov), 0);
  }
  for (const rex of [0x41, 0x48]) assert.deepEqual([found(rex, short), found(rex, long)], [0, 1]);
});
