import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EnclaveMeasurement, SECS } from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import { ECREATE_CHECKS, ecreate } from '../src/encls/ecreate.js';
import { runCases } from './support/cases.js';
import { AT, BASE, GOOD_SECS, gpaOf, must, World } from './support/world.js';

const deny = (w: World, gpa: number) => w.machine.denied.add(Math.floor(gpa / 4096));

/** The good operands, changed before the leaf runs. */
function changed(w: World, change: (w: World) => void, rbx: number = AT.PAGEINFO, rcx = gpaOf(0)) {
  SECS.encodeInto(GOOD_SECS, w.machine.ram, AT.SECS);
  w.secinfo(0);
  w.pageinfo(0, AT.SECS, AT.SECINFO, 0);
  change(w);
  return ecreate(w.s, w.owner, rbx, rcx);
}
const nothing = () => {};
const flags = (f: bigint, xfrm = 3n) => ({ ...GOOD_SECS, ATTRIBUTES: { FLAGS: f, XFRM: xfrm } });

runCases(ECREATE_CHECKS, {
  'pageinfo-aligned': (w) => changed(w, nothing, AT.PAGEINFO + 16),
  'secs-page-aligned': (w) => changed(w, nothing, AT.PAGEINFO, gpaOf(0) + 64),
  'secs-page-in-epc': (w) => changed(w, nothing, AT.PAGEINFO, 0x5000),
  'secs-page-owned': (w) => w.create(GOOD_SECS, 50),
  'pageinfo-readable': (w) => changed(w, nothing, 0x1000_0000),
  'sources-aligned': (w) => changed(w, () => w.pageinfo(0, AT.SECS + 64, AT.SECINFO, 0)),
  'linaddr-secs-zero': (w) => changed(w, () => w.pageinfo(4096, AT.SECS, AT.SECINFO, 0)),
  'secinfo-readable': (w) => changed(w, () => w.pageinfo(0, AT.SECS, 0x1000_0000, 0)),
  'secinfo-valid': (w) => changed(w, () => w.secinfo(0x100)),
  'epc-page-free': (w) => {
    must(w.create());
    return w.create();
  },
  'source-readable': (w) => changed(w, () => deny(w, AT.SECS)),
  'xfrm-legacy': (w) => w.create(flags(4n, 1n)),
  'xfrm-legal': (w) => w.create(flags(4n, 0xe3n)),
  'cet-zero': (w) => w.create({ ...GOOD_SECS, CET_ATTRIBUTES: 1 }),
  'miscselect-supported': (w) => w.create({ ...GOOD_SECS, MISCSELECT: 2 }),
  'ssaframe-large-enough': (w) => w.create({ ...GOOD_SECS, SSAFRAMESIZE: 0 }),
  'base-canonical': (w) => w.create({ ...GOOD_SECS, BASEADDR: 0x8000_0000_0000n }),
  'base-below-4g': (w) => w.create({ ...flags(0n), BASEADDR: 0x1_0000_0000n }),
  'size-limit-32': (w) => w.create({ ...flags(0n), BASEADDR: 0n, SIZE: 0x1_0000_0000n }),
  'size-limit-64': (w) => w.create({ ...GOOD_SECS, BASEADDR: 0n, SIZE: 1n << 40n }),
  'size-power-of-two': (w) => w.create({ ...GOOD_SECS, SIZE: 0x3000n }),
  'base-aligned': (w) => w.create({ ...GOOD_SECS, BASEADDR: BigInt(BASE + 0x1000) }),
  'attributes-supported': (w) => w.create(flags(5n)),
  'secs-reserved-zero': (w) =>
    changed(w, () => {
      w.machine.ram[AT.SECS + 300] = 1;
    }),
  'kss-fields': (w) => w.create({ ...GOOD_SECS, CONFIGSVN: 1 }),
  'enclave-limit': () => {
    const small = new World({ maxEnclaves: 1 });
    must(small.create());
    return small.create(GOOD_SECS, 1);
  },
  'memory-available': (w) => {
    w.processor.failMemory = true;
    return w.create();
  },
});

test('ECREATE leaves an uninitialized SECS, whatever the source claims', () => {
  const w = new World();
  must(
    w.create({
      ...GOOD_SECS,
      MRENCLAVE: new Uint8Array(32).fill(1),
      MRSIGNER: new Uint8Array(32).fill(2),
      ISVSVN: 9,
      ISVPRODID: 8,
    }),
  );
  const enclave = w.enclave();
  const secs = SECS.decode(enclave.secs);
  assert.deepEqual([secs.MRENCLAVE, secs.MRSIGNER], [new Uint8Array(32), new Uint8Array(32)]);
  assert.deepEqual([secs.ISVSVN, secs.ISVPRODID, enclave.initialized], [0, 0, false]);
  const m = new EnclaveMeasurement(nodeHash);
  m.ecreate(1, BigInt(enclave.size));
  assert.deepEqual(enclave.measurement.digest(), m.digest());
});

test('addresses of 2^53 and more are refused', () => {
  const w = new World();
  assert.notEqual(changed(w, nothing, 2 ** 60).kind, 'done');
  assert.notEqual(changed(w, nothing, AT.PAGEINFO, 2 ** 60).kind, 'done');
  assert.equal(w.s.epcm.validCount, 0);
});

test('SSAFRAMESIZE must hold XSAVE of every enabled component', () => {
  const avx512 = { ...GOOD_SECS, MISCSELECT: 1, ATTRIBUTES: { FLAGS: 4n, XFRM: 0xe7n } };
  must(new World().create(avx512));
  const layout = { xsave: { 0: 576, 1: 576, 2: 832, 5: 1152, 6: 1664, 7: 4096 - 199 } };
  assert.equal(new World(layout).create(avx512).kind, 'fault');
  must(new World(layout).create({ ...avx512, SSAFRAMESIZE: 2 }));
});

test('half of the enclaves are one guest’s at most', () => {
  const w = new World({ maxEnclaves: 4 });
  must(w.create(GOOD_SECS, 0));
  must(w.create(GOOD_SECS, 1));
  assert.equal(w.create(GOOD_SECS, 2).kind, 'refused');
  must(w.create(GOOD_SECS, 50, w.other));
  must(w.create(GOOD_SECS, 51, w.other));
  assert.equal(w.create(GOOD_SECS, 52, w.other).kind, 'refused');
  must(w.remove(0));
  must(w.create(GOOD_SECS, 2));
});
