import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { CallPool, usableCpus } from '@nestedsgx/os';
import { EXIT_KIND } from '../src/host/index.js';
import { assemble, enclu } from './assemble.js';
import { AT, BenchMachine, type TestEnclave } from './bench-machine.js';

const PAGE = 4096;
/** Reads the byte at ELRANGE offset RDI into RDI; with RSI ≠ 0 adds one to it first. */
const touch = assemble(`
  nop
  lea _start-${AT.CODE}(%rip),%rcx
  add %rdi,%rcx
  test %esi,%esi
  jz 1f
  incb (%rcx)
1: movzbl (%rcx),%edi
  ${enclu(4)}`);

/** The byte read, or the error code of the page fault; the thread is made fit for another entry. */
function access(enclave: TestEnclave, offset: number, write: boolean): { byte: number } | { fault: number } {
  const kind = enclave.gate.enter(offset, write ? 1 : 0);
  const exit = enclave.gate.exit(kind);
  if (exit.kind === 'EEXIT') return { byte: Number(exit.rdi) };
  assert.equal(exit.kind, 'AEX');
  assert.equal('vector' in exit && exit.vector, 14);
  return { fault: 'errorCode' in exit ? exit.errorCode : -1 };
}

test('pages come and go while the enclave runs, by the monitor’s hand only', (t) => {
  const machine = new BenchMachine();
  try {
    if (!machine.processor.facts().userfault) return t.skip('no userfaultfd here');
    const enclave = machine.start({ code: touch, nssa: 16 });
    assert.equal(enclave.running.userfault, true);
    const later = AT.DATA + 0x8000;
    assert.deepEqual(access(enclave, later, false), { fault: 4 }, 'not there yet');
    enclave.memory.write(later, new Uint8Array(PAGE).fill(7));
    assert.deepEqual(access(enclave, later, false), { fault: 4 }, 'in the memory, not mapped');
    enclave.running.map({ offset: later, length: PAGE, r: true, w: true, x: false });
    assert.deepEqual(access(enclave, later, true), { byte: 8 });
    enclave.running.writeProtect(later, PAGE, true);
    assert.deepEqual(access(enclave, later, false), { byte: 8 });
    assert.ok('fault' in access(enclave, later, true), 'W is gone');
    enclave.running.writeProtect(later, PAGE, false);
    assert.deepEqual(access(enclave, later, true), { byte: 9 });
    enclave.running.unmap(later, PAGE);
    assert.deepEqual(access(enclave, later, false), { fault: 4 }, 'unmapped');
    assert.equal(enclave.memory.read(later, 1)[0], 9, 'the contents stay');
    enclave.running.map({ offset: later, length: PAGE, r: true, w: false, x: false });
    assert.deepEqual(access(enclave, later, false), { byte: 9 });
    assert.ok('fault' in access(enclave, later, true), 'mapped without W');
    enclave.memory.discard(later, PAGE);
    assert.deepEqual(access(enclave, later, false), { fault: 4 }, 'discarded');
    enclave.close();
    assert.throws(() => enclave.running.map({ offset: later, length: PAGE, r: true, w: false, x: false }), {
      code: 'ENCLAVE_STOPPED',
    });
  } finally {
    machine.close();
  }
});

test('an executable page that is taken away is gone, its patched copy included', (t) => {
  const machine = new BenchMachine();
  try {
    if (!machine.processor.facts().userfault) return t.skip('no userfaultfd here');
    const enclave = machine.start({ code: touch, nssa: 4 });
    assert.equal(enclave.running.patchedSites, 1);
    assert.equal(enclave.gate.enter(AT.DATA, 0), EXIT_KIND.EEXIT);
    enclave.running.unmap(AT.CODE, PAGE);
    const exit = enclave.gate.exit(enclave.gate.enter(AT.DATA, 0));
    assert.equal(exit.kind === 'AEX' && exit.vector, 14);
    assert.equal(exit.kind === 'AEX' && exit.address, BigInt(enclave.base + AT.CODE));
    enclave.close();
  } finally {
    machine.close();
  }
});

test('without userfaultfd an enclave runs, and absent pages are out of reach', () => {
  const machine = new BenchMachine({ userfault: false });
  try {
    const enclave = machine.start({ code: touch, nssa: 16 });
    assert.equal(enclave.running.userfault, false);
    assert.deepEqual(access(enclave, AT.DATA, true), { byte: 1 });
    assert.deepEqual(access(enclave, AT.DATA + 0x8000, false), { fault: 4 });
    assert.deepEqual(access(enclave, AT.CODE, true), { fault: 0x8007 });
    // What the monitor cannot do by itself, the runner's agent does.
    const later = { offset: AT.DATA + 0x8000, length: PAGE, r: true, w: true, x: false };
    enclave.running.map(later);
    assert.deepEqual(access(enclave, later.offset, true), { byte: 1 });
    enclave.running.protect({ ...later, w: false });
    assert.deepEqual(access(enclave, later.offset, true), { fault: 0x8007 });
    enclave.running.unmap(later.offset, PAGE);
    assert.deepEqual(access(enclave, later.offset, false), { fault: 4 });
    assert.equal(enclave.memory.read(later.offset, 1)[0], 1);
    enclave.running.map(later);
    assert.deepEqual(access(enclave, later.offset, true), { byte: 2 });
    enclave.close();
  } finally {
    machine.close();
  }
});

test('a thread that computes leaves its caller’s CPU to others', async (t) => {
  if (usableCpus().length < 2) return t.skip('one CPU');
  const machine = new BenchMachine();
  const pool = new CallPool(2);
  try {
    const enclave = machine.start({
      code: assemble(`nop\ntest %edi,%edi\njz 2f\n1: jmp 1b\n2: ${enclu(4)}`),
    });
    const allowed = () => {
      const tid = readFileSync(`/proc/${enclave.running.pid}/task/${tids[1]}/status`, 'utf8');
      return /Cpus_allowed:\s*(\S+)/.exec(tid)![1]!;
    };
    const { readdirSync } = await import('node:fs');
    const tids = readdirSync(`/proc/${enclave.running.pid}/task`);
    const all = allowed();
    // Called now and then the thread settles on its caller's CPU.
    for (let i = 0; i < 5; i++) {
      enclave.gate.enter(0, 0);
      await sleep(5);
    }
    const followed = allowed();
    const entry = enclave.gate.enterAsync(pool, 2, { rdi: 1 });
    await sleep(120);
    const running = allowed();
    enclave.running.stop();
    await entry;
    enclave.close();
    assert.notEqual(followed, all, 'follows its caller');
    assert.equal(running, all, 'set free');
  } finally {
    machine.close();
    await pool.close();
  }
});
