import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { close, mmap, seals } from '@nestedsgx/os';
import {
  DOORBELL_GPA,
  EPC_GPA,
  MAX_COPY,
  type Machine,
  Machine as MachineClass,
  MONITOR_GPA,
  PhysicalMemory,
  RAM_SLOT_BASE,
  RAM_SLOT_STRIDE,
} from '../src/index.js';
import { launchedPsp, RAM, smallMachine } from './machines.js';

const FAULT = { code: 'NESTED_PAGE_FAULT' };

describe('guest memory', () => {
  let machine: Machine;
  before(async () => {
    machine = await smallMachine();
  });
  after(() => machine.close());

  it('lies at base + gPA in a slot of its own, sealed against resizing', async () => {
    assert.equal((machine.memory.base - RAM_SLOT_BASE) % RAM_SLOT_STRIDE, 0);
    assert.equal(seals(machine.memory.ramFd) & 7, 7);
    const other = await smallMachine();
    assert.notEqual(other.memory.base, machine.memory.base);
    other.close();
    assert.throws(() => PhysicalMemory.create(RAM, (machine.memory.base - RAM_SLOT_BASE) / RAM_SLOT_STRIDE), {
      code: 'MACHINE_NO_SLOT',
    });
  });

  it('refuses sizes a machine cannot have', async () => {
    const psp = await launchedPsp();
    for (const ramBytes of [0, 4096, RAM + 4096, 2 ** 40, Number.NaN, -RAM]) {
      assert.throws(() => MachineClass.create({ psp, ramBytes, epcBytes: 0x20_0000 }), {
        code: 'MACHINE_SIZE',
      });
    }
    for (const epcBytes of [0, 4096, 2 ** 50, Number.NaN]) {
      assert.throws(() => MachineClass.create({ psp, ramBytes: RAM, epcBytes }), { code: 'MACHINE_SIZE' });
    }
  });

  it('copies across pages, once, both ways', () => {
    const data = randomBytes(10_000);
    machine.guest.copyOut(1, 0x40_0ffd, data);
    assert.deepEqual(Buffer.from(machine.guest.copyIn(1, 0x40_0ffd, data.length)), data);
    const into = new Uint8Array(100);
    machine.guest.copyInto(1, 0x40_1000, into);
    assert.deepEqual(Buffer.from(into), data.subarray(3, 103));
    machine.guest.copyOut(1, 0x40_0ffd, new Uint8Array(0));
    const large = randomBytes(300_000);
    machine.guest.copyOut(1, 0x41_0001, large);
    assert.deepEqual(Buffer.from(machine.guest.copyIn(1, 0x41_0001, large.length)), large);
  });

  it('refuses the confused deputy: EPC, monitor, uncovered, past the end, absurd', () => {
    const bytes = new Uint8Array(8);
    machine.addMonitorPages(MONITOR_GPA, new TextEncoder().encode('measured'), 'bundle');
    assert.equal(Buffer.from(machine.guest.copyIn(0, MONITOR_GPA, 8)).toString(), 'measured');
    for (const gpa of [
      EPC_GPA,
      EPC_GPA + 0x1000,
      MONITOR_GPA,
      RAM - 4,
      RAM,
      2 ** 47,
      -8,
      1.5,
      Number.NaN,
      2 ** 53,
    ]) {
      assert.throws(() => machine.guest.copyIn(1, gpa, 8), FAULT, `read ${gpa}`);
      assert.throws(() => machine.guest.copyOut(1, gpa, bytes), FAULT, `write ${gpa}`);
    }
    assert.throws(() => machine.guest.copyIn(1, 0x40_0000, MAX_COPY + 1), { code: 'MACHINE_COPY_LENGTH' });
    assert.throws(() => machine.guest.copyIn(1, 0x40_0000, -1), FAULT);
    assert.throws(() => machine.guest.copyIn(0, EPC_GPA, 8), { code: 'MACHINE_NO_BACKING' });
    assert.throws(() => machine.guest.copyOut(0, MONITOR_GPA, bytes), { code: 'MACHINE_NO_BACKING' });
  });

  it('writes nothing when the last page of a range is refused', () => {
    machine.guest.copyOut(1, 0x50_0000, new Uint8Array(0x2000).fill(1));
    machine.restrict(0x50_1000, 1);
    assert.throws(() => machine.guest.copyOut(1, 0x50_0000, new Uint8Array(0x2000).fill(2)), FAULT);
    assert.equal(machine.guest.copyIn(1, 0x50_0000, 1)[0], 1);
    assert.equal(machine.guest.copyIn(0, 0x50_0fff, 2)[1], 1, 'VMPL0 reads on, where the content lies now');
    machine.restrict(0x50_1000, 1 | 0xf00);
    assert.equal(machine.guest.copyIn(1, 0x50_1000, 1)[0], 0, 'scrubbed on the way back');
  });

  it('shares the doorbell page with everyone', () => {
    assert.equal(machine.rmp.entry(DOORBELL_GPA)?.assigned, false);
    machine.guest.copyOut(1, DOORBELL_GPA, Uint8Array.of(1));
  });

  it('deposits memory: gone from VMPL1 and zero; withdraws it: there again and zero', () => {
    const gpa = 0x60_1000;
    const length = 0x3000;
    const mapping = mmap({ fd: machine.memory.ramFd, length: RAM, prot: 'rw', shared: true });
    try {
      machine.guest.copyOut(1, gpa, new Uint8Array(length).fill(0x77));
      machine.deposit(gpa, length);
      assert.throws(() => machine.guest.copyIn(1, gpa, 1), FAULT);
      assert.ok(machine.guest.copyIn(0, gpa, length).every((b) => b === 0));
      machine.guest.copyOut(0, gpa, new Uint8Array(length).fill(0x55));
      assert.equal(mapping.bytes[gpa], 0, 'a host with its own mapping sees nothing of it');
      mapping.bytes[gpa] = 0x99;
      assert.equal(machine.guest.copyIn(0, gpa, 1)[0], 0x55, 'and what it writes reaches nobody');
      assert.deepEqual(machine.effectiveMapping(gpa, { r: true, w: true, x: false }), {
        r: true,
        w: true,
        x: false,
      });
      assert.throws(() => machine.deposit(gpa, length), { code: 'MACHINE_DEPOSIT' }, 'twice');
      machine.withdraw(gpa, length);
      assert.ok(machine.guest.copyIn(1, gpa, length).every((b) => b === 0));
      assert.equal(mapping.bytes[gpa], 0);
      assert.throws(() => machine.withdraw(gpa, length), { code: 'MACHINE_DEPOSIT' }, 'twice');
    } finally {
      mapping.unmap();
    }
  });

  it('deposits all or nothing, and only what VMPL1 has', () => {
    machine.restrict(0x70_1000, 1 | 0x100);
    for (const [gpa, length] of [
      [0x70_0000, 0x2000],
      [DOORBELL_GPA, 0x1000],
      [EPC_GPA, 0x1000],
      [RAM - 0x1000, 0x2000],
      [0x70_0800, 0x1000],
      [0x70_0000, 0],
      [0x70_0000, Number.NaN],
      [-0x1000, 0x1000],
    ]) {
      assert.throws(() => machine.deposit(gpa, length), { code: 'MACHINE_DEPOSIT' }, `${gpa}+${length}`);
      assert.throws(() => machine.withdraw(gpa, length), { code: 'MACHINE_DEPOSIT' });
    }
    assert.ok(machine.rmp.allows(1, 0x70_0000, 0x1000, 'w'));
  });

  it('survives memory the kernel cannot provide', async () => {
    const broken = await smallMachine();
    // As if a page had gone bad: nothing is mapped there any more.
    mmap({ length: 4096, address: broken.memory.base + 0x40_0000, prot: '', noReplace: false });
    assert.throws(() => broken.guest.copyIn(1, 0x40_0000, 8), { code: 'MACHINE_BUS_ERROR' });
    assert.throws(() => broken.guest.copyOut(1, 0x40_0000, new Uint8Array(8)), { code: 'MACHINE_BUS_ERROR' });
    broken.close();
  });

  it('refuses overlapping or misplaced monitor pages', () => {
    const page = new Uint8Array(4096);
    for (const gpa of [MONITOR_GPA, MONITOR_GPA + 0x800, 0, EPC_GPA]) {
      assert.throws(() => machine.addMonitorPages(gpa, page, 'x'), { code: 'MACHINE_REGION' });
    }
  });

  it('gives descriptors and mappings back', async () => {
    const m = await smallMachine();
    m.close();
    m.close();
    assert.throws(() => close(m.memory.ramFd));
  });
});
