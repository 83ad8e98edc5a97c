import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EXIT_KIND } from '../src/host/index.js';
import { assemble, enclu } from './assemble.js';
import { BenchMachine } from './bench-machine.js';

test('EENTER reaches the enclave and EEXIT comes back with its registers', () => {
  const machine = new BenchMachine();
  try {
    const enclave = machine.start({ code: assemble(`lea 1(%rdi),%rdi\nlea 2(%rsi),%rsi\n${enclu(4)}`) });
    for (let i = 0; i < 100; i++) {
      const kind = enclave.gate.enter(i, 1000);
      assert.equal(
        kind,
        EXIT_KIND.EEXIT,
        JSON.stringify(enclave.gate.exit(kind), (_k, v) => (typeof v === 'bigint' ? v.toString(16) : v)),
      );
      assert.equal(enclave.gate.responseNumber(0), i + 1);
      assert.equal(enclave.gate.responseNumber(1), 1002);
    }
    enclave.close();
  } finally {
    machine.close();
  }
});
