import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TCS } from '@nestedsgx/arch';
import { EREMOVE_CHECKS, eremove } from '../src/encls/eremove.js';
import { checkEnter, EENTER_CHECKS } from '../src/enclu/eenter.js';
import { EPCM_BLOCKED, EPCM_MODIFIED, EPCM_PENDING, type LeafOutcome, removeRange } from '../src/index.js';
import { runCases } from './support/cases.js';
import {
  AT,
  BASE,
  GOOD_SECS,
  gpaOf,
  must,
  REG_R,
  REG_RW,
  TCS_FLAGS,
  tcsPage,
  tripped,
  World,
} from './support/world.js';

runCases(EREMOVE_CHECKS, {
  'page-aligned': (w) => eremove(w.s, w.owner, 0, gpaOf(0) + 1),
  'page-in-epc': (w) => eremove(w.s, w.owner, 0, 0x3000),
  'page-owned': (w) => w.remove(50),
  'no-children': (w) => {
    w.build();
    return w.remove(0);
  },
  'not-active': (w) => {
    w.running().running.inside = true;
    return w.remove(4);
  },
});

test('EREMOVE of a running enclave scrubs, unmaps, and withdraws admission with TCS and SSA', () => {
  const w = new World();
  const { enclave, running } = w.running();
  enclave.memory.write(0x4000, new Uint8Array(16).fill(1));
  must(w.remove(4));
  assert.deepEqual(running.unmapped, [[0x4000, 4096]]);
  assert.deepEqual(enclave.memory.read(0x4000, 16), new Uint8Array(16));
  assert.deepEqual([running.frozen, running.admitted], [false, [true]]);
  must(w.remove(3));
  assert.deepEqual(running.admitted, [true], 'the first SSA frame is still there');
  must(w.remove(2));
  assert.deepEqual(running.admitted, [false]);
  for (const frame of [1, 5, 6, 0]) must(w.remove(frame));
  assert.deepEqual([running.stopped, w.s.enclaves.size, w.s.epcm.validCount], [true, 0, 0]);
  must(w.remove(0));
});

test('EREMOVE with a thread inside changes nothing and lets threads enter again', () => {
  const w = new World();
  const { running } = w.running();
  running.inside = true;
  const before = w.s.epcm.validCount;
  assert.equal(w.remove(5).rax, 14);
  assert.deepEqual([w.s.epcm.validCount, running.frozen, running.unmapped.length], [before, false, 0]);
});

test('a TCS removed before EINIT is forgotten; its page can be added anew', () => {
  const w = new World();
  must(w.create());
  must(w.add(1, BASE, TCS_FLAGS, tcsPage()));
  must(w.remove(1));
  assert.equal(w.enclave().tcs.length, 0);
  must(w.add(3, BASE, TCS_FLAGS, tcsPage()));
  assert.deepEqual(w.enclave().tcs, [{ offset: 0, frame: 3, nssa: 0 }]);
});

test('REMOVE_RANGE removes children and SECS alike and scrubs in runs', () => {
  const w = new World();
  const { running } = w.running();
  assert.deepEqual(removeRange(w.s, w.owner, gpaOf(1), 6).done, 6 * 4096);
  assert.deepEqual(running.unmapped, [[0x1000, 0x6000]]);
  assert.deepEqual(running.admitted, [false]);
  assert.equal(removeRange(w.s, w.owner, gpaOf(0), 1).outcome.kind, 'done');
  assert.equal(w.s.epcm.validCount, 0);
  assert.equal(tripped(removeRange(w.s, w.owner, gpaOf(40), 20).outcome), 'EREMOVE.page-owned');
  assert.equal(tripped(removeRange(w.s, w.owner, gpaOf(0) + 8, 1).outcome), 'REMOVE_RANGE.page-aligned');
  assert.equal(tripped(removeRange(w.s, w.owner, gpaOf(0), 0).outcome), 'REMOVE_RANGE.count');
});

const AT_1 = { offset: 0x1000, frame: 1 };

/** EENTER of thread 0 of an initialized enclave whose TCS and EPCM were changed. */
function enter(
  w: World,
  change: { tcs?: Parameters<typeof tcsPage>[0]; bits?: [number, number]; cssa?: number },
): LeafOutcome {
  const { enclave } = w.running();
  if (change.bits !== undefined)
    w.s.epcm.setBits(change.bits[0], w.s.epcm.bits(change.bits[0]) | change.bits[1]);
  return checkEnter(w.s, enclave, AT_1, change.cssa ?? 0, tcsPage(change.tcs).subarray(0, 72));
}

runCases(EENTER_CHECKS, {
  'tcs-valid': (w) => {
    const { enclave } = w.running();
    must(w.remove(1));
    return checkEnter(w.s, enclave, AT_1, 0, tcsPage());
  },
  'tcs-not-blocked': (w) => enter(w, { bits: [1, EPCM_BLOCKED] }),
  'tcs-page': (w) => {
    const { enclave } = w.running();
    must(w.remove(1));
    must(w.create({ ...GOOD_SECS, BASEADDR: BigInt(BASE * 2) }, 20));
    must(w.add(1, BASE * 2, TCS_FLAGS, tcsPage(), 20));
    return checkEnter(w.s, enclave, AT_1, 0, tcsPage());
  },
  'tcs-settled': (w) => enter(w, { bits: [1, EPCM_PENDING] }),
  'ossa-aligned': (w) => enter(w, { tcs: { OSSA: 0x2001n } }),
  'segment-bases-aligned': (w) => enter(w, { tcs: { OGSBASE: 0x10n } }),
  'tcs-flags-reserved': (w) => enter(w, { tcs: { FLAGS: 4n } }),
  initialized: (w) => {
    const enclave = w.build();
    return checkEnter(w.s, enclave, AT_1, 0, tcsPage());
  },
  'mode-matches': (w) => {
    const { enclave } = w.running({ ...GOOD_SECS, ATTRIBUTES: { FLAGS: 0n, XFRM: 3n } });
    return checkEnter(w.s, enclave, AT_1, 0, tcsPage());
  },
  'xfrm-enabled': (w) => {
    const { enclave } = w.running({ ...GOOD_SECS, ATTRIBUTES: { FLAGS: 4n, XFRM: 7n } });
    const platform = { ...w.s.platform, xfrmMask: 3n };
    return checkEnter({ ...w.s, platform }, enclave, AT_1, 0, tcsPage());
  },
  'aexnotify-matches': (w) => enter(w, { tcs: { FLAGS: 2n } }),
  'ssa-frame-left': (w) => enter(w, { cssa: 2 }),
  'ssa-page': (w) => enter(w, { bits: [2, EPCM_MODIFIED] }),
  'gpr-page': (w) => {
    const { enclave } = w.running({ ...GOOD_SECS, SSAFRAMESIZE: 2 });
    w.s.epcm.setBits(3, w.s.epcm.bits(3) | EPCM_BLOCKED);
    return checkEnter(w.s, enclave, AT_1, 0, tcsPage());
  },
  'entry-canonical': (w) => enter(w, { tcs: { OENTRY: 1n << 60n } }),
  'segment-bases-canonical': (w) => enter(w, { tcs: { OFSBASE: 1n << 47n } }),
});

test('SSA pages must be readable, writable, regular pages of the same enclave', () => {
  for (const [frame, flags] of [
    [2, REG_R],
    [2, TCS_FLAGS],
  ] as const) {
    const w = new World();
    must(w.create());
    must(w.add(1, BASE + 0x1000, TCS_FLAGS, tcsPage()));
    must(w.add(frame, BASE + 0x2000, flags, flags === REG_R ? 0 : tcsPage()));
    must(w.add(3, BASE + 0x3000, REG_RW, 0));
    w.enclave().gates = { gpa: AT.GATES, count: 2 };
    must(w.init());
    const enclave = w.enclave();
    assert.equal(tripped(checkEnter(w.s, enclave, AT_1, 0, tcsPage())), 'EENTER.ssa-page');
    assert.equal(w.processor.running[0].admitted[0], false);
    assert.equal(w.processor.running[0].start.threads[0].nssa, 0);
  }
});

test('a thread has as many SSA frames as there are usable ones', () => {
  const w = new World();
  w.build(GOOD_SECS, { NSSA: 0xffff_ffff });
  must(w.init());
  // Pages 2, 3 and 4 are readable and writable, page 5 is not.
  assert.equal(w.processor.running[0].start.threads[0].nssa, 3);
  assert.equal(TCS.decode(w.enclave().memory.read(0x1000, 4096)).NSSA, 0xffff_ffff);
});
