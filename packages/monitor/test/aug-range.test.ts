import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AUG_RANGE, type StructInit, type StructValue, SVSM_PROTOCOL_SGX } from '@nestedsgx/arch';
import { AUG_RANGE_CHECKS, augRange, type BulkOutcome, EPCM_PENDING } from '../src/index.js';
import { sgxCall } from '../src/svsm/sgx.js';
import { runCases } from './support/cases.js';
import { callOf } from './support/fake-machine.js';
import { accept, augment } from './support/sgx2.js';
import { AT, BASE, GOOD_SECS, gpaOf, must, SIZE, tripped, World } from './support/world.js';

type Operand = StructInit<StructValue<typeof AUG_RANGE>>;
const FREE = BASE + 0x8000;

function aug(w: World, fields: Operand = {}, at: number = AT.ARGS): BulkOutcome {
  if (w.enclave() === undefined) w.running();
  const operand = { SECS: BigInt(gpaOf(0)), LINADDR: BigInt(FREE), LENGTH: 0x4000n, EPC: BigInt(gpaOf(10)) };
  AUG_RANGE.encodeInto({ ...operand, ...fields }, w.machine.ram, AT.ARGS);
  return augRange(w.s, w.owner, at);
}

runCases(AUG_RANGE_CHECKS, {
  'operand-readable': (w) => aug(w, {}, AT.ARGS + 4).outcome,
  length: (w) => aug(w, { LENGTH: 0x100_1000n }).outcome,
  'range-end': (w) => aug(w, { LINADDR: 0x1f_ffff_ffff_f000n }).outcome,
});

test('AUG_RANGE does what as many EAUGs do', () => {
  const bulk = new World();
  const single = new World();
  assert.deepEqual(aug(bulk).done, 0x4000);
  single.running();
  for (let i = 0; i < 4; i++) must(augment(single, 10 + i, FREE + i * 4096));
  for (let frame = 0; frame < 64; frame++) {
    const state = (w: World) => [w.s.epcm.bits(frame), w.s.epcm.address(frame), w.s.epcm.secs(frame)];
    assert.deepEqual(state(bulk), state(single));
  }
  assert.equal(bulk.enclave().children, single.enclave().children);
  for (let i = 0; i < 4; i++) must(accept(bulk, FREE + i * 4096));
});

test('AUG_RANGE stops at the page whose EAUG would be refused and says how far it came', () => {
  const cases: [string, number, (w: World) => BulkOutcome][] = [
    ['EAUG.page-aligned', 0, (w) => aug(w, { EPC: BigInt(gpaOf(10) + 8) })],
    ['EAUG.secs-linaddr-aligned', 0, (w) => aug(w, { LINADDR: BigInt(FREE + 8) })],
    ['EAUG.secs-in-epc', 0, (w) => aug(w, { SECS: 0x9000n })],
    ['EAUG.secs-owned', 0, (w) => aug(w, { SECS: BigInt(gpaOf(50)) })],
    ['EAUG.secs-valid', 0, (w) => aug(w, { SECS: BigInt(gpaOf(4)) })],
    ['EAUG.page-owned', 0x3000, (w) => aug(w, { EPC: BigInt(gpaOf(45)) })],
    ['EAUG.page-in-epc', 0, (w) => aug(w, { EPC: BigInt(gpaOf(64)) })],
    ['EAUG.linaddr-in-elrange', 0x2000, (w) => aug(w, { LINADDR: BigInt(BASE + SIZE - 0x2000) })],
    ['EAUG.linaddr-free', 0x1000, (w) => aug(w, { LINADDR: BigInt(BASE) })],
    [
      'EAUG.epc-page-free',
      0x2000,
      (w) => {
        must(w.create({ ...GOOD_SECS, BASEADDR: BigInt(BASE * 2) }, 12));
        return aug(w);
      },
    ],
    [
      'EAUG.memory-available',
      0,
      (w) => {
        w.processor.memories.at(-1)!.reserve = () => {
          throw Object.assign(new Error('full'), { code: 'ENOSPC' });
        };
        return aug(w);
      },
    ],
  ];
  for (const [check, bytes, run] of cases) {
    const w = new World();
    w.running();
    const { outcome, done } = run(w);
    assert.deepEqual([tripped(outcome), done], [check, bytes]);
    for (let i = 0; i < bytes / 4096 && check !== 'EAUG.secs-valid'; i++) {
      const frame = w.s.frames.resolve(w.owner, gpaOf(check === 'EAUG.page-owned' ? 45 + i : 10 + i));
      assert.equal(w.s.epcm.bits(frame) & EPCM_PENDING, EPCM_PENDING);
    }
  }
});

test('a page or a frame in the middle that is taken ends the run there', () => {
  for (const taken of ['page', 'frame'] as const) {
    const w = new World();
    w.running();
    if (taken === 'page') must(augment(w, 30, FREE + 0x2000));
    else must(augment(w, 12, FREE + 0x9000));
    const { outcome, done } = aug(w);
    assert.deepEqual(
      [tripped(outcome), done],
      [taken === 'page' ? 'EAUG.linaddr-free' : 'EAUG.epc-page-free', 0x2000],
    );
    assert.equal(w.enclave().pages.get(0xa), taken === 'page' ? 30 : -1);
    assert.equal(w.s.epcm.valid(13), false);
  }
});

test('AUG_RANGE is an SVSM call that reports bytes', () => {
  const w = new World();
  aug(w, { LENGTH: 0n });
  AUG_RANGE.encodeInto(
    { SECS: BigInt(gpaOf(0)), LINADDR: BigInt(FREE), LENGTH: 0x2000n, EPC: BigInt(gpaOf(10)) },
    w.machine.ram,
    AT.ARGS,
  );
  const call = callOf(SVSM_PROTOCOL_SGX, 0x10c, BigInt(AT.ARGS));
  const answer = sgxCall(0x10c)!.handle(
    { s: w.s, owner: w.owner, call } as Parameters<NonNullable<ReturnType<typeof sgxCall>>['handle']>[0],
    () => {},
  );
  assert.deepEqual([answer.rax, answer.rcx, answer.rdx], [0, 0, 0x2000]);
});
