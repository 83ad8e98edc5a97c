import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PT_TRIM, type StructInit, type Tcs } from '@nestedsgx/arch';
import { EACCEPT_CHECKS, eaccept } from '../src/enclu/eaccept.js';
import { EACCEPTCOPY_CHECKS } from '../src/enclu/eacceptcopy.js';
import { EMODPE_CHECKS } from '../src/enclu/emodpe.js';
import { EVERIFYREPORT2_CHECKS } from '../src/enclu/everifyreport2.js';
import { EPCM_BLOCKED, encluLeaf } from '../src/index.js';
import { type Case, runCases } from './support/cases.js';
import {
  accept,
  acceptCopy,
  augment,
  extend,
  grown,
  modifyType,
  NEW_PAGE,
  NEW_TCS,
  putSecinfo,
  restrict,
  SECINFO_AT,
  TRIMMED,
  track,
} from './support/sgx2.js';
import { BASE, GOOD_SECS, must, REG_R, SIZE, TCS_FLAGS, tcsPage, tripped, World } from './support/world.js';

const FREE = BASE + 0x8000;
const HOLE = BASE + 0x9000;

/** A running enclave with an augmented page in frame 10. */
const pending =
  (run: Case): Case =>
  (w) => {
    w.running();
    must(augment(w, 10, FREE));
    return run(w);
  };
const block = (w: World, frame: number) => w.s.epcm.setBits(frame, w.s.epcm.bits(frame) | EPCM_BLOCKED);

/** EACCEPT of a page that became a TCS with these fields, in an enclave with these flags. */
function becomesTcs(w: World, fields: StructInit<Tcs>, flags = 4n, page = tcsPage(fields)) {
  const { enclave } = w.running({ ...GOOD_SECS, ATTRIBUTES: { FLAGS: flags, XFRM: 3n } });
  grown(w, 10, FREE);
  enclave.memory.write(0x8000, page);
  must(modifyType(w, 10, TCS_FLAGS));
  track(w);
  return accept(w, FREE, NEW_TCS);
}

runCases(EACCEPT_CHECKS, {
  'secinfo-aligned': pending((w) => accept(w, FREE, NEW_PAGE, SECINFO_AT + 8)),
  'secinfo-in-elrange': pending((w) => accept(w, FREE, NEW_PAGE, BASE + SIZE)),
  'secinfo-in-epc': pending((w) => accept(w, FREE, NEW_PAGE, HOLE)),
  'secinfo-page': pending((w) => accept(w, FREE, NEW_PAGE, FREE)),
  'secinfo-reserved-zero': pending((w) => accept(w, FREE, NEW_PAGE | 0x80)),
  'page-aligned': pending((w) => accept(w, FREE + 64)),
  'page-in-elrange': pending((w) => accept(w, BASE - 4096)),
  'page-in-epc': pending((w) => accept(w, HOLE)),
  'request-legal': pending((w) => accept(w, FREE, 0x203)),
  'page-usable': pending((w) => {
    block(w, 10);
    return accept(w, FREE);
  }),
  'request-matches': pending((w) => accept(w, FREE, 0x20f)),
  tracked: (w) => {
    w.running();
    must(restrict(w, 5, REG_R));
    return accept(w, BASE + 0x5000, 0x221);
  },
  'tcs-reserved-zero': (w) => {
    const page = tcsPage();
    page[4095] = 1;
    return becomesTcs(w, {}, 4n, page);
  },
  'tcs-initial': (w) => becomesTcs(w, { CSSA: 2 }),
  'tcs-limits-32': (w) => becomesTcs(w, { GSLIMIT: 0xffe }, 0n),
});

test('every unclean field of a TCS is refused', () => {
  for (const fields of [{ FLAGS: 1n }, { AEP: 1n }, { STATE: 1n }, { NSSA: 0 }] as const)
    assert.equal(tripped(becomesTcs(new World(), fields)), 'EACCEPT.tcs-initial');
  for (const fields of [{ FLAGS: 4n }, { OCETSSA: 1n }, { PREVSSP: 1n }] as const)
    assert.equal(tripped(becomesTcs(new World(), fields)), 'EACCEPT.tcs-reserved-zero');
});

test('the legal requests of EACCEPT are the manual’s, of all combinations', () => {
  const w = new World();
  w.running();
  for (let type = 0; type < 8; type++) {
    for (let state = 0; state < 8; state++) {
      putSecinfo(w, (type << 8) | (state << 3));
      const check = tripped(eaccept(w.s, w.enclave(), SECINFO_AT, BASE + 0x5000));
      const [isPending, modified, pr] = [state & 1, state & 2, state & 4];
      const regular = type === 2 && modified === 0 && (isPending || pr);
      const other = (type === 1 || type === 4) && modified !== 0 && !isPending && !pr;
      assert.equal(check !== 'EACCEPT.request-legal', Boolean(regular || other), `PT ${type} state ${state}`);
    }
  }
});

test('EACCEPT must name exactly what the EPCM has', () => {
  const w = new World();
  w.running();
  must(augment(w, 10, FREE));
  for (const flags of [0x20a, 0x209, 0x20f, 0x223, 0x110, 0x410])
    assert.equal(tripped(accept(w, FREE, flags)), 'EACCEPT.request-matches');
  must(accept(w, FREE));
});

test('an accepted page is zero, mapped, and no longer pending', () => {
  const w = new World();
  const { enclave, running } = w.running();
  must(augment(w, 10, FREE));
  assert.equal(running.rights.has(0x8000), false);
  must(accept(w, FREE));
  assert.deepEqual([running.rights.get(0x8000), w.s.epcm.bits(10) & 0x3f], ['rw', 3]);
  assert.deepEqual(enclave.memory.read(0x8000, 4096), new Uint8Array(4096));
});

test('a restriction is accepted when tracking is done, with what it left', () => {
  const w = new World();
  const { running } = w.running();
  running.enter(0);
  must(restrict(w, 4, REG_R));
  assert.equal(tripped(accept(w, BASE + 0x4000, 0x223)), 'EACCEPT.request-matches');
  assert.equal(accept(w, BASE + 0x4000, 0x221).rax, 11);
  track(w);
  assert.equal(accept(w, BASE + 0x4000, 0x221).rax, 11, 'a thread of before is inside');
  running.enter(0, false);
  running.enter(0);
  must(accept(w, BASE + 0x4000, 0x221));
  assert.deepEqual([running.rights.get(0x4000), w.s.epcm.bits(4) & 0x3f], ['r', 1]);
});

/** EMODPE's case on frame 5, a read-only page. */
const READ_ONLY = BASE + 0x5000;
const run =
  (linaddr: number, flags: number, rbx = SECINFO_AT): Case =>
  (w) => {
    w.running();
    return extend(w, linaddr, flags, rbx);
  };
runCases(EMODPE_CHECKS, {
  'secinfo-aligned': run(READ_ONLY, 3, SECINFO_AT + 16),
  'page-aligned': run(READ_ONLY + 8, 3),
  'operands-in-elrange': run(BASE + SIZE, 3),
  'secinfo-in-epc': run(READ_ONLY, 3, HOLE),
  'page-in-epc': run(HOLE, 3),
  'secinfo-page': run(READ_ONLY, 3, BASE + 0x1000),
  'secinfo-reserved-zero': run(READ_ONLY, 0x43),
  'page-settled': pending((w) => extend(w, FREE, 7)),
  'write-needs-read': (w) => {
    w.running();
    must(restrict(w, 5, 0x200));
    return extend(w, READ_ONLY, 2);
  },
});

test('EMODPE adds rights, within what the guest’s page table allows', () => {
  const w = new World();
  const { running } = w.running();
  must(extend(w, READ_ONLY, 2));
  assert.deepEqual([running.rights.get(0x5000), w.s.epcm.bits(5) & 7], ['rw', 3]);
  w.s.epcm.setPte(5, 3);
  must(extend(w, READ_ONLY, 4));
  assert.deepEqual([running.rights.get(0x5000), w.s.epcm.bits(5) & 7], ['rw', 7]);
});

test('EMODPE does not care for type and state in SECINFO, but for TCS and blocked pages', () => {
  const w = new World();
  w.running();
  must(extend(w, READ_ONLY, 0x13a));
  assert.equal(tripped(extend(w, BASE + 0x1000, 1)), 'EMODPE.page-settled');
  block(w, 6);
  assert.equal(tripped(extend(w, BASE + 0x6000, 2)), 'EMODPE.page-settled');
});

const SOURCE = BASE + 0x6000;
const copies =
  (linaddr: number, source: number, flags = 0x203, rbx = SECINFO_AT): Case =>
  (w) =>
    pending((world) => acceptCopy(world, linaddr, source, flags, rbx))(w);
runCases(EACCEPTCOPY_CHECKS, {
  'secinfo-aligned': copies(FREE, SOURCE, 0x203, SECINFO_AT + 8),
  'pages-aligned': copies(FREE, SOURCE + 8),
  'operands-in-elrange': copies(FREE, BASE - 4096),
  'secinfo-in-epc': copies(FREE, SOURCE, 0x203, HOLE),
  'page-in-epc': copies(HOLE, SOURCE),
  'source-in-epc': copies(FREE, HOLE),
  'secinfo-page': copies(FREE, SOURCE, 0x203, FREE),
  'secinfo-valid': copies(FREE, SOURCE, 0x202),
  'source-page': copies(FREE, BASE + 0x1000),
  'page-pending': copies(BASE + 0x5000, SOURCE),
});

test('EACCEPTCOPY copies, gives the rights asked for and maps', () => {
  const w = new World();
  const { enclave, running } = w.running();
  enclave.memory.write(0x6000, new Uint8Array(4096).fill(0x90));
  must(augment(w, 10, FREE));
  for (const flags of [0x205 | 0x40, 0x105, 0x405])
    assert.equal(tripped(acceptCopy(w, FREE, SOURCE, flags)), 'EACCEPTCOPY.secinfo-valid');
  must(acceptCopy(w, FREE, SOURCE, 0x205));
  assert.deepEqual([running.rights.get(0x8000), w.s.epcm.bits(10) & 0x3f], ['rx', 5]);
  assert.deepEqual(enclave.memory.read(0x8000, 4096), new Uint8Array(4096).fill(0x90));
  assert.equal(acceptCopy(w, FREE, SOURCE, 0x205).rax, 19);
});

runCases(EVERIFYREPORT2_CHECKS, {
  enumerated: (w) => {
    w.running();
    return encluLeaf(8)!.execute!(w.s, w.enclave(), 0, 0, 0);
  },
});

test('trimming: out of reach at once, accepted after tracking, removable with threads inside', () => {
  const w = new World();
  const { enclave, running } = w.running();
  enclave.memory.write(0x4000, new Uint8Array(16).fill(9));
  grown(w, 10, FREE);
  enclave.memory.write(0x8000, new Uint8Array(16).fill(9));
  running.enter(0);
  must(modifyType(w, 10, PT_TRIM << 8));
  assert.equal(running.rights.has(0x8000), false);
  assert.equal(accept(w, FREE, TRIMMED).rax, 11);
  assert.equal(w.remove(10).rax, 14, 'not accepted yet');
  track(w);
  running.enter(0, false);
  running.enter(0);
  must(accept(w, FREE, TRIMMED));
  assert.equal(tripped(accept(w, FREE, TRIMMED)), 'EACCEPT.request-matches');
  must(w.remove(10));
  assert.equal(running.frozen, false);
  assert.deepEqual(enclave.memory.read(0x8000, 16), new Uint8Array(16));
  assert.equal(w.remove(4).rax, 14);
});
