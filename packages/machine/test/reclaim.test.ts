/** What a guest leaves behind: its memory must be good for the next one. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { SEV_FEATURES_SNP_ACTIVE } from '@nestedsgx/arch';
import { caaGpa, ghcbGpa, type Machine, Vmsa } from '../src/index.js';
import { changePageState, PSC_OP } from '../src/vcpu/page-state-change.js';
import { smallMachine } from './machines.js';

const SLICE = 0x40_0000;
const LENGTH = 0x40_0000;
let machine: Machine;

before(async () => {
  machine = await smallMachine();
});
after(() => machine.close());

function makeRunningVmsa(gpa: number): void {
  machine.guest.copyOut(1, gpa, Vmsa.build(1));
  machine.vcpus.registerVmsa(gpa, 3, SEV_FEATURES_SNP_ACTIVE);
  machine.vcpus.start(gpa);
}

test('a slice is whole again after a guest that left it in pieces', () => {
  machine.guest.copyOut(1, SLICE, new Uint8Array(LENGTH).fill(7));
  makeRunningVmsa(SLICE + 0x5000);
  assert.equal(changePageState(machine, SLICE, PSC_OP.SHARED, 0), true);
  assert.equal(changePageState(machine, SLICE + 0x1000, PSC_OP.SHARED, 0), true);
  assert.equal(changePageState(machine, SLICE + 0x1000, PSC_OP.PRIVATE, 0), true);
  machine.pvalidate(SLICE + 0x2000, 0, false);
  machine.deposit(SLICE + 0x20_0000, 0x20_0000);
  assert.throws(() => machine.guest.copyIn(1, SLICE + 0x1000, 1));
  assert.throws(() => machine.guest.copyIn(1, SLICE + 0x5000, 1));

  machine.reclaim(SLICE, LENGTH);
  assert.ok(machine.guest.copyIn(1, SLICE, LENGTH).every((byte) => byte === 0));
  for (let at = SLICE; at < SLICE + LENGTH; at += 0x1000) assert.ok(machine.rmp.visible(at));
  assert.equal(machine.memory.residence.hiddenPages, 0);
  assert.equal(machine.rmp.entry(SLICE)?.size, 1, 'one 2 MiB entry again');
  machine.guest.copyOut(1, SLICE + 0x5000, Uint8Array.of(1));
  makeRunningVmsa(SLICE + 0x5000);
  machine.reclaim(SLICE, LENGTH);
});

test('pages that somebody else holds stay as they are', () => {
  machine.guest.copyOut(1, SLICE, new Uint8Array(LENGTH).fill(7));
  machine.deposit(SLICE + 0x3000, 0x1000);
  machine.reclaim(SLICE, LENGTH, (gpa) => gpa === SLICE + 0x3000);
  assert.throws(() => machine.guest.copyIn(1, SLICE + 0x3000, 1), { code: 'NESTED_PAGE_FAULT' });
  assert.ok(machine.guest.copyIn(1, SLICE, 0x3000).every((byte) => byte === 0));
  assert.ok(machine.guest.copyIn(1, SLICE + 0x4000, LENGTH - 0x4000).every((byte) => byte === 0));
  machine.withdraw(SLICE + 0x3000, 0x1000);
  machine.reclaim(SLICE, LENGTH);
});

test('a vCPU gets its pages, whatever a guest made of them', () => {
  makeRunningVmsa(ghcbGpa(9));
  machine.deposit(caaGpa(9), 0x1000);
  const vcpu = machine.vcpus.add(9);
  assert.equal(machine.rmp.entry(vcpu.ghcbGpa)?.assigned, false);
  assert.deepEqual(machine.guest.copyIn(1, vcpu.caaGpa, 0x1000), new Uint8Array(0x1000));
  assert.equal(machine.vcpus.vmsa(ghcbGpa(9)), undefined);
  machine.vcpus.remove(9);
});
