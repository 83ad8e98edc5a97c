/** EACCEPT_RANGE: what it does to pages beyond what the simulation compares. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PT_REG, SECINFO_PENDING, SECINFO_PR, SECINFO_R, SECINFO_W } from '@nestedsgx/arch';
import { EACCEPT_RANGE_MAX, eacceptRange } from '../src/enclu/eaccept-range.js';
import { EPCM_BLOCKED } from '../src/state/epcm.js';
import {
  augment,
  grown,
  modifyType,
  NEW_PAGE,
  putSecinfo,
  restrict,
  SECINFO_AT,
  TRIMMED,
  track,
} from './support/sgx2.js';
import { BASE, gpaOf, must, tripped, World } from './support/world.js';

const PAGE = 4096;
const FREE = BASE + 0x8000;

function accept(w: World, linaddr: number, count: number, flags = NEW_PAGE) {
  putSecinfo(w, flags);
  return eacceptRange(w.s, w.enclave(), SECINFO_AT, linaddr, count);
}

test('new pages are accepted together, with one order for the processor', () => {
  const w = new World();
  const { running } = w.running();
  for (let i = 0; i < 3; i++) must(augment(w, 10 + i, FREE + i * PAGE));
  must(accept(w, FREE, 3));
  for (let i = 0; i < 3; i++) {
    assert.equal(running.rights.get(0x8000 + i * PAGE), 'rw');
    assert.equal(w.s.epcm.bits(10 + i) & 0x3f, 3);
  }
});

test('one page that is not there, or not new, leaves all others as they were', () => {
  const w = new World();
  const { running } = w.running();
  must(augment(w, 10, FREE));
  must(augment(w, 12, FREE + 2 * PAGE));
  const absent = accept(w, FREE, 3);
  assert.equal(tripped(absent), 'EACCEPT_RANGE.page-in-epc');
  assert.equal(absent.kind === 'fault' && absent.address, FREE + PAGE);
  assert.equal(running.rights.has(0x8000), false);
  must(augment(w, 11, FREE + PAGE));
  must(accept(w, FREE + PAGE, 1));
  assert.equal(tripped(accept(w, FREE, 3)), 'EACCEPT_RANGE.request-matches');
  assert.equal(running.rights.has(0x8000), false);
});

test('pages of any frames, some of which may not be mapped, are each what they would be alone', () => {
  const w = new World();
  const { running } = w.running();
  const frames = [10, 11, 30, 29, 12, 13];
  frames.forEach((frame, i) => {
    must(augment(w, frame, FREE + i * PAGE));
  });
  w.machine.unmappable.add(gpaOf(11) / PAGE);
  w.s.epcm.setPte(13, 1);
  must(accept(w, FREE, frames.length));
  frames.forEach((frame, i) => {
    const rights = frame === 11 ? undefined : frame === 13 ? 'r' : 'rw';
    assert.equal(running.rights.get(0x8000 + i * PAGE), rights, `page ${i}`);
    assert.equal(w.s.epcm.bits(frame) & 0x3f, 3);
    assert.equal(w.s.epcm.mapped(frame), frame === 11 ? 0 : frame === 13 ? 1 : 3);
  });
});

test('a blocked page among new ones refuses all', () => {
  const w = new World();
  const { running } = w.running();
  for (let i = 0; i < 4; i++) must(augment(w, 10 + i, FREE + i * PAGE));
  w.s.epcm.setBits(12, w.s.epcm.bits(12) | EPCM_BLOCKED);
  const refused = accept(w, FREE, 4);
  assert.equal(tripped(refused), 'EACCEPT_RANGE.page-usable');
  assert.equal(refused.kind === 'fault' && refused.address, FREE + 2 * PAGE);
  assert.equal(running.rights.has(0x8000), false);
});

test('trimmed pages are accepted when the threads of before have left', () => {
  const w = new World();
  const { running } = w.running();
  for (let i = 0; i < 2; i++) must(augment(w, 10 + i, FREE + i * PAGE));
  must(accept(w, FREE, 2));
  running.enter(0);
  for (let i = 0; i < 2; i++) must(modifyType(w, 10 + i));
  assert.equal(tripped(accept(w, FREE, 2, TRIMMED)), 'EACCEPT_RANGE.tracked');
  track(w);
  running.enter(0, false);
  running.enter(0);
  must(accept(w, FREE, 2, TRIMMED));
  assert.equal(running.rights.has(0x8000), false);
});

test('restricted pages are accepted with exactly the permissions that are left, when the threads of before have left', () => {
  const w = new World();
  const { running } = w.running();
  for (let i = 0; i < 2; i++) grown(w, 10 + i, FREE + i * PAGE);
  for (let i = 0; i < 2; i++) must(restrict(w, 10 + i, SECINFO_R));
  const left = (PT_REG << 8) | SECINFO_PR | SECINFO_R;
  assert.equal(tripped(accept(w, FREE, 2, left | SECINFO_W)), 'EACCEPT_RANGE.request-matches');
  assert.equal(tripped(accept(w, FREE, 2, left | SECINFO_PENDING)), 'EACCEPT_RANGE.request-legal');
  track(w);
  must(accept(w, FREE, 2, left));
  for (let i = 0; i < 2; i++) assert.equal(running.rights.get(0x8000 + i * PAGE), 'r');
  assert.equal(w.s.epcm.bits(10) & SECINFO_PR, 0);
});

test('counts and ranges that cannot be are #GP', () => {
  const w = new World();
  w.running();
  must(augment(w, 10, FREE));
  for (const count of [0, EACCEPT_RANGE_MAX + 1, Number.POSITIVE_INFINITY, 2 ** 52])
    assert.equal(tripped(accept(w, FREE, count)), 'EACCEPT_RANGE.count');
  assert.equal(tripped(accept(w, FREE, EACCEPT_RANGE_MAX)), 'EACCEPT_RANGE.pages-in-elrange');
  assert.equal(tripped(accept(w, FREE + 8, 1)), 'EACCEPT_RANGE.pages-aligned');
  assert.equal(tripped(accept(w, FREE, 1, 0x231)), 'EACCEPT_RANGE.request-legal');
  assert.equal(tripped(accept(w, FREE, 1, 0x110)), 'EACCEPT_RANGE.request-legal');
});
