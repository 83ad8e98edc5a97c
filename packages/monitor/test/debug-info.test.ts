import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PT_TRIM, readU64 } from '@nestedsgx/arch';
import { EDBGRD_CHECKS, edbgrd } from '../src/encls/edbgrd.js';
import { EDBGWR_CHECKS, edbgwr } from '../src/encls/edbgwr.js';
import { ERDINFO_CHECKS, erdinfo } from '../src/encls/erdinfo.js';
import { EUPDATESVN_CHECKS, eupdatesvn } from '../src/encls/eupdatesvn.js';
import {
  DONE,
  EPCM_BLOCKED,
  EPCM_MODIFIED,
  EPCM_PENDING,
  EPCM_PT_SHIFT,
  FLAG_CF,
  FLAG_ZF,
  PageCipher,
} from '../src/index.js';
import { runCases, runCasesIn } from './support/cases.js';
import { FakeOsError } from './support/fake-machine.js';
import { PagingWorld, VA } from './support/paging-world.js';
import { AT, BASE, GOOD_SECS, gpaOf, must, REG_RW, tripped, type World } from './support/world.js';

const DEBUG_SECS = { ...GOOD_SECS, ATTRIBUTES: { FLAGS: 6n, XFRM: 3n } };

const rd = (w: World, gpa: number) => edbgrd(w.s, w.owner, 0, gpa);
const wr = (w: World, gpa: number, value = 0n) =>
  edbgwr(w.s, w.owner, Number(value), gpa, 0, { big: () => value });
const setBits = (w: World, frame: number, bits: number) =>
  w.s.epcm.setBits(frame, w.s.epcm.bits(frame) | bits);

runCases(EDBGRD_CHECKS, {
  'address-aligned': (w) => rd(w, gpaOf(4) + 4),
  'page-in-epc': (w) => rd(w, 0x3000),
  'page-owned': (w) => rd(w, gpaOf(50)),
  'page-valid': (w) => rd(w, gpaOf(4)),
  'page-type': (w) => {
    w.build(DEBUG_SECS);
    return rd(w, gpaOf(0));
  },
  'page-settled': (w) => {
    w.build(DEBUG_SECS);
    setBits(w, 4, EPCM_PENDING);
    return rd(w, gpaOf(4));
  },
  'inside-tcs': (w) => {
    w.build(DEBUG_SECS);
    return rd(w, gpaOf(1) + 72);
  },
  debug: (w) => {
    w.build();
    return rd(w, gpaOf(4));
  },
});

runCases(EDBGWR_CHECKS, {
  'address-aligned': (w) => wr(w, gpaOf(4) + 4),
  'page-in-epc': (w) => wr(w, 0x3000),
  'page-owned': (w) => wr(w, gpaOf(50)),
  'page-valid': (w) => wr(w, gpaOf(4)),
  'page-type': (w) => {
    w.build(DEBUG_SECS);
    w.s.epcm.setBits(4, PT_TRIM << EPCM_PT_SHIFT);
    return wr(w, gpaOf(4));
  },
  'page-settled': (w) => {
    w.build(DEBUG_SECS);
    setBits(w, 4, EPCM_MODIFIED);
    return wr(w, gpaOf(4));
  },
  'tcs-flags': (w) => {
    w.build(DEBUG_SECS);
    return wr(w, gpaOf(1) + 16);
  },
  debug: (w) => {
    w.build();
    return wr(w, gpaOf(4));
  },
  'tcs-idle': (w) => {
    w.running(DEBUG_SECS).running.enter(0);
    return wr(w, gpaOf(1) + 8, 1n);
  },
  'memory-available': (w) => {
    w.build(DEBUG_SECS).memory.write = () => {
      throw new FakeOsError('no memory');
    };
    return wr(w, gpaOf(4));
  },
});

const info = (w: World, gpa: number, at: number = AT.OUT) => erdinfo(w.s, w.owner, at, gpa);

runCases(ERDINFO_CHECKS, {
  'rdinfo-aligned': (w) => info(w, gpaOf(4), AT.OUT + 8),
  'page-aligned': (w) => info(w, gpaOf(4) + 8),
  'page-in-epc': (w) => info(w, 0x3000),
  'page-owned': (w) => info(w, gpaOf(50)),
  'page-valid': (w) => info(w, gpaOf(4)),
  'rdinfo-writable': (w) => {
    w.build();
    return info(w, gpaOf(4), gpaOf(4));
  },
});

let entropy = true;

runCasesIn(
  () => {
    entropy = true;
    const fill = (bytes: Uint8Array) => entropy && bytes.fill(1).length > 0;
    const w = new PagingWorld({}, new PageCipher(fill));
    must(w.remove(VA));
    return w;
  },
  EUPDATESVN_CHECKS,
  {
    'epc-unused': (w) => {
      must(w.va());
      return eupdatesvn(w.s);
    },
    entropy: (w) => {
      entropy = false;
      return eupdatesvn(w.s);
    },
    'svn-newer': (w) => eupdatesvn(w.s),
  },
);

test('EDBGRD and EDBGWR move eight bytes, whatever the EPCM allows', () => {
  const w = new PagingWorld();
  const { running } = w.running(DEBUG_SECS);
  assert.equal(wr(w, gpaOf(5) + 8, 0xfedc_ba98_7654_3210n), DONE);
  assert.deepEqual(rd(w, gpaOf(5) + 8).output, 0xfedc_ba98_7654_3210n);
  assert.deepEqual(rd(w, gpaOf(5)).output, 0n);
  assert.deepEqual(running.unmapped, [], 'data is seen at once');
  // Code may have been patched: the processor has to look at it again.
  must(wr(w, gpaOf(6), 0x90n));
  assert.deepEqual([running.unmapped, running.rights.get(0x6000)], [[[0x6000, 4096]], 'rx']);
});

test('EDBGRD tells of a version slot only whether it is occupied', () => {
  const w = new PagingWorld();
  w.build();
  w.out(4, 1);
  assert.deepEqual([rd(w, gpaOf(VA)).output, rd(w, gpaOf(VA) + 8).output], [0n, 0xffff_ffff_ffff_ffffn]);
});

test('EDBGRD of a TCS shows STATE and CSSA of now; EDBGWR of FLAGS reaches the thread', () => {
  const w = new PagingWorld();
  const { running } = w.running(DEBUG_SECS);
  running.threads[0]!.cssa = 1;
  assert.equal(rd(w, gpaOf(1) + 24).output, 1n | (2n << 32n));
  assert.equal(rd(w, gpaOf(1)).output, 0n);
  running.enter(0);
  assert.equal(rd(w, gpaOf(1)).output, 1n);
  assert.equal(tripped(wr(w, gpaOf(1) + 8, 1n)), 'EDBGWR.tcs-idle');
  assert.equal(running.admitted[0], true, 'a refused write leaves the thread admitted');
  running.enter(0, false);
  must(wr(w, gpaOf(1) + 8, 1n));
  assert.deepEqual([running.threads[0]!.start?.debugOptIn, running.threads[0]!.cssa], [true, 1]);
  assert.deepEqual([rd(w, gpaOf(1) + 8).output, running.admitted[0]], [1n, true]);
  must(wr(w, gpaOf(1) + 8, 4n));
  assert.equal(running.admitted[0], false, 'reserved flags: EENTER refuses');
  must(wr(w, gpaOf(1) + 8, 0n));
  assert.equal(running.admitted[0], true);
});

test('ERDINFO gives the EPCM entry, the SECS as context, and children', () => {
  const w = new PagingWorld();
  w.build();
  must(w.block(4));
  const read = (gpa: number) => {
    must(info(w, gpa));
    return [0, 8, 16].map((at) => readU64(w.machine.ram, AT.OUT + at));
  };
  const context = BigInt(gpaOf(0));
  assert.deepEqual(read(gpaOf(4)), [0n, BigInt(REG_RW) | (1n << 63n), context]);
  assert.deepEqual(read(gpaOf(1)), [0n, 0x100n, context]);
  assert.deepEqual(read(gpaOf(0)), [1n, 0n, context]);
  assert.deepEqual(read(gpaOf(VA)), [0n, 0x300n, 0n]);
  assert.deepEqual([info(w, 0x3000).flags, info(w, gpaOf(9)).flags], [FLAG_CF, FLAG_CF]);
  for (let frame = 6; frame >= 1; frame--) must(w.remove(frame));
  assert.deepEqual(read(gpaOf(0)), [0n, 0n, context]);
});

test('EUPDATESVN renews the page key', () => {
  const w = new PagingWorld();
  w.build();
  w.out(4, 1);
  const before = w.saved(1);
  for (const frame of [1, 2, 3, 5, 6, 0, VA]) must(w.remove(frame));
  assert.equal(tripped(eupdatesvn(w.s)), 'EUPDATESVN.svn-newer');
  const out = new Uint8Array(4096).fill(1);
  const opened = w.s.pageCipher.open(8, new Uint8Array(128), before.contents, out, before.pcmd.subarray(112));
  assert.equal(opened, false);
  assert.deepEqual(out, new Uint8Array(4096));
  assert.equal(eupdatesvn(w.s).flags, FLAG_ZF);
});

test('blocked pages are debugged all the same', () => {
  const w = new PagingWorld();
  w.build(DEBUG_SECS);
  setBits(w, 4, EPCM_BLOCKED);
  assert.equal(rd(w, gpaOf(4)).kind, 'done');
  assert.equal(BASE, w.enclave().base);
});
