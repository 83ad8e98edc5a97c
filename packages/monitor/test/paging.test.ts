import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PCMD, PT_TCS, TCS } from '@nestedsgx/arch';
import { eldu } from '../src/encls/eldu.js';
import {
  checkInvariants,
  DONE,
  EPCM_BLOCKED,
  EPCM_PENDING,
  EPCM_PR,
  FLAG_CF,
  type LeafOutcome,
} from '../src/index.js';
import { contentsAt, PagingWorld, pcmdAt, slotAt, VA } from './support/paging-world.js';
import { AT, BASE, GOOD_SECS, gpaOf, must, REG_RW, tripped } from './support/world.js';

const PAGE4 = BASE + 0x4000;
const owners = (w: PagingWorld) => [w.owner, w.other];
const fits = (w: PagingWorld) => checkInvariants(w.s, owners(w));
const fails = (outcome: LeafOutcome, leaf = 'ELDU') => assert.equal(tripped(outcome), `${leaf}.mac`);
const filled = (byte: number) => new Uint8Array(4096).fill(byte);

/** Page 4 of an uninitialized enclave, full of 0x44, evicted into slot 1. */
function evicted(): PagingWorld {
  const w = new PagingWorld();
  w.build().memory.write(0x4000, filled(0x44));
  w.out(4, 1);
  return w;
}

test('a page goes out encrypted and comes back into any free frame, once', () => {
  const w = evicted();
  const enclave = w.enclave();
  const { contents, pcmd } = w.saved(1);
  assert.deepEqual(enclave.memory.read(0x4000, 4096), new Uint8Array(4096), 'nothing stays behind');
  assert.notDeepEqual(contents, filled(0x44));
  assert.ok(!w.s.epcm.valid(4));
  const { SECINFO, ENCLAVEID } = PCMD.decode(pcmd);
  assert.deepEqual([SECINFO.FLAGS, ENCLAVEID], [BigInt(REG_RW), BigInt(enclave.id)]);
  assert.equal(
    new DataView(w.machine.ram.buffer).getBigUint64(AT.PAGEINFO, true),
    BigInt(PAGE4),
    'LINADDR is told',
  );
  fits(w);
  must(w.eld(20, 1, PAGE4));
  assert.deepEqual(enclave.memory.read(0x4000, 4096), filled(0x44));
  assert.deepEqual([w.s.epcm.address(20), w.s.epcm.bits(20) & 0x7f, enclave.pages.get(4)], [PAGE4, 3, 20]);
  fits(w);
  // The version is used up: the same ciphertext from the same slot is refused now and for ever.
  must(w.remove(20));
  fails(w.eld(20, 1, PAGE4));
  assert.deepEqual(enclave.paging, { evicted: 1, loaded: 1, augmented: 0, refused: 1 });
  assert.ok(!w.s.epcm.valid(20));
  fits(w);
});

test('the same contents never look the same', () => {
  const w = evicted();
  const first = w.saved(1);
  must(w.eld(4, 1, PAGE4));
  w.out(4, 1);
  assert.notDeepEqual(w.saved(1).contents, first.contents);
  assert.notDeepEqual(w.saved(1).pcmd.subarray(112), first.pcmd.subarray(112));
});

test('an old ciphertext is refused in every slot', () => {
  const w = evicted();
  const old = w.saved(1);
  must(w.eld(4, 1, PAGE4));
  w.enclave().memory.write(0x4000, filled(0x55));
  w.out(4, 2);
  w.restore(2, old);
  fails(w.eld(4, 2, PAGE4));
  w.restore(1, old);
  fails(w.eld(4, 1, PAGE4));
  assert.ok(!w.s.epcm.valid(4));
  fits(w);
});

test('pages cannot change places, PCMDs or enclaves', () => {
  const w = evicted();
  w.out(5, 2);
  const [four, five] = [w.saved(1), w.saved(2)];
  // Place: another linear address, the other page's slot.
  fails(w.eld(4, 1, BASE + 0x5000));
  w.restore(1, five);
  fails(w.eld(4, 1, BASE + 0x5000));
  w.restore(1, { contents: five.contents, pcmd: four.pcmd });
  fails(w.eld(4, 1, PAGE4));
  w.restore(1, { contents: four.contents, pcmd: five.pcmd });
  fails(w.eld(4, 1, PAGE4));
  // Another enclave at the same addresses.
  w.restore(1, four);
  must(w.create(GOOD_SECS, 30));
  fails(w.eld(4, 1, PAGE4, undefined, VA, 30));
  must(w.eld(4, 1, PAGE4));
  w.restore(2, five);
  must(w.eld(5, 2, BASE + 0x5000));
  fits(w);
});

test('an address that is none is not cut to one', () => {
  const w = new PagingWorld();
  must(w.va(41));
  must(w.ewb(41, 3));
  const pageinfo = (linaddr: bigint) => {
    w.pageinfo(0, contentsAt(3), pcmdAt(3), 0);
    new DataView(w.machine.ram.buffer).setBigUint64(AT.PAGEINFO, linaddr, true);
  };
  const leaf: Parameters<PagingWorld['eld']>[3] = (s, owner, rbx, rcx, rdx) => {
    pageinfo(1n << 60n);
    return eldu(s, owner, rbx, rcx, rdx);
  };
  fails(w.eld(41, 3, 0, leaf));
  must(w.eld(41, 3, 0));
});

test('every bit of page and PCMD counts, but for the handle of software', () => {
  const w = evicted();
  const good = w.saved(1);
  const flip = (field: 'contents' | 'pcmd', bit: number) => {
    const bad = { contents: good.contents.slice(), pcmd: good.pcmd.slice() };
    bad[field][bit >>> 3]! ^= 1 << (bit & 7);
    w.restore(1, bad);
    return w.eld(4, 1, PAGE4);
  };
  for (let bit = 0; bit < 128 * 8; bit++) {
    const byte = bit >>> 3;
    if (byte >= 64 && byte < 72) continue;
    const outcome = flip('pcmd', bit);
    assert.notEqual(outcome, DONE, `PCMD bit ${bit}`);
    assert.equal(outcome.rax, 9, `PCMD bit ${bit}: ${tripped(outcome)}`);
  }
  for (let bit = 0; bit < 4096 * 8; bit += 509) fails(flip('contents', bit));
  fails(flip('contents', 4096 * 8 - 1));
  const handle = { contents: good.contents, pcmd: good.pcmd.slice() };
  handle.pcmd.fill(0xff, 64, 72);
  w.restore(1, handle);
  must(w.eld(4, 1, PAGE4));
  fits(w);
});

test('nothing is written and nothing changes unless all outputs can be written', () => {
  const w = new PagingWorld();
  w.build().memory.write(0x4000, filled(0x44));
  must(w.block(4));
  must(w.track());
  const before = w.machine.ram.slice();
  w.machine.denied.add(Math.floor(pcmdAt(1) / 4096));
  assert.equal(tripped(w.ewb(4, 1)), 'EWB.pcmd-writable');
  before.set(w.machine.ram.subarray(AT.PAGEINFO, AT.PAGEINFO + 32), AT.PAGEINFO);
  assert.deepEqual(w.machine.ram, before);
  assert.deepEqual(w.enclave().memory.read(0x4000, 4096), filled(0x44));
  w.machine.denied.clear();
  must(w.ewb(4, 1));
});

test('EWB into an occupied slot completes with CF; what the slot stood for is lost', () => {
  const w = evicted();
  must(w.block(5));
  must(w.track());
  const outcome = w.ewb(5, 1);
  assert.deepEqual([tripped(outcome), outcome.rax, outcome.flags], ['EWB.slot-empty', 12, FLAG_CF]);
  assert.ok(!w.s.epcm.valid(5));
  must(w.eld(5, 1, BASE + 0x5000));
  fits(w);
});

test('ELDB leaves child pages blocked: they can go again without tracking, and ELDU frees them', () => {
  const w = new PagingWorld();
  const { running } = w.running();
  w.out(4, 1);
  must(w.eldb(4, 1, PAGE4));
  assert.equal(w.s.epcm.bits(4) & EPCM_BLOCKED, EPCM_BLOCKED);
  assert.equal(running.rights.get(0x4000), undefined, 'a blocked page is not mapped');
  assert.equal(w.block(4).rax, 3, 'SGX_BLKSTATE');
  must(w.ewb(4, 1));
  must(w.eld(4, 1, PAGE4));
  assert.deepEqual([w.s.epcm.bits(4) & EPCM_BLOCKED, running.rights.get(0x4000)], [0, 'rw']);
});

test('PENDING and PR travel with the page', () => {
  const w = new PagingWorld();
  const { running } = w.running();
  w.s.epcm.setBits(4, w.s.epcm.bits(4) | EPCM_PENDING | EPCM_PR);
  w.out(4, 1);
  must(w.eld(9, 1, PAGE4));
  assert.equal(w.s.epcm.bits(9) & 0x7f, 3 | EPCM_PENDING | EPCM_PR);
  assert.equal(running.rights.get(0x4000), undefined, 'a pending page is not mapped');
});

test('a page leaves a running enclave only when all threads of before left', () => {
  const w = new PagingWorld();
  const { enclave, running } = w.running();
  enclave.memory.write(0x4000, filled(7));
  running.enter(0);
  must(w.block(4));
  assert.equal(running.rights.get(0x4000), undefined, 'EBLOCK takes the mapping away');
  assert.deepEqual(enclave.memory.read(0x4000, 4096), filled(7), 'and not the contents');
  assert.equal(w.ewb(4, 1).rax, 11, 'no tracking cycle');
  must(w.track());
  assert.equal(w.ewb(4, 1).rax, 11, 'the thread is still inside');
  assert.equal(w.track().rax, 17, 'SGX_PREV_TRK_INCMPL');
  running.enter(0, false);
  running.enter(0);
  must(w.ewb(4, 1));
  assert.deepEqual(running.unmapped.at(-1), [0x4000, 4096]);
  assert.deepEqual(enclave.memory.read(0x4000, 4096), new Uint8Array(4096));
  must(w.eld(4, 1, PAGE4));
  assert.deepEqual([running.rights.get(0x4000), running.lost], ['rw', null]);
  assert.deepEqual(enclave.memory.read(0x4000, 4096), filled(7));
  assert.deepEqual(enclave.paging, { evicted: 1, loaded: 1, augmented: 0, refused: 2 });
});

test('TCS and SSA pages come and go with the right to enter, and CSSA with the TCS', () => {
  const w = new PagingWorld();
  const { enclave, running } = w.running();
  running.threads[0]!.cssa = 1;
  must(w.block(2));
  assert.equal(running.admitted[0], false, 'a blocked SSA page keeps threads out');
  assert.equal(running.rights.get(0x2000), 'rw', 'and whoever is inside can still leave');
  must(w.track());
  must(w.ewb(2, 2));
  assert.equal(running.rights.get(0x2000), undefined);
  must(w.block(1));
  must(w.track());
  must(w.ewb(1, 1));
  assert.deepEqual([running.threads[0]!.start], [null], 'the slot is free');
  must(w.eld(1, 1, BASE + 0x1000));
  assert.equal(TCS.decode(enclave.memory.read(0x1000, 4096)).CSSA, 1);
  assert.equal(running.admitted[0], false, 'its SSA is not there yet');
  must(w.eld(22, 2, BASE + 0x2000));
  assert.deepEqual([running.admitted[0], running.threads[0]!.cssa], [true, 1]);
  assert.equal(running.threads[0]!.start?.nssa, 2);
  assert.equal(w.s.epcm.type(1), PT_TCS);
  fits(w);
});

test('a TCS of an uninitialized enclave goes and comes', () => {
  const w = new PagingWorld();
  const enclave = w.build();
  w.out(1, 1);
  assert.equal(enclave.tcs.length, 0);
  must(w.eld(9, 1, BASE + 0x1000));
  assert.deepEqual([enclave.tcs.length, enclave.tcs[0]?.frame], [1, 9]);
  must(w.init());
  assert.equal(w.processor.running[0]!.admitted[0], true);
});

test('version arrays can be evicted and come back, and old ones stay old', () => {
  const w = evicted();
  must(w.va(41));
  must(w.ewb(VA, 3, 41));
  assert.ok(!w.s.epcm.valid(VA));
  assert.equal(tripped(w.eld(4, 1, PAGE4)), 'ELDU.slot-valid');
  const old = w.saved(3);
  assert.ok(old.contents.some((b) => b !== 0));
  must(w.eld(42, 3, 0, undefined, 41));
  must(w.eld(4, 1, PAGE4, undefined, 42));
  // Rolled back to when slot 1 still held the page's version.
  must(w.ewb(42, 4, 41));
  w.restore(4, old);
  fails(w.eld(42, 4, 0, undefined, 41));
  w.restore(3, old);
  fails(w.eld(42, 3, 0, undefined, 41));
  fits(w);
});

test('a PCMD cannot turn a page into a version array or a SECS', () => {
  const w = evicted();
  const good = w.saved(1);
  for (const type of [0, 1, 3, 4, 5, 0xff]) {
    const bad = { contents: good.contents, pcmd: good.pcmd.slice() };
    bad.pcmd[1] = type;
    w.restore(1, bad);
    for (const linaddr of [PAGE4, 0]) fails(w.eld(4, 1, linaddr));
  }
  fits(w);
});

/** A running enclave whose pages are in slots 1…6 and whose SECS is in slot 7. */
function secsOut(): ReturnType<PagingWorld['running']> & { w: PagingWorld } {
  const w = new PagingWorld();
  const { enclave, running } = w.running();
  enclave.memory.write(0x4000, filled(0x77));
  for (let frame = 1; frame <= 6; frame++) w.out(frame, frame);
  must(w.ewb(0, 7));
  return { w, enclave, running };
}

test('a whole running enclave goes out and comes in again', () => {
  const { w, enclave, running } = secsOut();
  assert.deepEqual(
    [w.s.enclaves.size, w.s.evictedEnclaves.size, running.frozen, running.stopped],
    [0, 1, true, false],
  );
  assert.equal(w.s.epcm.validCount, 1);
  fits(w);
  assert.equal(tripped(w.eld(4, 4, PAGE4)), 'ELDU.secs-valid');
  must(w.eld(30, 7, 0));
  assert.deepEqual([w.s.enclaves.get(30), w.s.evictedEnclaves.size, running.frozen], [enclave, 0, false]);
  for (let frame = 1; frame <= 6; frame++) must(w.eld(frame, frame, BASE + frame * 4096, undefined, VA, 30));
  assert.deepEqual(enclave.memory.read(0x4000, 4096), filled(0x77));
  assert.deepEqual([running.admitted[0], running.rights.get(0x6000)], [true, 'rx']);
  fits(w);
  fails(w.eld(31, 7, 0));
});

test('an evicted SECS is lost with its version array, evicted or not', () => {
  const { w, running } = secsOut();
  must(w.va(41));
  must(w.ewb(VA, 0, 41));
  fits(w);
  must(w.eld(43, 0, 0, undefined, 41));
  fits(w);
  must(w.ewb(43, 1, 41));
  must(w.remove(41));
  assert.deepEqual([w.s.evictedEnclaves.size, running.stopped], [0, true]);
  assert.ok(w.processor.memories.every((m) => m.closed));
  fits(w);

  const second = secsOut();
  must(second.w.remove(VA));
  assert.deepEqual([second.w.s.evictedEnclaves.size, second.running.stopped], [0, true]);
});

test('an evicted SECS is lost when its slot is overwritten', () => {
  const { w, running } = secsOut();
  must(w.va(41));
  assert.equal(w.ewb(41, 7).rax, 12);
  assert.deepEqual([w.s.evictedEnclaves.size, running.stopped], [0, true]);
  fits(w);
});

test('evicted enclaves count for the limit of enclaves', () => {
  const w = new PagingWorld({ maxEnclaves: 1 });
  must(w.create());
  must(w.ewb(0, 1));
  assert.equal(tripped(w.create()), 'ECREATE.enclave-limit');
  must(w.eld(0, 1, 0));
  must(w.remove(0));
  must(w.create());
});

test('a SECS with children, threads or not, stays', () => {
  const w = new PagingWorld();
  w.running();
  assert.equal(w.ewb(0, 1).rax, 13);
});

test('pages of a lost enclave can still be evicted', () => {
  const w = new PagingWorld();
  const { running } = w.running();
  running.enter(0);
  running.lost = 'killed';
  w.out(4, 1);
  must(w.eld(4, 1, PAGE4));
});

test('an enclave whose page cannot be write-protected or given back does not run on', () => {
  for (const method of ['writeProtect', 'map'] as const) {
    const w = new PagingWorld();
    const { enclave, running } = w.running();
    must(w.block(4));
    must(w.track());
    if (method === 'writeProtect') w.s.epcm.setMapped(4, 3);
    Object.assign(running, {
      [method]: () => {
        throw Object.assign(new Error('no'), { code: 'EIO' });
      },
    });
    must(w.ewb(4, 1));
    must(w.eld(4, 1, PAGE4));
    assert.match(enclave.lost ?? '', /page/);
    assert.equal(running.stopped, true);
    fits(w);
  }
});

test('slots of one version array do not touch each other', () => {
  const w = new PagingWorld();
  w.build();
  w.out(4, 0);
  w.out(5, 511);
  assert.equal(slotAt(511), gpaOf(VA) + 4088);
  must(w.eld(5, 511, BASE + 0x5000));
  must(w.eld(4, 0, PAGE4));
  assert.equal(w.s.versions.get(VA, 0), 0);
});
