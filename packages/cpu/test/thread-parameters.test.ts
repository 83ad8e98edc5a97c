import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { EXIT_KIND } from '../src/host/index.js';
import { assemble, enclu } from './assemble.js';
import { AT, BenchMachine } from './bench-machine.js';

let machine: BenchMachine;
before(() => {
  machine = new BenchMachine();
});
after(() => machine.close());

const parameters = {
  tcsOffset: AT.TCS,
  ossa: AT.SSA,
  nssa: 2,
  oentry: AT.CODE,
  ofsbase: AT.DATA,
  ogsbase: AT.DATA,
  debugOptIn: false,
  aexNotify: false,
};
const reportsCssaAndTcs = assemble(`mov %rax,%rdi\nmov %rbx,%rsi\n${enclu(4)}`);

test('a changed TCS is taken over by the next entry, CSSA with it', () => {
  const enclave = machine.start({ code: reportsCssaAndTcs });
  const tcs = enclave.base + AT.TCS + 4096;
  try {
    assert.equal(enclave.gate.enter(0, 0), EXIT_KIND.EEXIT);
    enclave.running.setAdmitted(0, false);
    enclave.running.setThread(0, { ...parameters, tcsOffset: AT.TCS + 4096 }, 1);
    enclave.running.setAdmitted(0, true);
    assert.equal(enclave.gate.enter(0, 0), EXIT_KIND.EEXIT);
    assert.equal(enclave.gate.responseNumber(0), 1, 'CSSA');
    assert.equal(enclave.gate.responseNumber(1), tcs);
    assert.equal(enclave.running.threadState(0).cssa, 1);
  } finally {
    enclave.close();
  }
});

test('a thread that has lost its TCS has no frame to enter with, until it gets another', () => {
  const enclave = machine.start({ code: reportsCssaAndTcs });
  try {
    enclave.running.setAdmitted(0, false);
    const refused = {
      kind: 'ENTRY_FAILED',
      vector: 14,
      errorCode: 0,
      address: BigInt(enclave.base + AT.TCS),
    };
    assert.deepEqual(enclave.gate.exit(enclave.gate.enter(0, 0)), refused, 'before the first entry');
    enclave.running.setThread(0, null, 0);
    assert.deepEqual(enclave.gate.exit(enclave.gate.enter(0, 0)), { ...refused, address: 0n }, 'no TCS');
    enclave.running.setAdmitted(0, true);
    assert.equal(enclave.gate.enter(0, 0), EXIT_KIND.ENTRY_FAILED, 'NSSA is 0');
    assert.equal(enclave.gate.resume(), EXIT_KIND.ENTRY_FAILED);
    enclave.running.setAdmitted(0, false);
    enclave.running.setThread(0, parameters, 0);
    enclave.running.setAdmitted(0, true);
    assert.equal(enclave.gate.enter(0, 0), EXIT_KIND.EEXIT);
    assert.equal(enclave.running.anyInside(), false);
  } finally {
    enclave.close();
  }
});

test('ERESUME of a frame that may no longer be used is #PF there, and works once it may be again', () => {
  const enclave = machine.start({ code: assemble(`test %edi,%edi\njz 1f\nud2\n1: ${enclu(4)}`) });
  const set = (nssa: number) => {
    enclave.running.setAdmitted(0, false);
    enclave.running.setThread(0, { ...parameters, nssa }, enclave.running.threadState(0).cssa);
    enclave.running.setAdmitted(0, true);
  };
  try {
    for (let i = 0; i < 2; i++) assert.equal(enclave.gate.enter(1, 0), EXIT_KIND.AEX);
    set(1);
    const page = BigInt(enclave.base + AT.SSA + 4096);
    const refused = { kind: 'ENTRY_FAILED', vector: 14, errorCode: 0, address: page };
    assert.deepEqual(enclave.gate.exit(enclave.gate.resume()), refused);
    assert.equal(enclave.running.threadState(0).cssa, 2);
    set(2);
    assert.equal(enclave.gate.resume(), EXIT_KIND.AEX, 'UD2 again');
  } finally {
    enclave.close();
  }
});

test('every entry and every exit is counted once', () => {
  const code = assemble(`
    test %edi,%edi
    jz 1f
    ud2
  1: ${enclu(4)}`);
  const enclave = machine.start({ code });
  try {
    for (let i = 0; i < 7; i++) enclave.gate.enter(0, 0);
    enclave.gate.enter(1, 0);
    for (let i = 0; i < 3; i++) enclave.gate.resume();
    const { eenter, eresume, eexit, aex } = enclave.running.counters();
    assert.deepEqual({ eenter, eresume, eexit }, { eenter: 8, eresume: 3, eexit: 7 });
    assert.equal(aex[6], 4, '#UD');
    assert.equal(
      aex.reduce((sum, n) => sum + n, 0),
      4,
    );
  } finally {
    enclave.close();
  }
});
