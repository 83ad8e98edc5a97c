import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EXIT_KIND } from '../src/host/index.js';
import { assemble, enclu } from './assemble.js';
import { AT, BenchMachine, type TestEnclave } from './bench-machine.js';

/** How Intel's trusted runtime leaves for an OCALL: registers are cleared between the leaf's number and ENCLU. */
const GAP = `xor %rcx,%rcx
  xor %rdx,%rdx
  xor %r8,%r8
  xor %r9,%r9
  xor %r15,%r15
  add %rdx,%rdx
  cld`;
const ENCLU = '.byte 0x0f,0x01,0xd7';
const INT3 = Uint8Array.of(0xcc);

function withEnclave(code: Uint8Array, patch: boolean, run: (enclave: TestEnclave) => void): void {
  const machine = new BenchMachine({ patch });
  try {
    const enclave = machine.start({ code, debug: false });
    run(enclave);
    assert.equal(enclave.running.lost, null);
    enclave.close();
  } finally {
    machine.close();
  }
}

const leave = (mov: string) =>
  assemble(`nop\nmov %rdi,%r8\nmov %rdi,%r9\nmov %rdi,%rdx\n${mov}\n${GAP}\n${ENCLU}`);

function leaves(enclave: TestEnclave): void {
  for (let i = 1; i < 50; i++) {
    assert.equal(enclave.gate.enter(i, i * 2), EXIT_KIND.EEXIT);
    const registers = [0, 1, 2, 3, 4].map((n) => enclave.gate.responseNumber(n));
    assert.deepEqual(registers, [i, i * 2, 0, 0, 0], 'RDI RSI RDX R8 R9');
  }
}

for (const mov of ['mov $4,%eax', 'mov $4,%rax'])
  for (const patch of [true, false])
    test(`what stands between mov and ENCLU is done (${mov}, patch ${patch})`, () => {
      const code = leave(mov);
      withEnclave(code, patch, (enclave) => {
        assert.equal(enclave.running.patchedSites, patch ? 1 : 0);
        leaves(enclave);
        assert.deepEqual(
          enclave.memory.read(AT.CODE, code.length),
          code,
          'the enclave memory is not patched',
        );
      });
    });

for (const mov of ['mov $4,%eax', 'mov $4,%rax'])
  test(`also by a thread that comes there while the patch is taken back (${mov})`, () => {
    const code = leave(mov);
    withEnclave(code, true, (enclave) => {
      const mapped = enclave.memory.readMapped(AT.CODE, code.length);
      const at = mapped.findIndex((byte, i) => byte !== code[i]);
      enclave.memory.writeMapped(AT.CODE + at, INT3);
      leaves(enclave);
      enclave.memory.writeMapped(AT.CODE + at, mapped.slice(at, at + 1));
      leaves(enclave);
    });
  });

test('a jump between mov and ENCLU goes on there', () => {
  const code = assemble(`
    mov $5,%edx
    mov $4,%ebx
    xchg %rbx,%rax
    mov %rdi,%rbx
    jmp behind
    nop
    mov $4,%rax
    xor %rdx,%rdx
  behind: cld
    ${ENCLU}`);
  withEnclave(code, true, (enclave) => {
    assert.equal(enclave.running.patchedSites, 1);
    // RBX is the address to leave to: any canonical one.
    assert.equal(enclave.gate.enter(9, 8), EXIT_KIND.EEXIT);
    assert.deepEqual([enclave.gate.responseNumber(0), enclave.gate.responseNumber(2)], [9, 5]);
  });
});

test('a gap whose bytes change gets a trampoline of its own', (t) => {
  const machine = new BenchMachine();
  try {
    if (!machine.processor.facts().userfault) return t.skip('no userfaultfd here');
    const enclave = machine.start({ code: assemble(`add %rcx,%rsi\n${enclu(4)}`) });
    const at = 0x40000;
    for (const [register, index] of [
      ['%rdx', 2],
      ['%r8', 3],
      ['%rdx', 2],
    ] as const) {
      const page = new Uint8Array(4096).fill(0x90);
      page.set(
        assemble(`mov %rdi,%rdx\nmov %rdi,%r8\nmov $4,%rax\nxor ${register},${register}\n${ENCLU}`),
        16,
      );
      enclave.memory.write(at, page);
      enclave.running.map({ offset: at, length: 4096, r: true, w: false, x: true });
      enclave.running.setAdmitted(0, false);
      enclave.running.setThread(
        0,
        {
          tcsOffset: AT.TCS,
          ossa: AT.SSA,
          nssa: 2,
          oentry: at,
          ofsbase: AT.DATA,
          ogsbase: AT.DATA + 4096,
          debugOptIn: false,
          aexNotify: false,
        },
        0,
      );
      enclave.running.setAdmitted(0, true);
      assert.equal(enclave.gate.enter(7, 1), EXIT_KIND.EEXIT);
      const found = [2, 3].map((n) => enclave.gate.responseNumber(n));
      assert.deepEqual(
        found,
        [2, 3].map((n) => (n === index ? 0 : 7)),
      );
      enclave.running.unmap(at, 4096, true);
      enclave.memory.discard(at, 4096);
    }
    enclave.close();
  } finally {
    machine.close();
  }
});
