import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { EXIT_KIND } from '../src/host/index.js';
import { assemble, enclu } from './assemble.js';
import { AT, BenchMachine } from './bench-machine.js';

const GPRSGX = 4096 - 184;
let machine: BenchMachine;
before(() => {
  machine = new BenchMachine();
});
after(() => machine.close());

/**
 * Every entry with EDI = 1 runs into UD2 at its own CSSA, after it has put CSSA into R15; with EDI = 0 it moves RIP of
 * the frame below behind the UD2 and leaves; a resumed one leaves with R15.
 */
const code = assemble(`
  mov %eax,%r15d
  test %edi,%edi
  jz 1f
  ud2
  mov %r15,%rdi
  ${enclu(4)}
1: dec %eax
  shl $12,%rax
  lea _start+${AT.SSA - AT.CODE}(%rip),%rcx
  addq $2,${GPRSGX + 136}(%rcx,%rax)
  mov $77,%edi
  ${enclu(4)}`);

for (const nssa of [2, 3, 5, 8])
  test(`exceptions nest up to NSSA ${nssa}, and ERESUME takes them back one by one`, () => {
    const enclave = machine.start({ code, nssa });
    const { gate, running } = enclave;
    try {
      for (let round = 0; round < 3; round++) {
        for (let depth = 0; depth < nssa; depth++) {
          assert.equal(running.threadState(0).cssa, depth);
          const exit = gate.exit(gate.enter(1, 0));
          assert.deepEqual(exit, { kind: 'AEX', vector: 6, errorCode: 0, address: 0n });
          assert.equal(enclave.ssa(depth).getBigUint64(GPRSGX + 120, true), BigInt(depth), 'R15');
        }
        assert.deepEqual(gate.exit(gate.enter(1, 0)), {
          kind: 'ENTRY_FAILED',
          vector: 13,
          errorCode: 0,
          address: BigInt(enclave.base + AT.TCS),
        });
        assert.equal(running.threadState(0).cssa, nssa, 'a refused entry changes nothing');
        // The top frame has no room for a handler: it raises the same exception for ever.
        assert.equal(gate.resume(), EXIT_KIND.AEX);
        const rip = enclave.ssa(nssa - 1).getBigUint64(GPRSGX + 136, true);
        const bytes = new Uint8Array(8);
        new DataView(bytes.buffer).setBigUint64(0, rip + 2n, true);
        enclave.memory.write(AT.SSA + (nssa - 1) * 4096 + GPRSGX + 136, bytes);
        for (let depth = nssa - 1; depth >= 0; depth--) {
          assert.equal(gate.resume(), EXIT_KIND.EEXIT);
          assert.equal(gate.responseNumber(0), depth);
          assert.equal(running.threadState(0).cssa, depth);
          if (depth === 0) break;
          assert.equal(gate.enter(0, 0), EXIT_KIND.EEXIT, 'the handler of the frame below');
          assert.equal(gate.responseNumber(0), 77);
        }
        assert.equal(gate.resume(), EXIT_KIND.ENTRY_FAILED);
      }
      const { aex, eresume } = running.counters();
      assert.equal(aex[6], 3 * (nssa + 1));
      assert.equal(eresume, 3 * (nssa + 1));
      assert.equal(running.lost, null);
    } finally {
      enclave.close();
    }
  });

test('frames of several pages are checked page by page before an entry', () => {
  const enclave = machine.start({ code, nssa: 2, framePages: 3, xfrm: 7n });
  const { gate, running } = enclave;
  const frame = 3 * 4096;
  try {
    assert.equal(gate.enter(1, 0), EXIT_KIND.AEX);
    assert.equal(gate.resume(), EXIT_KIND.AEX);
    for (const [offset, what] of [
      [0, 'the XSAVE area'],
      [2 * 4096, 'GPRSGX'],
    ] as const) {
      enclave.memory.discard(AT.SSA + frame + offset, 4096);
      const exit = gate.exit(gate.enter(1, 0));
      assert.deepEqual(
        exit,
        {
          kind: 'ENTRY_FAILED',
          vector: 14,
          errorCode: 6,
          address: BigInt(enclave.base + AT.SSA + frame + offset),
        },
        what,
      );
      enclave.memory.write(AT.SSA + frame + offset, new Uint8Array(4096));
      running.map({ offset: AT.SSA + frame + offset, length: 4096, r: true, w: true, x: false });
    }
    enclave.memory.discard(AT.SSA, 4096);
    assert.deepEqual(gate.exit(gate.resume()), {
      kind: 'ENTRY_FAILED',
      vector: 14,
      errorCode: 6,
      address: BigInt(enclave.base + AT.SSA),
    });
    // Not admitted for its frame's sake: the page that is missing is named, not the TCS.
    running.setAdmitted(0, false);
    assert.equal(
      gate.exit(gate.resume()).kind === 'ENTRY_FAILED' && gate.responseNumber(1),
      enclave.base + AT.SSA,
    );
    assert.equal(
      gate.exit(gate.enter(0, 0)).kind === 'ENTRY_FAILED' && gate.responseNumber(1),
      enclave.base + AT.TCS,
    );
    assert.equal(running.lost, null);
  } finally {
    enclave.close();
  }
});
