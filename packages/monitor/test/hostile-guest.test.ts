/** Guests and machines at their worst: what they do may cost an enclave its life, never the monitor its own. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  PT_REG,
  SGX_CALL,
  SVSM,
  SVSM_CORE,
  SVSM_PROTOCOL,
  SVSM_PROTOCOL_SGX,
  writeU64,
} from '@nestedsgx/arch';
import { removeWhole } from '../src/state/enclave-life.js';
import { callOf, FakeOsError, type FakeRunning } from './support/fake-machine.js';
import { MonitorWorld } from './support/monitor-world.js';
import { AT, BASE, GOOD_SECS, must, REG_RW, TCS_FLAGS, tcsPage, World } from './support/world.js';

test('SSA frames of any size cost no more than the pages that EENTER looks at', () => {
  const w = new World();
  // 512 GiB of ELRANGE, frames of 4 GiB: their pages are more than a Set can hold.
  const size = 2 ** 39;
  const frameBytes = 2 ** 32;
  must(
    w.create({ ...GOOD_SECS, SIZE: BigInt(size), BASEADDR: BigInt(size), SSAFRAMESIZE: frameBytes / 4096 }),
  );
  must(w.add(1, size, TCS_FLAGS, tcsPage({ OSSA: BigInt(frameBytes), NSSA: 20 })));
  let frame = 2;
  for (let i = 1; i <= 20; i++) {
    must(w.add(frame++, size + i * frameBytes, REG_RW, 0));
    must(w.add(frame++, size + (i + 1) * frameBytes - 4096, REG_RW, 0));
  }
  const enclave = w.enclave();
  enclave.gates = { gpa: AT.GATES, count: 1 };
  must(w.init());
  assert.equal(w.processor.running[0].start.threads[0].nssa, 20);
  assert.equal(enclave.admissionPages.size, 41);
  must(w.remove(3));
  assert.deepEqual(w.processor.running[0].admitted, [false], 'the first frame has lost its GPRSGX');
});

test('a page that cannot be unmapped is scrubbed all the same, and costs the enclave its life', () => {
  const w = new World();
  const { enclave, running } = w.running();
  enclave.memory.write(0x4000, new Uint8Array(16).fill(1));
  running.unmap = () => {
    throw new FakeOsError('no userfaultfd');
  };
  must(w.remove(4));
  assert.deepEqual(enclave.memory.read(0x4000, 16), new Uint8Array(16));
  assert.deepEqual([running.stopped, enclave.running], [true, null]);
});

test('an enclave whose memory cannot be touched is lost; the monitor goes on', () => {
  const w = new MonitorWorld();
  const inner = new World();
  const { enclave, running } = inner.running();
  w.monitor.state.enclaves.set(0, enclave);
  enclave.memory.read = () => {
    throw new FakeOsError('out of memory');
  };
  running.leaves.push({
    thread: 0,
    leaf: 1,
    rbx: BigInt(BASE + 0x4000),
    rcx: BigInt(BASE + 0x4000),
    rdx: 0n,
  });
  // The page table of the other world knows the frames; the EPCM must, too.
  for (const f of [4]) w.monitor.state.epcm.fill(f, 3 | (PT_REG << 8), 0, BASE + f * 4096);
  assert.equal(w.monitor.serveRunners(), true);
  assert.deepEqual([running.stopped, enclave.lost], [true, 'its memory cannot be touched']);
  assert.equal(w.sgx(SGX_CALL.QUERY).rax, 0);
});

test('an owner goes although its memory cannot be scrubbed: closing gives it back', () => {
  const w = new World();
  const { enclave } = w.running();
  enclave.memory.discard = () => {
    throw new FakeOsError('out of memory');
  };
  removeWhole(w.s, enclave);
  assert.equal((enclave.memory as unknown as { closed: boolean }).closed, true);
  assert.equal((w.processor.running[0] as FakeRunning).stopped, true);
  assert.deepEqual([w.s.enclaves.size, w.s.epcm.validCount], [0, 0]);
});

test('the pages through which vCPUs speak cannot be made EPC', () => {
  const w = new MonitorWorld({ platform: { depositBase: 0x2_0000 } });
  const deposit = (gpa: number) => {
    writeU64(w.machine.ram, 0x3000, 1n);
    writeU64(w.machine.ram, 0x3008, BigInt(gpa));
    return w.call(SVSM_PROTOCOL.CORE, SVSM_CORE.DEPOSIT_MEM, 0x3000).rax;
  };
  assert.equal(deposit(0x1_1000), SVSM.INVALID_ADDRESS);
  assert.equal(deposit(0x2_0000), SVSM.SUCCESS);
  assert.equal(w.monitor.state.frames.depositedCount, 1);
});

test('an answer for which there is no memory is an answer less', () => {
  const w = new MonitorWorld();
  w.machine.answer = () => {
    throw new FakeOsError('out of memory');
  };
  w.machine.list[0]!.request = callOf(SVSM_PROTOCOL_SGX, SGX_CALL.QUERY);
  assert.equal(w.monitor.serveVcpu(0), true);
  assert.equal(w.machine.list[0]!.request, null, 'the exit is complete');
});
