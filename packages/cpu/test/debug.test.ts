import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { EXIT_KIND } from '../src/host/index.js';
import { assemble, enclu } from './assemble.js';
import { AT, BenchMachine, type TestEnclave } from './bench-machine.js';

const GPRSGX = 4096 - 184;
const TF = 0x100n;
const DB = 0x8000_0301;

let machine: BenchMachine;
let unpatched: BenchMachine;
before(() => {
  machine = new BenchMachine();
  unpatched = new BenchMachine({ patch: false }, 62);
});
after(() => {
  machine.close();
  unpatched.close();
});

const rip = (enclave: TestEnclave) =>
  Number(enclave.ssa().getBigUint64(GPRSGX + 136, true)) - enclave.base - AT.CODE;

/** Single-steps until the enclave leaves; returns where it stopped. */
function step(enclave: TestEnclave, limit = 100): { stops: number[]; kind: number } {
  const stops: number[] = [];
  const { gate } = enclave;
  gate.singleStep = true;
  let kind = gate.enter(7, 0);
  while (kind === EXIT_KIND.AEX && stops.length < limit) {
    assert.deepEqual(gate.exit(kind), { kind: 'AEX', vector: 1, errorCode: 0, address: 0n });
    assert.equal(enclave.ssa().getUint32(GPRSGX + 160, true), DB >>> 0, 'EXITINFO');
    assert.equal(enclave.ssa().getBigUint64(GPRSGX + 128, true) & TF, 0n, 'TF is saved as 0');
    stops.push(rip(enclave));
    kind = gate.resume();
  }
  return { stops, kind };
}

// lea (4 bytes), nop, nop, mov (5), ENCLU (3)
const code = assemble(`lea 1(%rdi),%rdi\nnop\nnop\n${enclu(4)}`);

test('with opt-in the host’s TF stops after the entry and after each instruction', () => {
  for (const m of [machine, unpatched]) {
    const enclave = m.start({ code, debug: true, optIn: true });
    try {
      const { stops, kind } = step(enclave);
      assert.equal(kind, EXIT_KIND.EEXIT);
      // A patched site is one instruction: its jump replaces the mov, and EEXIT ends the steps.
      assert.deepEqual(stops, m === machine ? [0, 4, 5, 6] : [0, 4, 5, 6, 11]);
      assert.equal(enclave.gate.responseNumber(0), 8);
      enclave.gate.singleStep = false;
      assert.equal(enclave.gate.enter(1, 0), EXIT_KIND.EEXIT);
    } finally {
      enclave.close();
    }
  }
});

test('without opt-in, or outside a debug enclave, the host’s TF means nothing', () => {
  for (const options of [{}, { debug: true }, { optIn: true }]) {
    const enclave = machine.start({ code, ...options });
    try {
      assert.deepEqual(step(enclave), { stops: [], kind: EXIT_KIND.EEXIT });
    } finally {
      enclave.close();
    }
  }
});

test('ERESUME without TF runs on', () => {
  const enclave = machine.start({ code, debug: true, optIn: true });
  try {
    enclave.gate.singleStep = true;
    assert.equal(enclave.gate.enter(1, 0), EXIT_KIND.AEX);
    assert.equal(rip(enclave), 0);
    enclave.gate.singleStep = false;
    assert.equal(enclave.gate.resume(), EXIT_KIND.EEXIT);
    assert.equal(enclave.gate.responseNumber(0), 2);
  } finally {
    enclave.close();
  }
});

test('the step of a leaf ends behind its ENCLU', () => {
  // EDECCSSA at CSSA 1: the handler below a UD2.
  const stepped = assemble(`
    test %eax,%eax
    jnz 1f
    ud2
  1: nop
    ${enclu(9)}
  after: nop
    ${enclu(4)}
    .quad after-_start`);
  const after = new DataView(stepped.buffer, stepped.byteOffset).getUint32(stepped.byteLength - 8, true);
  for (const m of [machine, unpatched]) {
    const enclave = m.start({ code: stepped, debug: true, optIn: true, nssa: 3 });
    const { gate } = enclave;
    const at = () => {
      const { cssa } = enclave.running.threadState(0);
      return Number(enclave.ssa(cssa - 1).getBigUint64(GPRSGX + 136, true)) - enclave.base - AT.CODE;
    };
    try {
      assert.equal(gate.enter(0, 0), EXIT_KIND.AEX);
      gate.singleStep = true;
      const stops: number[] = [];
      let kind = gate.enter(0, 0);
      for (let i = 0; i < 20 && kind === EXIT_KIND.AEX; i++) {
        stops.push(at());
        kind = gate.resume();
      }
      assert.equal(kind, EXIT_KIND.EEXIT);
      assert.ok(stops.includes(after), `${after} in ${stops}`);
      assert.ok(stops.every((stop) => stop >= 0 && stop < stepped.byteLength));
      assert.equal(enclave.running.lost, null);
    } finally {
      enclave.close();
    }
  }
});

test('TF set by the enclave stops it once: the exit takes TF away', () => {
  const sets = assemble(`
    lea _start+${AT.DATA + 0x800 - AT.CODE}(%rip),%rsp
    pushfq
    orl $0x100,(%rsp)
    popfq
    nop
    nop
    nop
    ${enclu(4)}`);
  const enclave = machine.start({ code: sets, debug: true, optIn: true });
  try {
    assert.equal(enclave.gate.enter(0, 0), EXIT_KIND.AEX);
    assert.equal(enclave.gate.resume(), EXIT_KIND.EEXIT);
    const plain = machine.start({ code: sets, base: machine.base + 0x81_0000_0000 });
    assert.equal(plain.gate.enter(0, 0), EXIT_KIND.EEXIT, 'opt-out: POPF cannot set TF');
    plain.close();
  } finally {
    enclave.close();
  }
});

test('an INT3 that stands for an ENCLU is no breakpoint, whatever a debugger has opted in to', () => {
  // The mov lies across two pages, so the site is patched by INT3 in the ENCLU's first byte.
  const crossing = assemble(`
    test %esi,%esi
    jz 1f
    int3
  1: lea 1(%rdi),%rdi
    jmp 2f
    .org 0xffd
  2: ${enclu(4)}`);
  const ranges = [
    { offset: AT.CODE, length: 0x2000, r: true, w: false, x: true },
    { offset: AT.DATA, length: 0x4000, r: true, w: true, x: false },
    { offset: AT.SSA, length: 0x2000, r: true, w: true, x: false },
  ];
  for (const optIn of [true, false]) {
    const enclave = machine.start({ code: crossing, ranges, debug: true, optIn });
    const { gate } = enclave;
    try {
      for (let i = 0; i < 50; i++) {
        assert.equal(gate.enter(i, 0), EXIT_KIND.EEXIT);
        assert.equal(gate.responseNumber(0), i + 1);
      }
      const { aex } = enclave.running.counters();
      assert.ok(
        aex.every((n) => n === 0),
        'no exception was counted',
      );
      const exit = gate.exit(gate.enter(0, 1));
      assert.equal(exit.kind === 'AEX' && exit.vector, optIn ? 3 : 6, 'its own INT3');
    } finally {
      enclave.close();
    }
  }
});
