import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ADD_RANGE } from '@nestedsgx/arch';
import { ADD_RANGE_CHECKS, addRange, checkInvariants } from '../src/index.js';
import { runCases } from './support/cases.js';
import { AT, BASE, gpaOf, must, REG_RW, SIZE, TCS_FLAGS, tcsPage, tripped, World } from './support/world.js';

const SOURCE = 0x10_0000;

interface Range {
  secs?: number;
  linaddr?: number;
  src?: number;
  length?: number;
  secinfo?: number;
  epc?: number;
  flags?: number;
  at?: number;
}

function range(w: World, r: Range = {}, flags = REG_RW) {
  w.secinfo(flags);
  w.machine.ram.set(
    ADD_RANGE.encode({
      SECS: BigInt(r.secs ?? gpaOf(0)),
      LINADDR: BigInt(r.linaddr ?? BASE),
      SRC: BigInt(r.src ?? SOURCE),
      LENGTH: BigInt(r.length ?? 0x4000),
      SECINFO: BigInt(r.secinfo ?? AT.SECINFO),
      EPC: BigInt(r.epc ?? gpaOf(1)),
      FLAGS: BigInt(r.flags ?? 1),
    }),
    AT.ARGS,
  );
  return addRange(w.s, w.owner, r.at ?? AT.ARGS);
}

runCases(ADD_RANGE_CHECKS, {
  'operand-readable': (w) => range(w, { at: 0x1000_0000 }).outcome,
  length: (w) => range(w, { length: 0x100_1000 }).outcome,
  flags: (w) => range(w, { flags: 2 }).outcome,
  'source-end': (w) => range(w, { src: Number.MAX_SAFE_INTEGER }).outcome,
});

function filled(): World {
  const w = new World();
  for (let i = SOURCE; i < SOURCE + 0x8_0000; i++) w.machine.ram[i] = (i * 7) ^ (i >>> 9);
  must(w.create());
  return w;
}

for (const measure of [0, 1]) {
  test(`ADD_RANGE ${measure ? 'with' : 'without'} EEXTEND leaves exactly what the single leaves leave`, () => {
    const bulk = filled();
    const single = filled();
    assert.deepEqual(range(bulk, { length: 0x2_0000, flags: measure }).done, 0x2_0000);
    for (let i = 0; i < 0x20; i++) {
      const page = single.machine.ram.slice(SOURCE + i * 4096, SOURCE + (i + 1) * 4096);
      must(single.add(1 + i, BASE + i * 4096, REG_RW, page));
      for (let c = 0; measure && c < 16; c++) must(single.extend(1 + i, c));
    }
    assert.deepEqual(bulk.enclave().measurement.digest(), single.enclave().measurement.digest());
    for (let i = 0; i < 0x20; i++) {
      assert.equal(bulk.s.epcm.bits(1 + i), single.s.epcm.bits(1 + i));
      assert.equal(bulk.s.epcm.address(1 + i), single.s.epcm.address(1 + i));
    }
    assert.deepEqual(bulk.enclave().memory.read(0, 0x2_0000), single.enclave().memory.read(0, 0x2_0000));
    checkInvariants(bulk.s, [bulk.owner, bulk.other]);
  });
}

test('TCS pages in bulk are prepared as EADD does', () => {
  const bulk = filled();
  const single = filled();
  for (const w of [bulk, single]) {
    w.machine.ram.set(tcsPage({ CSSA: 9, FLAGS: 1n }), SOURCE);
    w.machine.ram.set(tcsPage({ STATE: 1n }), SOURCE + 4096);
  }
  assert.equal(range(bulk, { length: 0x2000 }, TCS_FLAGS).done, 0x2000);
  for (const i of [0, 1]) {
    must(
      single.add(
        1 + i,
        BASE + i * 4096,
        TCS_FLAGS,
        single.machine.ram.slice(SOURCE + i * 4096, SOURCE + i * 4096 + 4096),
      ),
    );
    for (let c = 0; c < 16; c++) must(single.extend(1 + i, c));
  }
  assert.deepEqual(bulk.enclave().measurement.digest(), single.enclave().measurement.digest());
  assert.deepEqual(bulk.enclave().tcs, single.enclave().tcs);
});

test('a range stops at the first page that a check refuses, with all before it added and measured', () => {
  const cases: [string, (w: World) => ReturnType<typeof range>][] = [
    ['EADD.epc-page-free', (w) => range(w)],
    ['EADD.source-readable', (w) => range(w, { epc: gpaOf(10) })],
    ['EADD.linaddr-free', (w) => range(w, { epc: gpaOf(10) })],
    ['EADD.page-owned', (w) => range(w, { epc: gpaOf(45), length: 0x4000 })],
    ['EADD.linaddr-in-elrange', (w) => range(w, { epc: gpaOf(10), linaddr: BASE + SIZE - 0x3000 })],
  ];
  for (const [id, run] of cases) {
    const w = filled();
    if (id === 'EADD.epc-page-free') must(w.add(4, BASE + 0x9000));
    if (id === 'EADD.linaddr-free') must(w.add(4, BASE + 0x3000));
    if (id === 'EADD.source-readable') w.machine.denied.add(SOURCE / 4096 + 3);
    const before = w.s.epcm.validCount;
    const { outcome, done } = run(w);
    assert.deepEqual([tripped(outcome), done], [id, 0x3000]);
    assert.equal(w.s.epcm.validCount, before + 3);
    const single = filled();
    if (id === 'EADD.epc-page-free') must(single.add(4, BASE + 0x9000));
    if (id === 'EADD.linaddr-free') must(single.add(4, BASE + 0x3000));
    for (let i = 0; i < 3; i++) {
      const page = w.machine.ram.slice(SOURCE + i * 4096, SOURCE + (i + 1) * 4096);
      must(
        single.add(20 + i, (id.endsWith('elrange') ? BASE + SIZE - 0x3000 : BASE) + i * 4096, REG_RW, page),
      );
      for (let c = 0; c < 16; c++) must(single.extend(20 + i, c));
    }
    assert.deepEqual(w.enclave().measurement.digest(), single.enclave().measurement.digest(), id);
    checkInvariants(w.s, [w.owner, w.other]);
  }
});

test('too many threads, misaligned operands and a foreign SECS add nothing or what fits', () => {
  const w = new World({ maxThreads: 2 });
  must(w.create());
  for (let i = 0; i < 4; i++) w.machine.ram.set(tcsPage(), SOURCE + i * 4096);
  const { outcome, done } = range(w, {}, TCS_FLAGS);
  assert.deepEqual([tripped(outcome), done, w.enclave().tcs.length], ['EADD.thread-limit', 0x2000, 2]);
  assert.equal(tripped(range(w, { src: SOURCE + 1 }).outcome), 'EADD.sources-aligned');
  assert.equal(tripped(range(w, { epc: gpaOf(5) + 1 }).outcome), 'EADD.page-aligned');
  assert.equal(tripped(range(w, { secs: gpaOf(50) }).outcome), 'EADD.secs-owned');
  assert.equal(tripped(range(w, { secs: 0x3000 }).outcome), 'EADD.secs-in-epc');
  assert.equal(tripped(range(w, {}, 0x302).outcome), 'EADD.secinfo-valid');
  checkInvariants(w.s, [w.owner, w.other]);
});

test('memory that runs out during a range leaves nothing half added', () => {
  const w = filled();
  w.processor.memories[0].write = () => {
    throw Object.assign(new Error('full'), { code: 'ENOSPC' });
  };
  const digest = w.enclave().measurement.digest();
  const { outcome, done } = range(w);
  assert.deepEqual([tripped(outcome), done, w.enclave().children], ['EADD.memory-available', 0, 0]);
  assert.deepEqual(w.enclave().measurement.digest(), digest);
});
