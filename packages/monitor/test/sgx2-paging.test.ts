/** Pages that change while they are evicted or reloaded: SGX2 and paging together. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PT_TRIM } from '@nestedsgx/arch';
import { checkInvariants, EPCM_MODIFIED, EPCM_PENDING, EPCM_PR } from '../src/index.js';
import { slotAt } from '../src/state/threads.js';
import { PagingWorld } from './support/paging-world.js';
import { accept, augment, grown, modifyType, NEW_TCS, restrict, TRIMMED } from './support/sgx2.js';
import { AT, BASE, must, REG_R, TCS_FLAGS, tcsPage, tripped } from './support/world.js';

const PAGE = BASE + 0x8000;

/** An enclave with one TCS and `gates` gates. */
function world(gates = 2) {
  const w = new PagingWorld();
  const enclave = w.build();
  enclave.gates = { gpa: AT.GATES, count: gates };
  must(w.init());
  return { w, enclave, running: w.processor.running[0] };
}
const consistent = (w: PagingWorld) => checkInvariants(w.s, [w.owner, w.other]);

test('a pending page stays pending in guest memory, and is accepted when it is back', () => {
  const { w, running } = world();
  must(augment(w, 10, PAGE));
  w.out(10, 0);
  assert.equal(accept(w, PAGE).vector, 14);
  must(w.eld(11, 0, PAGE));
  assert.equal(w.s.epcm.bits(11) & 0x3f, 3 | EPCM_PENDING);
  assert.equal(running.rights.has(0x8000), false);
  must(accept(w, PAGE));
  assert.equal(running.rights.get(0x8000), 'rw');
  consistent(w);
});

test('a restriction that was not accepted is still there after a reload', () => {
  const { w, running } = world();
  must(restrict(w, 4, REG_R));
  w.out(4, 0);
  must(w.eld(12, 0, BASE + 0x4000));
  assert.deepEqual([w.s.epcm.bits(12) & 0x3f, running.rights.get(0x4000)], [1 | EPCM_PR, 'r']);
  must(accept(w, BASE + 0x4000, 0x221));
  consistent(w);
});

test('a page on its way to a TCS may travel; it gets its slot when it is accepted', () => {
  const { w, enclave, running } = world();
  grown(w, 10, PAGE);
  enclave.memory.write(0x8000, tcsPage({ OSSA: 0x3000n, NSSA: 1 }));
  must(modifyType(w, 10, TCS_FLAGS));
  w.out(10, 0);
  must(w.eld(13, 0, PAGE));
  assert.deepEqual([slotAt(enclave, 0x8000), w.s.epcm.bits(13) & EPCM_MODIFIED], [-1, EPCM_MODIFIED]);
  must(accept(w, PAGE, NEW_TCS));
  assert.deepEqual([slotAt(enclave, 0x8000), running.admitted[1]], [1, true]);
  consistent(w);
});

test('a TCS gives its gate up while it is evicted, gets it back, and goes on where it was', () => {
  const { w, enclave, running } = world();
  grown(w, 10, PAGE);
  enclave.memory.write(0x8000, tcsPage({ OSSA: 0x2000n, NSSA: 2 }));
  must(modifyType(w, 10, TCS_FLAGS));
  must(w.track());
  must(accept(w, PAGE, NEW_TCS));
  running.threads[0].cssa = 1;
  w.out(1, 0);
  assert.deepEqual([enclave.tcs[0], running.threads[0].start, running.admitted], [null, null, [false, true]]);
  consistent(w);
  must(w.eld(14, 0, BASE + 0x1000));
  assert.deepEqual([slotAt(enclave, 0x1000), running.threads[0].cssa], [0, 1]);
  assert.deepEqual(running.admitted, [true, true]);
  consistent(w);
});

test('an evicted TCS whose gate was given away waits until one is free', () => {
  const { w, enclave, running } = world(1);
  w.out(1, 0);
  grown(w, 10, PAGE);
  enclave.memory.write(0x8000, tcsPage({ OSSA: 0x3000n, NSSA: 1 }));
  must(modifyType(w, 10, TCS_FLAGS));
  must(w.track());
  must(accept(w, PAGE, NEW_TCS));
  must(w.eld(14, 0, BASE + 0x1000));
  assert.deepEqual([slotAt(enclave, 0x8000), slotAt(enclave, 0x1000)], [0, -1]);
  assert.equal(running.threads[0].start?.tcsOffset, 0x8000);
  consistent(w);
});

test('a trimmed TCS may travel too; what comes back has no gate and can be removed', () => {
  const { w, enclave, running } = world();
  must(modifyType(w, 1, PT_TRIM << 8));
  w.out(1, 0);
  must(w.eld(15, 0, BASE + 0x1000));
  assert.equal(slotAt(enclave, 0x1000), -1);
  must(accept(w, BASE + 0x1000, TRIMMED));
  running.enter(1);
  must(w.remove(15));
  consistent(w);
});

test('a blocked page is neither accepted nor extended, whatever it waits for', () => {
  const { w } = world();
  must(augment(w, 10, PAGE));
  must(w.block(10));
  assert.equal(tripped(accept(w, PAGE)), 'EACCEPT.page-usable');
  must(modifyType(w, 4));
  must(w.block(4));
  assert.equal(tripped(modifyType(w, 4, TCS_FLAGS)), 'EMODT.page-type');
});

test('a page that was evicted can be augmented anew; the old one does not come back over it', () => {
  const { w } = world();
  w.out(5, 0);
  must(augment(w, 10, BASE + 0x5000));
  assert.equal(tripped(w.eld(16, 0, BASE + 0x5000)), 'ELDU.linaddr-free');
  consistent(w);
});
