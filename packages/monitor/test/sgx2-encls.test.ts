import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PT_TCS, PT_TRIM } from '@nestedsgx/arch';
import { EAUG_CHECKS, eaug } from '../src/encls/eaug.js';
import { EMODPR_CHECKS, emodpr } from '../src/encls/emodpr.js';
import { EMODT_CHECKS, emodt } from '../src/encls/emodt.js';
import { EPCM_MODIFIED, EPCM_PENDING, EPCM_PR } from '../src/index.js';
import { type Case, runCases } from './support/cases.js';
import { augment, modifyType, restrict } from './support/sgx2.js';
import {
  AT,
  BASE,
  GOOD_SECS,
  gpaOf,
  must,
  REG_R,
  REG_RW,
  SIZE,
  TCS_FLAGS,
  tripped,
  World,
} from './support/world.js';

const FREE = BASE + 0x8000;
const NOWHERE = 0x1000_0000;

/** EAUG of frame 10 at a free address with PAGEINFO changed. */
function changed(
  w: World,
  info: { linaddr?: number; src?: number; secinfo?: number; secs?: number } = {},
  rbx: number = AT.PAGEINFO,
  rcx = gpaOf(10),
) {
  if (w.enclave() === undefined) w.running();
  w.pageinfo(info.linaddr ?? FREE, info.src ?? 0, info.secinfo ?? 0, info.secs ?? gpaOf(0));
  return eaug(w.s, w.owner, rbx, rcx);
}

runCases(EAUG_CHECKS, {
  'pageinfo-aligned': (w) => changed(w, {}, AT.PAGEINFO + 8),
  'page-aligned': (w) => changed(w, {}, AT.PAGEINFO, gpaOf(10) + 512),
  'page-in-epc': (w) => changed(w, {}, AT.PAGEINFO, 0x9000),
  'page-owned': (w) => changed(w, {}, AT.PAGEINFO, gpaOf(50)),
  'pageinfo-readable': (w) => changed(w, {}, NOWHERE),
  'secinfo-aligned': (w) => changed(w, { secinfo: AT.SECINFO + 8 }),
  'secs-linaddr-aligned': (w) => changed(w, { linaddr: FREE + 1 }),
  'source-zero': (w) => changed(w, { src: AT.PAGE }),
  'secs-in-epc': (w) => changed(w, { secs: 0x9000 }),
  'secs-owned': (w) => {
    must(w.create(GOOD_SECS, 50, w.other));
    return changed(w, { secs: gpaOf(50) });
  },
  'epc-page-free': (w) => changed(w, {}, AT.PAGEINFO, gpaOf(4)),
  'secinfo-readable': (w) => changed(w, { secinfo: NOWHERE }),
  'secinfo-valid': (w) => {
    w.running();
    w.secinfo(REG_RW);
    return changed(w, { secinfo: AT.SECINFO });
  },
  'secs-valid': (w) => changed(w, { secs: gpaOf(4) }),
  initialized: (w) => {
    w.build();
    return changed(w);
  },
  'linaddr-in-elrange': (w) => changed(w, { linaddr: BASE + SIZE }),
  'linaddr-free': (w) => changed(w, { linaddr: BASE + 0x4000 }),
  'memory-available': (w) => {
    w.running();
    w.processor.memories[0].reserve = () => {
      throw Object.assign(new Error('full'), { code: 'ENOSPC' });
    };
    return changed(w);
  },
});

test('EAUG gives a pending page of zeros that nobody reaches', () => {
  const w = new World();
  const { enclave, running } = w.running();
  must(augment(w, 10, FREE));
  assert.equal(w.s.epcm.bits(10) & 0x3f, 3 | EPCM_PENDING);
  assert.deepEqual([w.s.epcm.address(10), w.s.epcm.secs(10), enclave.pages.get(8)], [FREE, 0, 10]);
  assert.deepEqual(enclave.memory.read(0x8000, 4096), new Uint8Array(4096));
  assert.equal(running.rights.get(0x8000), undefined);
});

test('a page can be augmented once, and once more after it is gone', () => {
  const w = new World();
  w.running();
  must(augment(w, 10, FREE));
  assert.equal(tripped(augment(w, 11, FREE)), 'EAUG.linaddr-free');
  assert.equal(tripped(augment(w, 10, FREE + 0x1000)), 'EAUG.epc-page-free');
  must(w.remove(10));
  must(augment(w, 11, FREE));
});

/** EMODPR or EMODT on frame 4 of a running enclave, with what each case changes. */
type Modify = (w: World, flags?: number, rcx?: number, rbx?: number) => ReturnType<Case>;
const onRunning =
  (leaf: typeof emodpr, usual: number): Modify =>
  (w, flags = usual, rcx = gpaOf(4), rbx = AT.SECINFO) => {
    if (w.enclave() === undefined) w.running();
    w.secinfo(flags);
    return leaf(w.s, w.owner, rbx, rcx);
  };
const pr = onRunning(emodpr, REG_R);
const mt = onRunning(emodt, PT_TRIM << 8);
const withBits =
  (bits: number, run: Modify): Case =>
  (w) => {
    w.running();
    w.s.epcm.setBits(4, w.s.epcm.bits(4) | bits);
    return run(w);
  };
const common = (run: Modify) => ({
  'secinfo-aligned': (w: World) => run(w, undefined, undefined, AT.SECINFO + 8),
  'page-aligned': (w: World) => run(w, undefined, gpaOf(4) + 8),
  'page-in-epc': (w: World) => run(w, undefined, 0x9000),
  'page-owned': (w: World) => run(w, undefined, gpaOf(50)),
  'secinfo-readable': (w: World) => run(w, undefined, undefined, NOWHERE),
  'page-valid': (w: World) => run(w, undefined, gpaOf(20)),
  initialized: (w: World) => {
    w.build();
    return run(w);
  },
});

runCases(EMODPR_CHECKS, {
  ...common(pr),
  'secinfo-valid': (w) => pr(w, 0x202),
  modifiable: withBits(EPCM_PENDING, pr),
  'page-type': (w) => pr(w, REG_R, gpaOf(1)),
});

runCases(EMODT_CHECKS, {
  ...common(mt),
  'secinfo-valid': (w) => mt(w, REG_RW),
  'page-type': (w) => mt(w, TCS_FLAGS, gpaOf(1)),
  modifiable: withBits(EPCM_MODIFIED, mt),
});

test('reserved bits of SECINFO are refused by EMODPR and EMODT', () => {
  for (const flags of [0x40, 0x80, 0x1_0000, 2 ** 40]) {
    assert.equal(tripped(pr(new World(), REG_R + flags)), 'EMODPR.secinfo-valid');
    assert.equal(tripped(mt(new World(), (PT_TRIM << 8) + flags)), 'EMODT.secinfo-valid');
  }
});

test('EMODPR only takes rights away, and for all threads before it returns', () => {
  const w = new World();
  const { running } = w.running();
  assert.equal(running.rights.get(0x4000), 'rw');
  must(restrict(w, 4, REG_RW | 4));
  assert.deepEqual([running.rights.get(0x4000), w.s.epcm.bits(4) & 0x3f], ['rw', 3 | EPCM_PR]);
  must(restrict(w, 4, REG_R));
  assert.deepEqual([running.rights.get(0x4000), w.s.epcm.bits(4) & 0x3f], ['r', 1 | EPCM_PR]);
  must(restrict(w, 6, REG_R));
  assert.equal(running.rights.get(0x6000), 'r');
  must(restrict(w, 4, 0x200));
  assert.equal(running.rights.has(0x4000), false);
  assert.equal(w.enclave().memory.read(0x4000, 1).length, 1);
});

test('an enclave whose processor cannot take a right away does not run on', () => {
  const w = new World();
  const { enclave, running } = w.running();
  running.protect = () => {
    throw Object.assign(new Error('no'), { code: 'MAPPING_UNSUPPORTED' });
  };
  must(restrict(w, 4, REG_R));
  assert.notEqual(enclave.lost, null);
  assert.equal(running.stopped, true);
});

test('EMODPR of an SSA page takes admission away, as EMODT does', () => {
  for (const change of [restrict, modifyType] as const) {
    const w = new World();
    const { running } = w.running();
    must(change(w, 2, change === restrict ? REG_R : PT_TRIM << 8));
    assert.deepEqual(running.admitted, [false]);
  }
});

test('EMODT takes the page out of reach and keeps what it holds', () => {
  const w = new World();
  const { enclave, running } = w.running();
  enclave.memory.write(0x4000, new Uint8Array(8).fill(7));
  must(modifyType(w, 4, TCS_FLAGS));
  assert.equal(running.rights.has(0x4000), false);
  assert.deepEqual(running.unmapped, [[0x4000, 4096]]);
  assert.deepEqual(enclave.memory.read(0x4000, 8), new Uint8Array(8).fill(7));
  assert.deepEqual([w.s.epcm.type(4), w.s.epcm.bits(4) & 0x3f], [PT_TCS, EPCM_MODIFIED]);
  assert.equal(tripped(modifyType(w, 4, PT_TRIM << 8)), 'EMODT.modifiable');
});
