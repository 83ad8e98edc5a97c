import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { inspect } from 'node:util';
import { EXIT_KIND } from '../src/host/index.js';
import { assemble, enclu } from './assemble.js';
import { AT, BenchMachine, type TestEnclave } from './bench-machine.js';

const GPRSGX = 4096 - 184;
const REGISTERS = 'rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15'.split(' ');
/** Linear address of something in the ELRANGE, relative to the code. */
const rel = (offset: number) => `_start+${offset - AT.CODE}(%rip)`;

let machine: BenchMachine;
before(() => {
  machine = new BenchMachine();
});
after(() => machine.close());

function using(options: Parameters<BenchMachine['start']>[0], run: (enclave: TestEnclave) => void): void {
  const enclave = machine.start(options);
  try {
    run(enclave);
  } finally {
    enclave.close();
  }
}

/** A handler at CSSA > 0 that moves the interrupted RIP on by `bytes` and leaves. */
const skipHandler = (bytes: number) => `
  test %eax,%eax
  jz 1f
  addq $${bytes}, ${rel(AT.SSA + GPRSGX + 136)}
  ${enclu(4)}
1:`;

test('general registers, flags and vector registers survive an AEX and ERESUME', () => {
  const wide = (machine.processor.facts().xcr0 & 0xe0n) === 0xe0n;
  const vector = wide ? 'zmm' : 'ymm';
  const count = wide ? 32 : 16;
  const bytes = wide ? 64 : 32;
  const others = REGISTERS.filter((name) => name !== 'rsp');
  const move = wide ? 'vmovdqu64' : 'vmovdqu';
  const source = AT.DATA + 0x1000;
  const copy = AT.DATA + 0x2000;
  const code = assemble(`
    ${skipHandler(2)}
    ${Array.from({ length: count }, (_, i) => `${move} ${rel(source + i * bytes)}, %${vector}${i}`).join('\n')}
    lea ${rel(AT.DATA + 0x800)}, %rsp
    ${others.map((name, i) => `mov $0x${(0x1111111111111111n * BigInt(i + 1)).toString(16)}, %${name}`).join('\n')}
    stc
    std
    ud2
    ${others.map((name, i) => `mov %${name}, ${rel(AT.DATA + i * 8)}`).join('\n')}
    mov %rsp, ${rel(AT.DATA + 15 * 8)}
    pushfq
    popq ${rel(AT.DATA + 16 * 8)}
    ${Array.from({ length: count }, (_, i) => `${move} %${vector}${i}, ${rel(copy + i * bytes)}`).join('\n')}
    cld
    mov $77,%edi
    xor %ebx,%ebx
    ${enclu(4)}`);
  using({ code, xfrm: wide ? 0xe7n : 7n }, (enclave) => {
    const pattern = Uint8Array.from({ length: count * bytes }, (_, i) => (i * 7 + 3) & 0xff);
    enclave.memory.write(source, pattern);
    for (let round = 0; round < 50; round++) {
      assert.deepEqual(enclave.gate.exit(enclave.gate.enter(0, 0)), {
        kind: 'AEX',
        vector: 6,
        errorCode: 0,
        address: 0n,
      });
      const ssa = enclave.ssa();
      assert.equal(ssa.getBigUint64(GPRSGX + 8, true), 0x1111111111111111n * 2n, 'RCX in the SSA');
      assert.equal(ssa.getUint32(GPRSGX + 160, true), 0x80000306, 'EXITINFO');
      assert.equal(enclave.gate.enter(0, 0), EXIT_KIND.EEXIT, 'the handler leaves');
      const kind = enclave.gate.resume();
      assert.equal(kind, EXIT_KIND.EEXIT, inspect(enclave.gate.exit(kind)));
      assert.equal(enclave.gate.responseNumber(0), 77);
      const data = new DataView(enclave.memory.read(AT.DATA, 0x1000).buffer);
      others.forEach((name, i) => {
        assert.equal(data.getBigUint64(i * 8, true), 0x1111111111111111n * BigInt(i + 1), name);
      });
      assert.equal(data.getBigUint64(15 * 8, true), BigInt(enclave.base + AT.DATA + 0x800), 'rsp');
      assert.equal(data.getBigUint64(16 * 8, true) & 0x401n, 0x401n, 'CF and DF');
      assert.deepEqual(enclave.memory.read(copy, count * bytes), pattern);
    }
  });
});

test('EENTER passes the architectural registers and stores the outside stack', () => {
  const code = assemble(`
    mov %rax, ${rel(AT.DATA)}
    mov %rbx, ${rel(AT.DATA + 8)}
    mov %rsp, ${rel(AT.DATA + 16)}
    mov %rbp, ${rel(AT.DATA + 24)}
    mov %fs:0, %rax
    mov %rax, ${rel(AT.DATA + 32)}
    rdgsbase %rax
    mov %rax, ${rel(AT.DATA + 40)}
    ${enclu(4)}`);
  using({ code, ofsbase: AT.DATA }, (enclave) => {
    enclave.gate.setRegisters({ rdx: 5, r8: 6, r9: -7n, rsp: 0x1234560, rbp: 0x7654320 });
    const kind = enclave.gate.enter(-1, 3);
    assert.deepEqual(enclave.gate.exit(kind), {
      kind: 'EEXIT',
      rdi: 0xffff_ffff_ffff_ffffn,
      rsi: 3n,
      rdx: 5n,
      r8: 6n,
      r9: 0xffff_ffff_ffff_fff9n,
      rbx: BigInt(enclave.base + AT.TCS),
    });
    assert.equal(enclave.gate.exitRdi32, -1);
    const data = new DataView(enclave.memory.read(AT.DATA, 48).buffer);
    assert.equal(data.getBigUint64(0, true), 0n, 'CSSA');
    assert.equal(data.getBigUint64(8, true), BigInt(enclave.base + AT.TCS));
    assert.equal(data.getBigUint64(16, true), 0x1234560n);
    assert.equal(data.getBigUint64(24, true), 0x7654320n);
    assert.equal(data.getBigUint64(40, true), BigInt(enclave.base + AT.DATA + 4096), 'GSBASE');
    assert.equal(enclave.ssa().getBigUint64(GPRSGX + 144, true), 0x1234560n, 'URSP');
    assert.equal(enclave.ssa().getBigUint64(GPRSGX + 152, true), 0x7654320n, 'URBP');
  });
});

test('CSSA bounds: no frame left is #GP, nothing to resume is #GP', () => {
  using({ code: assemble('ud2'), nssa: 2 }, (enclave) => {
    const failed = { kind: 'ENTRY_FAILED', vector: 13, errorCode: 0, address: BigInt(enclave.base + AT.TCS) };
    assert.deepEqual(enclave.gate.exit(enclave.gate.resume()), failed);
    assert.equal(enclave.gate.enter(0, 0), EXIT_KIND.AEX);
    assert.equal(enclave.gate.enter(0, 0), EXIT_KIND.AEX);
    assert.equal(enclave.running.threadState(0).cssa, 2);
    assert.deepEqual(enclave.gate.exit(enclave.gate.enter(0, 0)), failed);
    assert.equal(enclave.running.threadState(0).state, 0);
  });
});

test('a thread that is not admitted cannot enter, and a frozen one waits', () => {
  using({ code: assemble(enclu(4)) }, (enclave) => {
    enclave.running.setAdmitted(0, false);
    assert.equal(enclave.gate.enter(0, 0), EXIT_KIND.ENTRY_FAILED);
    enclave.running.setAdmitted(0, true);
    assert.equal(enclave.gate.enter(0, 0), EXIT_KIND.EEXIT);
    enclave.running.freeze();
    assert.equal(enclave.gate.enter(0, 0), EXIT_KIND.ENTRY_FAILED);
    enclave.running.unfreeze();
    assert.equal(enclave.gate.enter(0, 0), EXIT_KIND.EEXIT);
    assert.equal(enclave.running.anyInside(), false);
  });
});

test('ERESUME refuses a frame that its enclave has spoilt', () => {
  const spoil: [string, number, bigint][] = [
    ['XSTATE_BV outside XFRM', 512, 0x207n],
    ['XCOMP_BV', 520, 1n << 63n],
    ['bytes 528 to 535', 528, 1n],
    ['MXCSR reserved bits', 24, 0xffff_ffffn],
    ['RIP not canonical', GPRSGX + 136, 0x8000_0000_0000n],
    ['FSBASE not canonical', GPRSGX + 168, 0x1234_8000_0000_0000n],
  ];
  for (const [what, offset, value] of spoil)
    using({ code: assemble('ud2') }, (enclave) => {
      assert.equal(enclave.gate.enter(0, 0), EXIT_KIND.AEX);
      const bytes = new Uint8Array(8);
      new DataView(bytes.buffer).setBigUint64(0, value, true);
      enclave.memory.write(AT.SSA + offset, bytes);
      const exit = enclave.gate.exit(enclave.gate.resume());
      assert.equal(exit.kind, 'ENTRY_FAILED', what);
      assert.equal('vector' in exit && exit.vector, 13, what);
      assert.equal(enclave.running.threadState(0).cssa, 1);
      assert.equal(enclave.running.lost, null, what);
    });
});

test('an SSA frame that cannot be written costs the enclave its life, and nobody else', () => {
  const code = assemble('ud2');
  const other = machine.start({ code: assemble(enclu(4)), base: machine.base + 0x81_0000_0000 });
  const enclave = machine.start({ code });
  try {
    enclave.memory.discard(AT.SSA, 4096);
    // EENTER's own store of the outside stack finds it first.
    const exit = enclave.gate.exit(enclave.gate.enter(0, 0));
    assert.equal(exit.kind, 'ENTRY_FAILED');
    assert.equal('vector' in exit && exit.vector, 14);
    assert.equal(other.running.lost, null);
  } finally {
    enclave.close();
    other.close();
  }
});
