import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EnclaveMeasurement, PT_REG, PT_TCS, secinfoBytes, TCS } from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import { EADD_CHECKS, eadd } from '../src/encls/eadd.js';
import { EEXTEND_CHECKS, eextend } from '../src/encls/eextend.js';
import type { Case } from './support/cases.js';
import { runCases } from './support/cases.js';
import {
  AT,
  BASE,
  GOOD_SECS,
  gpaOf,
  must,
  REG_RW,
  SIZE,
  TCS_FLAGS,
  tcsPage,
  tripped,
  World,
} from './support/world.js';

/** Good EADD operands with an enclave at frame 0, changed before the leaf runs. */
function changed(w: World, change: () => void, rbx: number = AT.PAGEINFO, rcx = gpaOf(1)) {
  must(w.create());
  w.secinfo(REG_RW);
  w.pageinfo(BASE, AT.PAGE, AT.SECINFO, gpaOf(0));
  change();
  return eadd(w.s, w.owner, rbx, rcx);
}
const nothing = () => {};
const created =
  (run: Case): Case =>
  (w) => {
    must(w.create());
    return run(w);
  };

runCases(EADD_CHECKS, {
  'pageinfo-aligned': (w) => changed(w, nothing, AT.PAGEINFO + 8),
  'page-aligned': (w) => changed(w, nothing, AT.PAGEINFO, gpaOf(1) + 256),
  'page-in-epc': (w) => changed(w, nothing, AT.PAGEINFO, 0x9000),
  'page-owned': created((w) => w.add(50, BASE)),
  'pageinfo-readable': (w) => changed(w, nothing, 0x1000_0000),
  'sources-aligned': (w) => changed(w, () => w.pageinfo(BASE + 1, AT.PAGE, AT.SECINFO, gpaOf(0))),
  'secs-in-epc': (w) => changed(w, () => w.pageinfo(BASE, AT.PAGE, AT.SECINFO, 0x9000)),
  'secs-owned': (w) => {
    must(w.create(GOOD_SECS, 50, w.other));
    return w.add(1, BASE, REG_RW, 1, 50);
  },
  'secinfo-readable': (w) => changed(w, () => w.pageinfo(BASE, AT.PAGE, 0x1000_0000, gpaOf(0))),
  'secinfo-valid': created((w) => w.add(1, BASE, 0x303)),
  'epc-page-free': created((w) => w.add(0, BASE)),
  'secs-valid': (w) => w.add(1, BASE),
  'source-readable': (w) => changed(w, () => w.machine.denied.add(AT.PAGE / 4096)),
  'tcs-reserved-zero': created((w) => {
    const page = tcsPage();
    page[4000] = 1;
    return w.add(1, BASE, TCS_FLAGS, page);
  }),
  'tcs-limits-32': (w) => {
    must(w.create({ ...GOOD_SECS, ATTRIBUTES: { FLAGS: 0n, XFRM: 3n } }));
    return w.add(1, BASE, TCS_FLAGS, tcsPage({ GSLIMIT: 0xffe }));
  },
  'write-needs-read': created((w) => w.add(1, BASE, 0x202)),
  'linaddr-in-elrange': created((w) => w.add(1, BASE + SIZE)),
  'not-initialized': (w) => {
    w.running();
    return w.add(10, BASE + 0x8000);
  },
  'linaddr-free': created((w) => {
    must(w.add(1, BASE));
    return w.add(2, BASE);
  }),
  'thread-limit': () => {
    const w = new World({ maxThreads: 1 });
    must(w.create());
    must(w.add(1, BASE, TCS_FLAGS, tcsPage()));
    return w.add(2, BASE + 4096, TCS_FLAGS, tcsPage());
  },
  'memory-available': created((w) => {
    w.processor.memories[0].write = () => {
      throw Object.assign(new Error('full'), { code: 'ENOSPC' });
    };
    return w.add(1, BASE);
  }),
});

const extendable =
  (run: Case): Case =>
  (w) => {
    must(w.create());
    must(w.add(1, BASE));
    return run(w);
  };
runCases(EEXTEND_CHECKS, {
  'secs-aligned': extendable((w) => eextend(w.s, w.owner, gpaOf(0) + 8, gpaOf(1))),
  'secs-in-epc': extendable((w) => eextend(w.s, w.owner, 0x9000, gpaOf(1))),
  'secs-owned': extendable((w) => w.extend(1, 0, 50)),
  'chunk-aligned': extendable((w) => eextend(w.s, w.owner, gpaOf(0), gpaOf(1) + 8)),
  'chunk-in-epc': extendable((w) => eextend(w.s, w.owner, gpaOf(0), 0x9000)),
  'chunk-owned': extendable((w) => w.extend(50)),
  'page-valid': extendable((w) => w.extend(2)),
  'page-type': extendable((w) => w.extend(0)),
  'secs-matches': extendable((w) => {
    must(w.create(GOOD_SECS, 9));
    return w.extend(1, 0, 9);
  }),
  'not-initialized': (w) => {
    w.running();
    return w.extend(4);
  },
});

test('EADD measures, copies and enters the page in the EPCM', () => {
  const w = new World();
  must(w.create());
  must(w.add(1, BASE + 0x3000, REG_RW, 0xab));
  must(w.extend(1, 3));
  const enclave = w.enclave();
  const m = new EnclaveMeasurement(nodeHash);
  m.ecreate(1, BigInt(SIZE));
  m.eadd(0x3000n, secinfoBytes(REG_RW));
  m.eextend(0x3300n, new Uint8Array(256).fill(0xab));
  assert.deepEqual(enclave.measurement.digest(), m.digest());
  assert.deepEqual(enclave.memory.read(0x3000, 4096), new Uint8Array(4096).fill(0xab));
  const { epcm } = w.s;
  assert.deepEqual(
    [epcm.type(1), epcm.bits(1) & 7, epcm.secs(1), epcm.address(1), enclave.children],
    [PT_REG, 3, 0, BASE + 0x3000, 1],
  );
});

test('EADD of a TCS clears STATE, DBGOPTIN, CSSA and AEP before anything is measured, and takes its rights', () => {
  const w = new World();
  must(w.create());
  must(w.add(1, BASE, TCS_FLAGS | 7, tcsPage({ STATE: 1n, FLAGS: 1n, CSSA: 3, AEP: 0x1234n })));
  must(w.extend(1));
  const stored = TCS.decode(w.enclave().memory.read(0, 4096));
  assert.deepEqual([stored.STATE, stored.FLAGS, stored.CSSA, stored.AEP, stored.NSSA], [0n, 0n, 0, 0n, 2]);
  assert.deepEqual([w.s.epcm.type(1), w.s.epcm.bits(1) & 7], [PT_TCS, 0]);
  const m = new EnclaveMeasurement(nodeHash);
  m.ecreate(1, BigInt(SIZE));
  m.eadd(0n, secinfoBytes(TCS_FLAGS));
  m.eextend(0n, tcsPage().subarray(0, 256));
  assert.deepEqual(w.enclave().measurement.digest(), m.digest());
});

test('a source that changes after EADD changes nothing in the enclave', () => {
  const w = new World();
  must(w.create());
  must(w.add(1, BASE, REG_RW, 0x11));
  w.machine.ram.fill(0x22, AT.PAGE, AT.PAGE + 4096);
  assert.equal(w.enclave().memory.read(0, 1)[0], 0x11);
});

test('a source in the EPC is refused: the monitor is no confused deputy', () => {
  const w = new World();
  must(w.create());
  w.secinfo(REG_RW);
  w.pageinfo(BASE, gpaOf(0), AT.SECINFO, gpaOf(0));
  assert.equal(tripped(eadd(w.s, w.owner, AT.PAGEINFO, gpaOf(1))), 'EADD.source-readable');
  w.pageinfo(BASE, AT.PAGE, gpaOf(0), gpaOf(0));
  assert.equal(tripped(eadd(w.s, w.owner, AT.PAGEINFO, gpaOf(1))), 'EADD.secinfo-readable');
});
