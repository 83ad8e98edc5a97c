import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkDecrement, EDECCSSA_CHECKS } from '../src/enclu/edeccssa.js';
import { checkResume, ERESUME_CHECKS } from '../src/enclu/eresume.js';
import {
  ENCLU_LEAVES,
  EPCM_BLOCKED,
  EPCM_MODIFIED,
  EPCM_PENDING,
  enterableFrames,
  type LeafOutcome,
} from '../src/index.js';
import { runCases } from './support/cases.js';
import { BASE, GOOD_SECS, must, TCS_FLAGS, tcsPage, World } from './support/world.js';

const TCS_1 = { offset: 0x1000, frame: 1 };
interface Change {
  tcs?: Parameters<typeof tcsPage>[0];
  bits?: [number, number];
  cssa?: number;
}

/** ERESUME of thread 0 at CSSA 1 of an initialized enclave whose TCS and EPCM were changed. */
function resume(w: World, change: Change = {}): LeafOutcome {
  const enclave = w.enclave() ?? w.running().enclave;
  const { bits } = change;
  if (bits !== undefined) w.s.epcm.setBits(bits[0], w.s.epcm.bits(bits[0]) | bits[1]);
  return checkResume(w.s, enclave, TCS_1, change.cssa ?? 1, tcsPage(change.tcs).subarray(0, 72));
}

const withFlags = (FLAGS: bigint, XFRM = 3n) => ({ ...GOOD_SECS, ATTRIBUTES: { FLAGS, XFRM } });

runCases(ERESUME_CHECKS, {
  'tcs-valid': (w) => {
    w.running();
    must(w.remove(1));
    return resume(w);
  },
  'tcs-not-blocked': (w) => resume(w, { bits: [1, EPCM_BLOCKED] }),
  'tcs-settled': (w) => resume(w, { bits: [1, EPCM_MODIFIED] }),
  'tcs-page': (w) => {
    w.running();
    must(w.remove(1));
    must(w.create({ ...GOOD_SECS, BASEADDR: BigInt(BASE * 2) }, 20));
    must(w.add(1, BASE * 2, TCS_FLAGS, tcsPage(), 20));
    return resume(w);
  },
  'ossa-aligned': (w) => resume(w, { tcs: { OSSA: 0x2010n } }),
  'segment-bases-aligned': (w) => resume(w, { tcs: { OFSBASE: 8n } }),
  'tcs-flags-reserved': (w) => resume(w, { tcs: { FLAGS: 1n << 40n } }),
  initialized: (w) => {
    w.build();
    return resume(w);
  },
  'mode-matches': (w) => {
    w.running(withFlags(0n));
    return resume(w);
  },
  'xfrm-enabled': (w) => {
    const { enclave } = w.running(withFlags(4n, 7n));
    const platform = { ...w.s.platform, xfrmMask: 3n };
    return checkResume({ ...w.s, platform }, enclave, TCS_1, 1, tcsPage());
  },
  'aexnotify-matches': (w) => resume(w, { tcs: { FLAGS: 2n } }),
  'ssa-frame-active': (w) => resume(w, { cssa: 0 }),
  'ssa-page': (w) => resume(w, { bits: [2, EPCM_PENDING] }),
  'gpr-page': (w) => {
    w.running({ ...GOOD_SECS, SSAFRAMESIZE: 2 });
    return resume(w, { bits: [3, EPCM_BLOCKED] });
  },
});

/** EDECCSSA of thread 0. */
function decrement(w: World, frame: number, cssa = 1, secs = GOOD_SECS): LeafOutcome {
  const { enclave } = w.running(secs);
  w.s.epcm.setBits(frame, w.s.epcm.bits(frame) | EPCM_BLOCKED);
  return checkDecrement(w.s, enclave, cssa, tcsPage());
}

runCases(EDECCSSA_CHECKS, {
  'cssa-positive': (w) => decrement(w, 6, 0),
  'ssa-page': (w) => decrement(w, 3, 2),
  'gpr-page': (w) => decrement(w, 3, 1, { ...GOOD_SECS, SSAFRAMESIZE: 2 }),
});

test('ERESUME and EDECCSSA look at the frame below CSSA, EENTER at the one of CSSA', () => {
  const w = new World();
  const { enclave } = w.running();
  assert.equal(resume(w, { cssa: 2 }).kind, 'done');
  must(w.remove(3));
  assert.equal(resume(w, { cssa: 1 }).kind, 'done');
  assert.equal(resume(w, { cssa: 2 }).address, BASE + 0x3000);
  assert.equal(checkDecrement(w.s, enclave, 2, tcsPage()).address, BASE + 0x3000);
  assert.equal(enterableFrames(w.s, enclave, TCS_1, tcsPage()), 1);
});

test('an AEX-notify enclave needs the flag in its TCS, unless the thread opted in', () => {
  const notify = { ...GOOD_SECS, ATTRIBUTES: { FLAGS: 0x404n, XFRM: 3n } };
  for (const [flags, check] of [
    [0n, 'aexnotify-matches'],
    [1n, 'done'],
    [2n, 'done'],
    [3n, 'done'],
  ] as const) {
    const w = new World();
    w.running(notify);
    const { kind, check: row } = resume(w, { tcs: { FLAGS: flags } });
    assert.equal(row < 0 ? kind : ERESUME_CHECKS.rows[row].id, check);
  }
});

test('leaves that the processor executes have lists, with the rows that it checks marked', () => {
  for (const row of ENCLU_LEAVES.filter(({ execute }) => execute === null)) {
    assert.notEqual(row.checks.rows.length, 0, row.name);
    assert.match(row.support, /processor/);
  }
  for (const row of ENCLU_LEAVES.filter(({ execute }) => execute !== null))
    assert.equal(
      row.checks.rows.some(({ processor }) => processor),
      false,
      row.name,
    );
});
