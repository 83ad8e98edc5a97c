import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  checkInvariants,
  EVICT_CHECKS,
  type LeafOutcome,
  LOAD_CHECKS,
  SET_PTE_CHECKS,
  setPte,
} from '../src/index.js';
import { runCasesIn } from './support/cases.js';
import { LIST, PagingWorld, pcmdAt, slotAt, VA } from './support/paging-world.js';
import { BASE, GOOD_SECS, gpaOf, must, REG_RW, tripped } from './support/world.js';

const world = () => new PagingWorld();
const fits = (w: PagingWorld) => checkInvariants(w.s, [w.owner, w.other]);
const filled = (byte: number) => new Uint8Array(4096).fill(byte);
const pte = (w: PagingWorld, entries: number[], operands: Partial<Parameters<typeof setPte>[2]> = {}) => {
  w.ptes(entries);
  return setPte(w.s, w.owner, { secs: gpaOf(0), list: LIST, count: entries.length, ...operands });
};
const R = 1;
const W = 2;
const X = 4;

runCasesIn(world, EVICT_CHECKS, {
  secs: (w) => w.evict([4]).outcome,
  count: (w) => {
    w.build();
    return w.evict([]).outcome;
  },
  'list-readable': (w) => {
    w.build();
    w.machine.denied.add(LIST / 4096);
    return w.evict([4]).outcome;
  },
  'own-page': (w) => {
    w.build();
    must(w.create({ ...GOOD_SECS, BASEADDR: BigInt(BASE * 2) }, 20));
    must(w.add(21, BASE * 2, REG_RW, 0, 20));
    return w.evict([4, 21]).outcome;
  },
  'slot-empty': (w) => {
    w.build();
    return w.evict([4, 5], [1, 1]).outcome;
  },
});

runCasesIn(world, LOAD_CHECKS, {
  secs: (w) => w.load([4]).outcome,
  count: (w) => {
    w.build();
    return w.load([]).outcome;
  },
  'list-readable': (w) => {
    w.build();
    w.machine.denied.add(LIST / 4096);
    return w.load([4]).outcome;
  },
  'child-type': (w) => {
    w.build();
    must(w.va(41));
    must(w.ewb(41, 1));
    return w.load([9], [1]).outcome;
  },
});

runCasesIn(world, SET_PTE_CHECKS, {
  secs: (w) => pte(w, [BASE]).outcome,
  count: (w) => {
    w.build();
    return pte(w, [BASE], { count: 513 }).outcome;
  },
  'list-readable': (w) => {
    w.build();
    return pte(w, [BASE], { list: LIST + 4 }).outcome;
  },
  'entry-bits': (w) => {
    w.build();
    return pte(w, [BASE + 0x4000 + 8]).outcome;
  },
  'page-present': (w) => {
    w.build();
    return pte(w, [BASE + 0x9000 + R]).outcome;
  },
  'mapping-available': (w) => {
    const { running } = w.running();
    running.protect = () => {
      throw Object.assign(new Error('no'), { code: 'EIO' });
    };
    return pte(w, [BASE + 0x4000 + R]).outcome;
  },
});

/** A running enclave with its page n full of n. */
function launched() {
  const w = new PagingWorld();
  const { enclave, running } = w.running();
  for (const n of [4, 5, 6]) enclave.memory.write(n * 4096, filled(n));
  return { w, enclave, running };
}

test('EVICT and LOAD move pages as the single leaves do', () => {
  const { w, enclave, running } = launched();
  const out = w.evict([2, 3, 4, 5, 6], [10, 11, 12, 13, 14]);
  assert.deepEqual([out.outcome.kind, out.done], ['done', 5]);
  assert.deepEqual([enclave.children, running.admitted[0]], [1, false]);
  assert.deepEqual(running.unmapped.at(-1), [0x2000, 0x5000], 'adjacent pages go together');
  fits(w);
  // Single leaves take what the call wrote, and the other way round.
  must(w.eld(4, 12, BASE + 0x4000));
  const back = w.load([2, 3, 5, 6], [10, 11, 13, 14]);
  assert.deepEqual([back.outcome.kind, back.done], ['done', 4]);
  for (const n of [4, 5, 6]) assert.deepEqual(enclave.memory.read(n * 4096, 4096), filled(n));
  assert.deepEqual(
    [2, 4, 5, 6].map((n) => running.rights.get(n * 4096)),
    ['rw', 'rw', 'r', 'rx'],
  );
  assert.equal(running.admitted[0], true);
  w.out(4, 20);
  assert.equal(w.load([4], [20]).done, 1);
  assert.deepEqual(enclave.paging, { evicted: 6, loaded: 6, augmented: 0, refused: 0 });
  fits(w);
});

test('pages and slots in any order, TCS among them', () => {
  const { w, enclave } = launched();
  assert.equal(w.evict([6, 1, 2, 5, 4, 3], [9, 2, 7, 7 + 1, 400, 0]).done, 6);
  assert.equal(enclave.children, 0);
  fits(w);
  assert.equal(w.load([3, 4, 5, 1, 2, 6], [0, 400, 8, 2, 7, 9]).done, 6);
  for (const n of [4, 5, 6]) assert.deepEqual(enclave.memory.read(n * 4096, 4096), filled(n));
  assert.equal(w.processor.running[0]!.admitted[0], true);
  fits(w);
});

test('more pages than one run', () => {
  const w = new PagingWorld();
  must(w.create());
  const frames = Array.from({ length: 39 }, (_, i) => i + 1);
  for (const frame of frames) must(w.add(frame, BASE + frame * 4096, REG_RW, frame));
  assert.equal(w.evict(frames).done, 39);
  assert.equal(w.enclave().children, 0);
  fits(w);
  assert.equal(w.load(frames).done, 39);
  for (const frame of frames) assert.deepEqual(w.enclave().memory.read(frame * 4096, 4096), filled(frame));
  fits(w);
});

test('EVICT waits for threads: blocked pages stay, and the same list goes on', () => {
  const { w, enclave, running } = launched();
  running.enter(0);
  const first = w.evict([4, 5]);
  assert.deepEqual([tripped(first.outcome), first.outcome.rax, first.done], ['EWB.page-tracked', 11, 0]);
  assert.equal(tripped(w.evict([4, 5]).outcome), 'EWB.page-tracked');
  running.enter(0, false);
  running.enter(0);
  assert.equal(w.evict([4, 5]).done, 2, 'a thread that entered since is no hindrance');
  assert.equal(enclave.paging.refused, 2);
  // While a thread of before the last cycle is inside, the next pages wait, too.
  assert.equal(tripped(w.evict([6]).outcome), 'EWB.page-tracked');
  running.enter(0, false);
  assert.equal(w.evict([6]).done, 1);
  assert.equal(w.load([4, 5, 6]).done, 3);
  fits(w);
});

/** What a list does to the first page, when its second entry is wrong. */
function partial(make: (w: PagingWorld) => { outcome: LeafOutcome; done: number }): [string, number] {
  const { w } = launched();
  const { outcome, done } = make(w);
  fits(w);
  return [tripped(outcome), done];
}

test('a list stops at the page that a single leaf would refuse', () => {
  const bad = (name: string, value: number) => (entry: Record<string, bigint>, i: number) => {
    if (i === 1) entry[name] = BigInt(value);
  };
  const evict = (name: string, value: number) => partial((w) => w.evict([4, 5], [4, 5], bad(name, value)));
  assert.deepEqual(evict('FRAME', 0x3000), ['EBLOCK.page-in-epc', 0]);
  assert.deepEqual(evict('FRAME', gpaOf(0)), ['EBLOCK.not-secs', 0]);
  assert.deepEqual(evict('FRAME', gpaOf(VA)), ['EBLOCK.blockable', 0]);
  assert.deepEqual(evict('FRAME', gpaOf(4)), ['EWB.page-valid', 1], 'the same page twice');
  assert.deepEqual(evict('VASLOT', slotAt(5) + 1), ['EWB.slot-aligned', 1]);
  assert.deepEqual(evict('VASLOT', gpaOf(50)), ['EWB.slot-owned', 1]);
  assert.deepEqual(evict('VASLOT', gpaOf(6)), ['EWB.slot-valid', 1]);
  assert.deepEqual(evict('VASLOT', slotAt(4)), ['EVICT.slot-empty', 1]);
  assert.deepEqual(evict('SRCPGE', gpaOf(9)), ['EWB.contents-writable', 1]);
  assert.deepEqual(evict('PCMD', pcmdAt(5) + 1), ['EWB.outputs-aligned', 1]);
  assert.deepEqual(evict('PCMD', 0x4000_0000), ['EWB.pcmd-writable', 1]);
  const load = (name: string, value: number) =>
    partial((w) => {
      assert.equal(w.evict([4, 5]).done, 2);
      return w.load([4, 5], [4, 5], bad(name, value));
    });
  assert.deepEqual(load('FRAME', gpaOf(4)), ['ELDU.page-free', 1], 'the same frame twice');
  assert.deepEqual(load('FRAME', 0x3000), ['ELDU.page-in-epc', 1]);
  assert.deepEqual(load('VASLOT', slotAt(4)), ['ELDU.mac', 1], 'the same slot twice');
  assert.deepEqual(load('VASLOT', gpaOf(6)), ['ELDU.slot-valid', 1]);
  assert.deepEqual(load('LINADDR', BASE + 0x4000), ['ELDU.mac', 1]);
  assert.deepEqual(load('SRCPGE', 0x4000_0000), ['ELDU.source-readable', 1]);
  assert.deepEqual(load('PCMD', 0x4000_0000), ['ELDU.pcmd-readable', 1]);
  assert.deepEqual(load('PCMD', pcmdAt(4)), ['ELDU.mac', 1]);
});

test('LOAD without memory leaves everything as it was', () => {
  const { w, enclave } = launched();
  assert.equal(w.evict([4, 5]).done, 2);
  const { write } = enclave.memory;
  enclave.memory.write = () => {
    throw Object.assign(new Error('no memory'), { code: 'ENOMEM' });
  };
  assert.deepEqual(tripped(w.load([4, 5]).outcome), 'ELDU.memory-available');
  fits(w);
  enclave.memory.write = write;
  assert.equal(w.load([4, 5]).done, 2);
  assert.deepEqual(enclave.memory.read(0x5000, 4096), filled(5));
});

test('SET_PTE changes what threads may do, never beyond the EPCM; contents stay', () => {
  const { w, enclave, running } = launched();
  const rights = (n: number) => running.rights.get(n * 4096);
  const at = (n: number, allowed: number) => BASE + n * 4096 + allowed;
  assert.equal(pte(w, [at(4, R), at(5, R | W | X), at(6, 0), at(2, 0)]).done, 4);
  assert.deepEqual([rights(4), rights(5), rights(6), rights(2)], ['r', 'r', undefined, 'rw']);
  assert.deepEqual(enclave.memory.read(0x6000, 4096), filled(6));
  assert.equal(running.admitted[0], true, 'an asynchronous exit must be able to write the SSA');
  assert.equal(pte(w, [at(4, R | W | X), at(6, X), at(2, R | W)]).done, 3);
  assert.deepEqual([rights(4), rights(6), rights(2)], ['rw', 'x', 'rw']);
  // A page that comes back is mapped as a new one.
  assert.equal(pte(w, [at(4, 0)]).done, 1);
  assert.equal(w.evict([4]).done, 1);
  assert.equal(w.load([4]).done, 1);
  assert.equal(rights(4), 'rw');
  // What comes before a wrong entry is done.
  const wrong = pte(w, [at(4, R), at(9, R), at(5, 0)]);
  assert.deepEqual(
    [tripped(wrong.outcome), wrong.done, rights(4), rights(5)],
    ['SET_PTE.page-present', 1, 'r', 'r'],
  );
  must(w.block(5));
  assert.equal(pte(w, [at(5, R)]).done, 1);
  assert.equal(rights(5), undefined, 'blocked pages are not mapped');
});

test('SET_PTE of what is so already brings pages back that the processor has lost', () => {
  const { w, running } = launched();
  const at = (n: number, allowed: number) => BASE + n * 4096 + allowed;
  const page = (n: number, w: boolean, x: boolean) => ({ offset: n * 4096, length: 4096, r: true, w, x });
  assert.equal(pte(w, [at(4, R), at(5, 0)]).done, 2);
  assert.deepEqual(running.renewed, []);
  assert.equal(pte(w, [at(4, R)]).done, 1);
  assert.deepEqual(running.renewed, [page(4, false, false)], 'with the rights that it has');
  running.renewed.length = 0;
  assert.equal(pte(w, [at(5, 0)]).done, 1);
  assert.deepEqual(running.renewed, [], 'nobody may use it');
  must(w.block(4));
  assert.equal(pte(w, [at(4, R)]).done, 1);
  assert.deepEqual(running.renewed, [], 'nor a blocked one');
  running.renew = () => {
    throw Object.assign(new Error('no'), { code: 'EIO' });
  };
  assert.equal(tripped(pte(w, [at(2, R | W | X)]).outcome), 'SET_PTE.mapping-available');
});

test('a right that cannot be taken away ends the enclave', () => {
  const { w, enclave, running } = launched();
  running.unmap = () => {
    throw Object.assign(new Error('no'), { code: 'EIO' });
  };
  assert.equal(tripped(pte(w, [BASE + 0x4000]).outcome), 'SET_PTE.mapping-available');
  assert.deepEqual([enclave.lost !== null, running.stopped], [true, true]);
});
