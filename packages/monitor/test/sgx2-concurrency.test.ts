import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ENCLU, PT_TRIM } from '@nestedsgx/arch';
import { checkInvariants, EPCM_PENDING, removeRange } from '../src/index.js';
import { executeRunnerLeaf } from '../src/runner-leaves.js';
import {
  accept,
  augment,
  grown,
  modifyType,
  NEW_PAGE,
  putSecinfo,
  restrict,
  SECINFO_AT,
  TRIMMED,
  track,
} from './support/sgx2.js';
import { AT, BASE, gpaOf, must, REG_R, tripped, World } from './support/world.js';

const PAGE = BASE + 0x8000;
const HEX = (n: number) => BigInt(n);

/** A leaf as a thread's runner hands it over. */
function leafOf(w: World, thread: number, leaf: number, rbx: number, rcx: number, rdx = 0) {
  const request = { thread, leaf, rbx: HEX(rbx), rcx: HEX(rcx), rdx: HEX(rdx) };
  return executeRunnerLeaf(w.s, w.enclave(), request, undefined, () => {});
}

/** A running enclave with two threads' gates; both inside. */
function twoThreads(): World {
  const w = new World();
  w.build().gates = { gpa: AT.GATES, count: 2 };
  must(w.init());
  w.processor.running[0].enter(0);
  w.processor.running[0].enter(1);
  return w;
}

test('two EAUGs of one page: the second is refused, the first stands', () => {
  const w = twoThreads();
  must(augment(w, 10, PAGE));
  assert.equal(tripped(augment(w, 11, PAGE)), 'EAUG.linaddr-free');
  assert.equal(w.s.epcm.valid(11), false);
  must(accept(w, PAGE));
});

test('EACCEPT of one page by two threads: one accepts, the other finds it accepted', () => {
  const w = twoThreads();
  must(augment(w, 10, PAGE));
  putSecinfo(w, NEW_PAGE);
  const first = leafOf(w, 0, ENCLU.EACCEPT, SECINFO_AT, PAGE);
  const second = leafOf(w, 1, ENCLU.EACCEPT, SECINFO_AT, PAGE);
  assert.deepEqual(first, { rax: 0n, zf: false, cf: false });
  assert.deepEqual(second, { rax: 19n, zf: true, cf: false });
});

test('EACCEPT before its EAUG faults, so that the thread can come again', () => {
  const w = twoThreads();
  putSecinfo(w, NEW_PAGE);
  const early = leafOf(w, 0, ENCLU.EACCEPT, SECINFO_AT, PAGE);
  assert.deepEqual(early.fault, { vector: 14, errorCode: 4, address: HEX(PAGE) });
  must(augment(w, 10, PAGE));
  assert.equal(leafOf(w, 0, ENCLU.EACCEPT, SECINFO_AT, PAGE).rax, 0n);
});

test('EACCEPT and EACCEPTCOPY of one page: whoever comes second is told', () => {
  const w = twoThreads();
  must(augment(w, 10, PAGE));
  putSecinfo(w, 0x203);
  assert.equal(leafOf(w, 0, ENCLU.EACCEPTCOPY, SECINFO_AT, PAGE, BASE + 0x6000).rax, 0n);
  putSecinfo(w, NEW_PAGE);
  assert.equal(leafOf(w, 1, ENCLU.EACCEPT, SECINFO_AT, PAGE).rax, 19n);
});

test('EMODPR and EMODT between EAUG and EACCEPT are not possible, nor is a second one before EACCEPT', () => {
  const w = twoThreads();
  must(augment(w, 10, PAGE));
  assert.equal(restrict(w, 10, REG_R).rax, 20);
  assert.equal(modifyType(w, 10).rax, 20);
  assert.equal(w.s.epcm.bits(10) & EPCM_PENDING, EPCM_PENDING);
  must(accept(w, PAGE));
  must(modifyType(w, 10, 0x100));
  assert.equal(tripped(modifyType(w, 10)), 'EMODT.modifiable');
  must(modifyType(w, 5));
  assert.equal(tripped(modifyType(w, 5)), 'EMODT.page-type');
});

test('EMODT of an active TCS: the thread stays, nobody enters again, EACCEPT and EREMOVE wait for it', () => {
  const w = twoThreads();
  const [running] = w.processor.running;
  const tcs = BASE + 0x1000;
  must(modifyType(w, 1, PT_TRIM << 8));
  assert.deepEqual([running.threads[0].inside, running.admitted[0]], [true, false]);
  assert.equal(running.threads[0].start?.tcsOffset, 0x1000);
  assert.equal(accept(w, tcs, TRIMMED).rax, 11);
  track(w);
  assert.equal(accept(w, tcs, TRIMMED).rax, 11);
  assert.equal(w.remove(1).rax, 14);
  running.enter(0, false);
  running.enter(1, false);
  must(accept(w, tcs, TRIMMED));
  must(w.remove(1));
  assert.deepEqual([running.threads[0].start, w.enclave().tcs[0]], [null, null]);
  checkInvariants(w.s, [w.owner, w.other]);
});

test('EREMOVE with threads inside: SGX_ENCLAVE_ACT for all pages but trimmed ones, and nothing changes', () => {
  const w = twoThreads();
  grown(w, 10, PAGE);
  must(augment(w, 11, PAGE + 0x1000));
  const before = w.s.epcm.validCount;
  for (const frame of [1, 2, 4, 10, 11]) assert.equal(tripped(w.remove(frame)), 'EREMOVE.not-active');
  assert.equal(tripped(w.remove(0)), 'EREMOVE.no-children');
  assert.equal(w.s.epcm.validCount, before);
  assert.equal(w.processor.running[0].frozen, false);
});

test('REMOVE_RANGE with threads inside goes as far as pages are trimmed and accepted', () => {
  const w = twoThreads();
  for (let i = 0; i < 4; i++) grown(w, 10 + i, PAGE + i * 4096);
  for (const frame of [10, 11, 12]) must(modifyType(w, frame));
  track(w);
  const [running] = w.processor.running;
  for (const thread of [0, 1]) running.enter(thread);
  for (const i of [0, 1]) must(accept(w, PAGE + i * 4096, TRIMMED));
  const { outcome, done } = removeRange(w.s, w.owner, gpaOf(10), 4);
  assert.deepEqual([tripped(outcome), done], ['EREMOVE.not-active', 0x2000]);
  assert.deepEqual([running.frozen, running.unmapped.at(-1)], [false, [0x8000, 0x2000]]);
  for (const thread of [0, 1]) running.enter(thread, false);
  assert.equal(removeRange(w.s, w.owner, gpaOf(12), 2).done, 0x2000);
  checkInvariants(w.s, [w.owner, w.other]);
});

test('an enclave gets #GP for EVERIFYREPORT2 and for leaves that only its processor executes', () => {
  const w = twoThreads();
  for (const leaf of [ENCLU.EVERIFYREPORT2, ENCLU.EENTER, ENCLU.ERESUME, 10, 0xff])
    assert.equal(leafOf(w, 0, leaf, SECINFO_AT, PAGE).fault?.vector, 13);
});

test('a seeded walk of SGX2 leaves keeps EPCM, slots and mappings consistent', () => {
  const runs = Number(process.env.NSGX_FUZZ_RUNS ?? 20);
  for (let seed = 1; seed <= runs; seed++) {
    let x = seed;
    const pick = (n: number) => {
      x = (Math.imul(x, 1_103_515_245) + 12_345) >>> 0;
      return (x >>> 16) % n;
    };
    const w = twoThreads();
    const [running] = w.processor.running;
    for (let step = 0; step < 120; step++) {
      const frame = 1 + pick(16);
      const linaddr = BASE + 0x1000 * (1 + pick(16));
      switch (pick(8)) {
        case 0:
          augment(w, frame, linaddr);
          break;
        case 1:
          if (w.s.epcm.valid(4)) accept(w, linaddr, [NEW_PAGE, TRIMMED, 0x110, 0x221, 0x223][pick(5)]);
          break;
        case 2:
          restrict(w, frame, 0x200 | [0, 1, 3, 5, 7][pick(5)]);
          break;
        case 3:
          modifyType(w, frame, [0x100, 0x400][pick(2)]);
          break;
        case 4:
          running.enter(pick(2), pick(2) === 0);
          break;
        case 5:
          if (!running.anyInside()) track(w);
          break;
        case 6:
          w.remove(frame);
          break;
        default:
          if (w.s.epcm.valid(3)) w.enclave().memory.write(0x3000, new Uint8Array(64).fill(pick(2)));
      }
      checkInvariants(w.s, [w.owner, w.other]);
    }
  }
});
