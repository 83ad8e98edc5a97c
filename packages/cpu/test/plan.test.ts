import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PageRange } from '@nestedsgx/arch';
import fc from 'fast-check';
import { defineLayout } from '../src/layout/layout.js';
import { RUNNER_MEMORY } from '../src/layout/memory.js';
import { MemfdEnclaveMemory } from '../src/monitor/enclave-memory.js';
import { CodePatches } from '../src/monitor/patches.js';
import { normalizeRanges, placesBeside } from '../src/monitor/plan-builder.js';
import { Protections } from '../src/monitor/protections.js';
import { SiteStub, TRAMPOLINES_BYTES } from '../src/monitor/site-stub.js';
import { findEncluSites, GAP_MAX } from '../src/monitor/sites.js';
import { shortJump, TRAMPOLINE_BYTES, trampoline } from '../src/monitor/trampoline.js';

const PAGE = 4096;
const runs = { seed: 20261122, numRuns: Number(process.env.NSGX_FUZZ_RUNS ?? 200) };

/** Code-like bytes: pieces of sites among random ones. */
const code = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        [0xb8, 4, 0, 0, 0, 0x0f, 0x01, 0xd7],
        [0x48, 0xc7, 0xc0, 0, 0, 0, 0, 0x0f, 0x01, 0xd7],
        [0x41, 0xb8, 4, 0, 0, 0, 0x0f, 0x01, 0xd7],
        [0x0f, 0x01, 0xd7],
        [0x48, 0xc7, 0xc0, 4, 0, 0, 0, 0x4d, 0x31, 0xff, 0x48, 0x01, 0xd2, 0xfc, 0x0f, 0x01, 0xd7],
        [0xb8, 4, 0, 0, 0, 0xf8, 0x0f, 0x01, 0xd7],
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

test('every site is a whole mov before its ENCLU, on one page, of a known leaf', () => {
  fc.assert(
    fc.property(code, (bytes) => {
      for (const { mov, movBytes, gap, enclu, leaf, whole } of findEncluSites(bytes, 1000)) {
        assert.equal(mov + movBytes + gap.length, enclu);
        assert.deepEqual(gap, bytes.slice(mov + movBytes, enclu));
        assert.equal(whole, Math.floor(mov / PAGE) === Math.floor((enclu + 2) / PAGE));
        assert.deepEqual([...bytes.subarray(enclu, enclu + 3)], [0x0f, 0x01, 0xd7]);
        assert.ok(leaf <= 0x0c);
        if (movBytes === 5) assert.ok(bytes[mov] === 0xb8 && (bytes[mov - 1]! & 0xf0) !== 0x40);
        else assert.deepEqual([...bytes.subarray(mov, mov + 3)], [0x48, 0xc7, 0xc0]);
      }
    }),
    runs,
  );
});

const facts = { selector: 99, patchedEnclu: 0x0100_1000 };
const base = 0x2000_0000_0000;

/** Enclave memory with this code, and its patches. */
function patched(
  bytes: Uint8Array,
  near: number[],
  run: (memory: MemfdEnclaveMemory, code: CodePatches) => void,
) {
  const memory = new MemfdEnclaveMemory(bytes.length);
  const stub = new SiteStub(base, facts, near);
  try {
    memory.write(0, bytes);
    memory.patches = new CodePatches(memory.fd, stub);
    memory.patches.apply(0, bytes.length);
    run(memory, memory.patches);
  } finally {
    stub.close();
    memory.close();
  }
}

test('patched code differs in the replaced bytes only, and nobody but the enclave sees that', () => {
  fc.assert(
    fc.property(code, (bytes) => {
      patched(bytes, [base - TRAMPOLINES_BYTES], (memory, patches) => {
        const sites = findEncluSites(bytes);
        assert.equal(patches.count, sites.length);
        assert.deepEqual(memory.read(0, bytes.length), bytes);
        const mapped = memory.readMapped(0, bytes.length);
        for (let at = 0; at < bytes.length; at++)
          if (!sites.some((s) => (s.whole ? at >= s.mov && at < s.mov + s.movBytes : at === s.enclu)))
            assert.equal(mapped[at], bytes[at]);
        for (const s of sites)
          assert.equal(mapped[s.whole ? s.mov : s.enclu] === bytes[s.whole ? s.mov : s.enclu], false);
        patches.restore(0, bytes.length);
        assert.deepEqual(memory.readMapped(0, bytes.length), bytes);
        assert.equal(patches.count, 0);
      });
    }),
    runs,
  );
});

test('parts of patched code read as they were, and writing any of a page takes its patches back', () => {
  fc.assert(
    fc.property(code, fc.nat(), fc.integer({ min: 1, max: 5000 }), (bytes, seed, length) => {
      patched(bytes, [base - TRAMPOLINES_BYTES], (memory, patches) => {
        const at = seed % bytes.length;
        const part = bytes.subarray(at, at + length);
        assert.deepEqual(Buffer.from(memory.read(at, part.length)), Buffer.from(part));
        memory.write(at, new Uint8Array(part.length).fill(0x5a));
        const expected = bytes.slice().fill(0x5a, at, at + part.length);
        assert.deepEqual(memory.read(0, bytes.length), expected);
        const from = at - (at % PAGE);
        assert.equal(patches.any(from, at + part.length - from), false);
        patches.restore(0, bytes.length);
        assert.deepEqual(memory.readMapped(0, bytes.length), expected);
      });
    }),
    runs,
  );
});

test('a site that is loaded again gets the trampoline it had; another leaf gets another', () => {
  const bytes = new Uint8Array(PAGE).fill(0x90);
  bytes.set([0xb8, 4, 0, 0, 0, 0x0f, 0x01, 0xd7], 16);
  const stub = new SiteStub(base, facts, [base - TRAMPOLINES_BYTES]);
  const memory = new MemfdEnclaveMemory(PAGE);
  const patches = new CodePatches(memory.fd, stub);
  memory.patches = patches;
  for (let i = 0; i < 10; i++) {
    memory.write(0, bytes);
    patches.apply(0, PAGE);
    memory.discard(0, PAGE);
    assert.deepEqual([patches.count, stub.count], [0, 1]);
  }
  bytes[17] = 1;
  memory.write(0, bytes);
  patches.apply(0, PAGE);
  assert.equal(stub.count, 2);
  stub.close();
  memory.close();
});

test('a short mov out of every trampoline’s reach keeps its mov: the ENCLU becomes a breakpoint', () => {
  const bytes = new Uint8Array(PAGE).fill(0x90);
  const site = [0xb8, 4, 0, 0, 0, 0x0f, 0x01, 0xd7];
  bytes.set(site, 16);
  patched(bytes, [2 ** 41], (memory) => {
    assert.deepEqual([...memory.readMapped(16, 8)], [...site.slice(0, 5), 0xcc, 0x01, 0xd7]);
    assert.deepEqual([...memory.read(16, 8)], site);
  });
  assert.equal(shortJump(0, 2 ** 31 + 5), null);
  assert.equal(shortJump(2 ** 33, 0), null);
  assert.ok(shortJump(100, 90));
});

test('protections know the mappings that the kernel would make', () => {
  const pages = 40;
  const change = fc.record({
    first: fc.nat(pages - 1),
    count: fc.integer({ min: 1, max: 12 }),
    prot: fc.constantFrom(1, 3, 5, 7),
  });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
      const protections = new Protections(pages * PAGE, 3);
      const model = new Array<number>(pages).fill(3);
      for (const { first, count, prot } of changes) {
        const end = Math.min(pages, first + count);
        protections.set(first * PAGE, (end - first) * PAGE, prot);
        model.fill(prot, first, end);
      }
      const got = [...protections.parts(0, pages * PAGE)];
      assert.deepEqual(
        got.flatMap(({ length, prot }) => new Array(length / PAGE).fill(prot)),
        model,
      );
      assert.equal(protections.count, model.filter((prot, i) => prot !== model[i - 1]).length);
      assert.equal(got.length, protections.count);
      for (const [from, to] of [
        [3, 4],
        [3, 9],
        [0, pages],
      ] as const) {
        const same = model.slice(from, to).every((prot) => prot === model[from]);
        assert.equal(protections.uniform(from * PAGE, (to - from) * PAGE), same ? model[from] : null);
      }
      const wanted = protections.changes(5 * PAGE, 20 * PAGE, (prot) => prot | 4);
      assert.deepEqual(
        wanted.flatMap(({ offset, length, prot }) =>
          Array.from({ length: length / PAGE }, (_, i) => [offset / PAGE + i, prot]),
        ),
        model.flatMap((prot, i) => (i >= 5 && i < 25 && !(prot & 4) ? [[i, prot | 4]] : [])),
      );
    }),
    runs,
  );
});

test('more mappings than the limit are refused, and nothing has changed', () => {
  const protections = new Protections(100 * PAGE, 3, 5);
  protections.set(2 * PAGE, PAGE, 5);
  protections.set(4 * PAGE, PAGE, 5);
  assert.throws(() => protections.set(6 * PAGE, PAGE, 5), { code: 'PROCESSOR_LIMIT' });
  assert.equal(protections.count, 5);
  protections.set(3 * PAGE, PAGE, 5);
  assert.equal(protections.count, 3);
});

test('trampolines have one size and stay inside it', () => {
  for (const site of [0, 1, 8000]) assert.equal(trampoline(site, 99).length, TRAMPOLINE_BYTES);
  assert.ok(!trampoline(8191, 0x63).subarray(0, 61).includes(0xcc));
  const gap = new Uint8Array(GAP_MAX).fill(0xfc);
  const code = trampoline(8191, 0x63, gap);
  assert.deepEqual(code.subarray(0, GAP_MAX), Buffer.from(gap));
  assert.deepEqual(code.subarray(GAP_MAX, GAP_MAX + 61), trampoline(8191, 0x63).subarray(0, 61));
  assert.equal(code.length, TRAMPOLINE_BYTES);
});

test('code between mov and ENCLU is taken along only where it can run elsewhere, and never RAX', () => {
  const gapOf = (...gap: number[]) => {
    const [site] = findEncluSites(Buffer.from([0x90, 0xb8, 4, 0, 0, 0, ...gap, 0x0f, 0x01, 0xd7]), 10);
    return site === undefined ? null : [...site.gap];
  };
  for (const gap of [
    [0xfc],
    [0xf8, 0xfc],
    [0x48, 0x31, 0xc9],
    [0x4d, 0x31, 0xff, 0x48, 0x01, 0xd2, 0xfc],
    new Array<number>(GAP_MAX).fill(0xfc),
  ])
    assert.deepEqual(gapOf(...gap), gap);
  for (const gap of [
    [0xfd], // STD
    [0x90],
    [0xeb, 0x00], // JMP
    [0x48, 0x31, 0xc0], // XOR of RAX
    [0x48, 0x31, 0xc8], // XOR RAX with RCX
    [0x48, 0x01, 0xc1], // ADD RAX to RCX
    [0x48, 0x31, 0x09], // memory
    [0x48, 0x89, 0xc9], // MOV
    [0x31, 0xc9], // 32 bits
    [0x4a, 0x31, 0xc9], // REX.X
    [0x48, 0x31],
    new Array<number>(GAP_MAX + 1).fill(0xfc),
  ])
    assert.equal(gapOf(...gap), null, Buffer.from(gap).toString('hex'));
  // RAX by its number; R8 has the same low bits.
  assert.deepEqual(gapOf(0x4d, 0x31, 0xc0), [0x4d, 0x31, 0xc0]);
  assert.equal(gapOf(0x49, 0x31, 0xc0), null);
});

test('a site on two pages is left alone when code stands between mov and ENCLU', () => {
  const bytes = new Uint8Array(2 * PAGE).fill(0x90);
  bytes.set([0xb8, 4, 0, 0, 0, 0xfc, 0x0f, 0x01, 0xd7], PAGE - 6);
  assert.deepEqual(findEncluSites(bytes), []);
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
  assert.deepEqual(placesBeside(2 ** 44 + 2 ** 30, 2 ** 20, memory, PAGE), [
    2 ** 44 + 2 ** 30 + 2 ** 20 + PAGE,
  ]);
  assert.deepEqual(placesBeside(RUNNER_MEMORY.END, PAGE, memory, PAGE), [RUNNER_MEMORY.END + 2 * PAGE]);
  const large = 2 ** 32;
  assert.deepEqual(placesBeside(large, large, memory, PAGE), [large - PAGE, 2 * large + PAGE]);
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
