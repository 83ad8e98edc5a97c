/** What a guest can make the monitor keep, and how much work one call can be. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PT_TRIM, PT_VA, SGX_CALL, SVSM, SVSM_PROTOCOL_SGX } from '@nestedsgx/arch';
import { removeRange } from '../src/bulk/remove-range.js';
import { SET_PTE_RUNS, setPte } from '../src/bulk/set-pte.js';
import { epa } from '../src/encls/epa.js';
import { ewb } from '../src/encls/ewb.js';
import { checkInvariants, type PageRange } from '../src/index.js';
import { MAX_CHAIN } from '../src/paging/evicted-enclaves.js';
import { EnclavePages } from '../src/state/page-table.js';
import { sgxCall } from '../src/svsm/sgx.js';
import { callOf, FakeOsError, type FakeRunning } from './support/fake-machine.js';
import { LIST, PagingWorld, slotAt, VA } from './support/paging-world.js';
import {
  accept,
  augment,
  extend,
  grown,
  modifyType,
  NEW_TCS,
  restrict,
  TRIMMED,
  track,
} from './support/sgx2.js';
import {
  AT,
  BASE,
  GOOD_SECS,
  gpaOf,
  must,
  REG_RW,
  TCS_FLAGS,
  tcsPage,
  tripped,
  World,
} from './support/world.js';

test('a SECS cannot be put behind ever more version arrays', () => {
  const w = new PagingWorld();
  must(w.create());
  const id = w.enclave().id;
  must(w.ewb(0, 0));
  // The array goes into the next one's slot, again and again; two frames are enough.
  const frames = [VA, VA + 1];
  let hops = 0;
  for (; hops < 100; hops++) {
    const [from, to] = hops % 2 === 0 ? frames : [...frames].reverse();
    must(epa(w.s, w.owner, PT_VA, gpaOf(to!)));
    w.pageinfo(0, 0x10_0000 + hops * 4096, 0x20_0000 + hops * 128, 0);
    const before = [w.s.epcm.validCount, w.s.versions.count];
    try {
      must(ewb(w.s, w.owner, AT.PAGEINFO, gpaOf(from!), slotAt(hops, to)));
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'MONITOR_LIMIT');
      assert.deepEqual([w.s.epcm.validCount, w.s.versions.count], before, 'nothing changed');
      must(w.remove(to!));
      break;
    }
  }
  assert.equal(hops, MAX_CHAIN);
  assert.equal(w.s.evictedEnclaves.get(id)!.chain.length, MAX_CHAIN + 1);
  checkInvariants(w.s, [w.owner, w.other]);
});

test('page tables are given back with the last page of their part of the ELRANGE', () => {
  const pages = new EnclavePages();
  for (let i = 0; i < 1000; i++) {
    pages.set(i * 512 + 7, 1);
    pages.set(i * 512 + 8, 2);
    pages.delete(i * 512 + 7);
    pages.delete(i * 512 + 7);
    assert.equal(pages.get(i * 512 + 8), 2);
    pages.delete(i * 512 + 8);
  }
  assert.deepEqual([pages.chunks, pages.count, pages.get(519)], [0, 0, -1]);
});

/** A running enclave with `threads` TCSs in frames 1 … threads, all with the SSA in the four frames behind. */
function manyThreads(threads: number): { w: PagingWorld; running: FakeRunning; calls: () => number } {
  const w = new PagingWorld();
  must(w.create());
  const ossa = BigInt((threads + 1) * 4096);
  for (let frame = 1; frame <= threads; frame++)
    must(w.add(frame, BASE + frame * 4096, TCS_FLAGS, tcsPage({ OSSA: ossa, NSSA: 4 })));
  for (let frame = threads + 1; frame <= threads + 4; frame++)
    must(w.add(frame, BASE + frame * 4096, REG_RW, 0));
  w.enclave().gates = { gpa: AT.GATES, count: threads };
  must(w.init());
  const running = w.processor.running[0]!;
  let calls = 0;
  const { setAdmitted } = running;
  running.setAdmitted = (thread, on) => {
    calls++;
    setAdmitted.call(running, thread, on);
  };
  return { w, running, calls: () => calls };
}

test('EVICT and LOAD look at all threads once or twice, however many of their pages matter for entering', () => {
  const threads = 24;
  const { w, running, calls } = manyThreads(threads);
  // Descending, so that no two pages are served together; half the threads stay.
  const frames = Array.from({ length: threads / 2 }, (_, i) => threads - i);
  assert.equal(w.evict(frames).done, frames.length);
  assert.ok(calls() <= 4 * threads, `${calls()} times`);
  assert.equal(running.admitted.filter(Boolean).length, threads / 2);
  const before = calls();
  assert.equal(w.load(frames).done, frames.length);
  assert.ok(calls() - before <= 4 * threads, `${calls() - before} times`);
  assert.equal(running.admitted.filter(Boolean).length, threads);
  checkInvariants(w.s, [w.owner, w.other]);
});

test('a thread that lost an SSA frame by EVICT gets it back with LOAD', () => {
  const { w, running } = manyThreads(3);
  assert.equal(w.evict([7]).done, 1);
  assert.deepEqual(
    running.threads.map((t) => t.start?.nssa),
    [3, 3, 3],
  );
  assert.equal(w.load([7]).done, 1);
  assert.deepEqual(
    running.threads.map((t) => t.start?.nssa),
    [4, 4, 4],
  );
});

test('what TCSs of the past named as SSA is forgotten', () => {
  const w = new World();
  const enclave = w.build({ ...GOOD_SECS, SSAFRAMESIZE: 1 });
  enclave.gates = { gpa: AT.GATES, count: 2 };
  must(w.init());
  enclave.admissionBound = 12;
  const running = w.processor.running[0]!;
  const tcs = BASE + 0x8000;
  for (let i = 0; i < 60; i++) {
    // Pages that exist from 0x10000 on, and the place behind them.
    const ssa = 0x1_0000 + i * 0x2000;
    grown(w, 10, tcs);
    grown(w, 11, BASE + ssa);
    enclave.memory.write(tcs - BASE, tcsPage({ OSSA: BigInt(ssa), NSSA: 2 }));
    must(modifyType(w, 10, TCS_FLAGS));
    track(w);
    must(accept(w, tcs, NEW_TCS));
    assert.equal(running.threads[1]!.start?.nssa, 1);
    assert.ok(enclave.admissionPages.has(ssa / 4096));
    if (i === 0) enclave.admissionBound = 12;
    for (const [frame, linaddr] of [
      [10, tcs],
      [11, BASE + ssa],
    ] as const) {
      must(modifyType(w, frame, PT_TRIM << 8));
      track(w);
      must(accept(w, linaddr, TRIMMED));
      must(w.remove(frame));
    }
    if (enclave.admissionBound > 4096) assert.fail('the bound grows with what exists only');
    enclave.admissionBound = Math.min(enclave.admissionBound, 12);
    assert.ok(enclave.admissionPages.size <= 16, `${enclave.admissionPages.size} pages`);
    checkInvariants(w.s, [w.owner, w.other]);
  }
});

/** From now on mapping fails half-way: with what it was asked for done to the first page. */
function failHalfway(running: FakeRunning, name: 'map' | 'protect'): void {
  const real = running[name].bind(running);
  running[name] = (range: PageRange) => {
    running[name] = real;
    real({ ...range, length: 4096 });
    throw new FakeOsError('no memory');
  };
}

test('a mapping that failed half-way leaves no right behind that the EPCM does not know of', () => {
  const w = new PagingWorld();
  const { running } = w.running();
  for (const frame of [10, 11]) {
    must(augment(w, frame, BASE + frame * 4096));
    must(accept(w, BASE + frame * 4096));
  }
  assert.equal(w.evict([10, 11]).done, 2);
  failHalfway(running, 'map');
  w.load([10, 11]);
  assert.ok(w.enclave().lost !== null || !running.rights.has(0xa000));
});

test('neither does EMODPE whose new right could not be given', () => {
  const w = new World();
  const { enclave, running } = w.running();
  grown(w, 10, BASE + 0xa000);
  must(restrict(w, 10, 1));
  track(w);
  must(accept(w, BASE + 0xa000, 0x221));
  assert.equal(running.rights.get(0xa000), 'r');
  failHalfway(running, 'protect');
  must(extend(w, BASE + 0xa000, 3));
  assert.equal(running.rights.get(0xa000), 'r');
  assert.equal(enclave.lost, null);
  must(restrict(w, 10, 0));
  assert.equal(running.rights.get(0xa000), undefined);
});

test('EMODPE that asks for nothing new looks at no thread', () => {
  const w = new World();
  const { running } = w.running();
  let calls = 0;
  running.setAdmitted = () => {
    calls++;
  };
  for (let i = 0; i < 3; i++) must(extend(w, BASE + 0x2000, 3));
  assert.equal(calls, 0);
  must(extend(w, BASE + 0x2000, 4));
  assert.equal(calls, 1);
});

test('SET_PTE of many places is done in several calls', () => {
  const w = new PagingWorld();
  const { running } = w.running();
  // The same page again and again: each entry is a change of its own.
  const count = 2 * SET_PTE_RUNS + 5;
  w.ptes(Array.from({ length: count }, (_, i) => BASE + 0x4000 + (i % 2 === 0 ? 1 : 3)));
  const call = (from: number) => {
    const port = callOf(
      SVSM_PROTOCOL_SGX,
      SGX_CALL.SET_PTE,
      BigInt(gpaOf(0)),
      BigInt(LIST + 8 * from),
      BigInt(count - from),
    );
    const context = { s: w.s, owner: w.owner, call: port } as never;
    return sgxCall(SGX_CALL.SET_PTE)!.handle(context, () => {});
  };
  const incomplete = { rax: SVSM.INCOMPLETE, rcx: 0, rdx: SET_PTE_RUNS, r8: 0 };
  assert.deepEqual(call(0), incomplete);
  assert.deepEqual(call(SET_PTE_RUNS), incomplete);
  assert.deepEqual(call(2 * SET_PTE_RUNS), { rax: 0, rcx: 0, rdx: 5, r8: 0 });
  assert.equal(running.rights.get(0x4000), 'r');
  // Adjacent pages are one change, however many they are.
  w.ptes([2, 3, 4].map((page) => BASE + page * 4096 + 7));
  assert.equal(setPte(w.s, w.owner, { secs: gpaOf(0), list: LIST, count: 3 }).incomplete, undefined);
});

test('REMOVE_RANGE of many enclaves is done in several calls', () => {
  const w = new World({}, undefined);
  const secs = 40;
  for (let frame = 0; frame < secs; frame++) must(w.create(GOOD_SECS, frame));
  const all = removeRange(w.s, w.owner, gpaOf(0), secs);
  assert.deepEqual([all.done, all.incomplete], [secs * 4096, undefined], 'these are few');
  // Two enclaves whose frames alternate: each page is a run of its own.
  must(w.create(GOOD_SECS, 46));
  must(w.create(GOOD_SECS, 47));
  for (let frame = 0; frame < 46; frame++)
    must(w.add(frame, BASE + frame * 4096, REG_RW, 0, 46 + (frame % 2)));
  const calls: number[] = [];
  for (let done = 0; done < 48; ) {
    const { outcome, done: bytes, incomplete } = removeRange(w.s, w.owner, gpaOf(done), 48 - done, 640);
    assert.equal(outcome.kind, 'done');
    calls.push(bytes / 4096);
    done += bytes / 4096;
    assert.equal(incomplete === true, done < 48);
    checkInvariants(w.s, [w.owner, w.other]);
  }
  assert.deepEqual(
    [calls.length > 3, calls.every((pages) => pages > 0), w.s.epcm.validCount],
    [true, true, 0],
  );
});

test('gate pages that are no longer the guest’s are not written to', () => {
  const w = new World();
  w.build();
  w.machine.denied.add(AT.GATES / 4096);
  assert.equal(tripped(w.init()), 'EINIT.gates-bound');
  assert.equal(w.processor.running.length, 0);
  w.machine.denied.delete(AT.GATES / 4096);
  must(w.init());
});
