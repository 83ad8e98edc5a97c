import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PT_TRIM, type StructInit, SVSM_PROTOCOL_SGX, TCS, type Tcs } from '@nestedsgx/arch';
import { checkInvariants, type EnclaveRecord } from '../src/index.js';
import { bindTcs, claimSlot, composeTcs, slotAt, slotOf, unbindTcs } from '../src/state/threads.js';
import { sgxCall } from '../src/svsm/sgx.js';
import { callOf, type FakeRunning } from './support/fake-machine.js';
import { accept, augment, grown, modifyType, NEW_TCS, TRIMMED, track } from './support/sgx2.js';
import { AT, BASE, GOOD_SECS, gpaOf, must, TCS_FLAGS, tcsPage, World } from './support/world.js';

/** A running enclave with one TCS and this many gates. */
function withGates(count: number): { w: World; enclave: EnclaveRecord; running: FakeRunning } {
  const w = new World();
  const enclave = w.build();
  enclave.gates = { gpa: AT.GATES, count };
  must(w.init());
  return { w, enclave, running: w.processor.running[0] };
}

/** A TCS made at run time: EAUG, EACCEPT, contents, EMODT, ETRACK, EACCEPT. */
function addThread(w: World, frame: number, linaddr: number, fields: StructInit<Tcs> = {}): void {
  grown(w, frame, linaddr);
  w.enclave().memory.write(linaddr - BASE, tcsPage({ OSSA: 0x3000n, NSSA: 1, ...fields }));
  must(modifyType(w, frame, TCS_FLAGS));
  track(w);
  must(accept(w, linaddr, NEW_TCS));
}

const consistent = (w: World) => checkInvariants(w.s, [w.owner, w.other]);
const A = BASE + 0x8000;
const B = BASE + 0x9000;
const C = BASE + 0xa000;

test('a thread added at run time takes the next gate and can enter', () => {
  const { w, enclave, running } = withGates(3);
  assert.equal(running.threads.length, 3);
  assert.deepEqual(
    running.threads.map((t) => t.start?.tcsOffset ?? null),
    [0x1000, null, null],
  );
  addThread(w, 10, A, { OENTRY: 0x6010n });
  assert.deepEqual([slotOf(enclave, 10), slotAt(enclave, 0x8000)], [1, 1]);
  const { start, cssa } = running.threads[1];
  assert.deepEqual(
    [start?.tcsOffset, start?.ossa, start?.nssa, start?.oentry, cssa],
    [0x8000, 0x3000, 1, 0x6010, 0],
  );
  assert.deepEqual(running.admitted, [true, true]);
  consistent(w);
});

test('CSSA of a page that becomes a TCS counts', () => {
  const { w, running } = withGates(2);
  addThread(w, 10, A, { OSSA: 0x2000n, NSSA: 2, CSSA: 1 });
  assert.deepEqual([running.threads[1].cssa, running.threads[1].start?.nssa], [1, 2]);
});

test('slots are reused after EREMOVE of a trimmed TCS; the old address prefers its old slot', () => {
  const { w, enclave, running } = withGates(3);
  addThread(w, 10, A);
  addThread(w, 11, B);
  for (const [frame, linaddr] of [
    [10, A],
    [11, B],
  ] as const) {
    must(modifyType(w, frame, PT_TRIM << 8));
    track(w);
    must(accept(w, linaddr, TRIMMED));
    must(w.remove(frame));
  }
  assert.deepEqual([enclave.tcs[1], enclave.tcs[2]], [null, null]);
  assert.deepEqual(
    running.threads.slice(1).map((t) => t.start),
    [null, null],
  );
  assert.deepEqual(running.admitted, [true, false, false]);
  consistent(w);
  addThread(w, 20, B);
  assert.equal(slotOf(enclave, 20), 2);
  addThread(w, 21, C);
  assert.equal(slotOf(enclave, 21), 1);
  assert.deepEqual(running.admitted, [true, true, true]);
  consistent(w);
});

test('a TCS beyond the gates exists but cannot be entered until a gate is free', () => {
  const { w, enclave, running } = withGates(2);
  addThread(w, 10, A);
  addThread(w, 11, B);
  assert.deepEqual([slotOf(enclave, 11), claimSlot(w.s, enclave, 0x9000)], [-1, -1]);
  consistent(w);
  must(modifyType(w, 10));
  track(w);
  assert.equal(claimSlot(w.s, enclave, 0x8000), 1, 'EMODT leaves the slot until EREMOVE');
  must(w.remove(10));
  assert.equal(claimSlot(w.s, enclave, 0x9000), 1);
  assert.deepEqual([running.admitted[1], running.threads[1].start?.tcsOffset], [true, 0x9000]);
  for (const offset of [0x9001, -0x1000, 0x4000, 2 ** 40]) assert.equal(claimSlot(w.s, enclave, offset), -1);
});

test('ENCLAVE_STATUS tells the slot of a TCS by its linear address', () => {
  const { w } = withGates(2);
  addThread(w, 10, A);
  const ask = (tcs: number) => {
    const call = callOf(SVSM_PROTOCOL_SGX, 0x106, BigInt(gpaOf(0)), BigInt(tcs));
    const context = { s: w.s, owner: w.owner, call } as never;
    return sgxCall(0x106)!.handle(context, () => {});
  };
  assert.deepEqual(ask(0), { rax: 0, rcx: 1, rdx: 0, r8: 0 });
  assert.equal(ask(BASE + 0x1000).r8, 1);
  assert.equal(ask(A).r8, 2);
  for (const other of [B, A + 8, BASE + 0x4000, 1, 2 ** 60]) assert.equal(ask(other).r8, 0);
});

test('CSSA leaves with the TCS page and comes back with it', () => {
  const { w, enclave, running } = withGates(2);
  running.threads[0].cssa = 1;
  const page = enclave.memory.read(0x1000, 4096);
  composeTcs(enclave, 1, page);
  assert.equal(TCS.decode(page).CSSA, 1);
  unbindTcs(enclave, 1);
  assert.deepEqual(
    [running.admitted[0], running.threads[0].start, running.threads[0].cssa],
    [false, null, 0],
  );
  enclave.memory.write(0x1000, page);
  assert.equal(bindTcs(w.s, enclave, 1), 0);
  assert.deepEqual([running.threads[0].cssa, running.admitted[0]], [1, true]);
  consistent(w);
});

test('a TCS without a slot composes as it is', () => {
  const { w, enclave } = withGates(1);
  addThread(w, 10, A, { CSSA: 0 });
  const page = enclave.memory.read(0x8000, 4096);
  const before = page.slice();
  composeTcs(enclave, 10, page);
  unbindTcs(enclave, 10);
  assert.deepEqual(page, before);
});

test('usable SSA frames follow the pages while nobody is inside', () => {
  const { w, running } = withGates(1);
  assert.equal(running.threads[0].start?.nssa, 2);
  running.threads[0].cssa = 1;
  must(modifyType(w, 3));
  assert.deepEqual(
    [running.threads[0].start?.nssa, running.threads[0].cssa, running.admitted[0]],
    [1, 1, true],
  );
  track(w);
  must(w.remove(3));
  must(augment(w, 12, BASE + 0x3000));
  assert.equal(running.threads[0].start?.nssa, 1, 'a pending page is no SSA');
  must(accept(w, BASE + 0x3000));
  assert.deepEqual([running.threads[0].start?.nssa, running.threads[0].cssa], [2, 1]);
});

test('a thread inside that loses an SSA frame is not admitted again before it left', () => {
  const { w, enclave, running } = withGates(1);
  running.enter(0);
  must(modifyType(w, 3));
  assert.deepEqual([running.admitted[0], running.threads[0].start?.nssa], [false, 2]);
  running.enter(0, false);
  assert.equal(claimSlot(w.s, enclave, 0x1000), 0);
  const call = callOf(SVSM_PROTOCOL_SGX, 0x106, BigInt(gpaOf(0)), BigInt(BASE + 0x1000));
  sgxCall(0x106)!.handle({ s: w.s, owner: w.owner, call } as never, () => {});
  assert.deepEqual([running.admitted[0], running.threads[0].start?.nssa], [true, 1]);
});

test('threads of a lost enclave are bound in the table only', () => {
  const { w, enclave, running } = withGates(2);
  running.lost = 'gone';
  addThread(w, 10, A);
  assert.equal(slotOf(enclave, 10), 1);
  assert.equal(running.threads[1].start, null);
  unbindTcs(enclave, 10);
  assert.equal(enclave.tcs[1], null);
});

test('before EINIT slots are the order of EADD, whatever was removed', () => {
  const w = new World();
  must(w.create(GOOD_SECS));
  for (const frame of [1, 2, 3]) must(w.add(frame, BASE + frame * 4096, TCS_FLAGS, tcsPage()));
  must(w.remove(1));
  assert.deepEqual([slotOf(w.enclave(), 2), slotOf(w.enclave(), 3)], [0, 1]);
  consistent(w);
  must(w.add(1, BASE + 0x1000, TCS_FLAGS, tcsPage()));
  assert.equal(slotOf(w.enclave(), 1), 2);
  consistent(w);
});
