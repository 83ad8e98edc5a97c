import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assemble, enclu } from './assemble.js';
import { AT, BenchMachine, type TestEnclave } from './bench-machine.js';

const PAGE = 4096;
const GPRSGX = 4096 - 184;
const [P, W, U, I, SGX] = [1, 2, 4, 0x10, 0x8000];
const LATER = 0x60000;

/** RSI = 0 reads the byte at ELRANGE offset RDI, 1 adds one to it, 2 jumps there (a RET lies there). */
const code = assemble(`
  lea _start-${AT.CODE}(%rip),%rcx
  add %rdi,%rcx
  cmp $1,%esi
  je 1f
  ja 2f
  movzbl (%rcx),%edi
  jmp 3f
1: incb (%rcx)
  jmp 3f
2: lea _start+${AT.DATA + 0x800 - AT.CODE}(%rip),%rsp
  call *%rcx
3: ${enclu(4)}`);

/** The error code of the fault that an access ends with, or 0; EXINFO must agree. */
function access(enclave: TestEnclave, offset: number, how: 'read' | 'write' | 'execute'): number {
  const { cssa } = enclave.running.threadState(0);
  const exit = enclave.gate.exit(enclave.gate.enter(offset, ['read', 'write', 'execute'].indexOf(how)));
  if (exit.kind === 'EEXIT') return 0;
  assert.ok(exit.kind === 'AEX', exit.kind);
  assert.equal(exit.vector, 14);
  assert.equal(exit.address, BigInt(enclave.base + offset));
  const ssa = enclave.ssa(cssa);
  assert.equal(ssa.getUint32(GPRSGX + 160, true), 0x8000_030e);
  assert.equal(ssa.getBigUint64(GPRSGX - 16, true), BigInt(enclave.base + offset));
  assert.equal(ssa.getUint32(GPRSGX - 8, true), exit.errorCode);
  return exit.errorCode;
}

for (const userfault of [true, false])
  test(`error codes follow the page through its life (userfaultfd ${userfault})`, (t) => {
    const machine = new BenchMachine({ userfault });
    try {
      if (userfault && !machine.processor.facts().userfault) return t.skip('no userfaultfd here');
      const enclave = machine.start({ code, nssa: 40, miscselect: 1 });
      const { running, memory } = enclave;
      const fails = (how: 'read' | 'write' | 'execute', expected: number, when: string) =>
        assert.equal(access(enclave, LATER, how), expected, `${how} ${when}`);
      const none = (when: string) => {
        fails('read', U, when);
        fails('write', U | W, when);
        fails('execute', U | I, when);
      };
      none('of a page that was never added');
      memory.write(LATER, new Uint8Array(PAGE).fill(0xc3));
      none('of a page that is not mapped');
      running.map({ offset: LATER, length: PAGE, r: true, w: true, x: false });
      assert.equal(access(enclave, LATER, 'read'), 0);
      fails('execute', P | U | I | SGX, 'without X');
      running.writeProtect(LATER, PAGE, true);
      assert.equal(access(enclave, LATER, 'read'), 0);
      fails('write', P | U | W | SGX, 'of a page that lost W');
      running.protect({ offset: LATER, length: PAGE, r: true, w: false, x: true });
      assert.equal(access(enclave, LATER, 'execute'), 0);
      fails('write', P | U | W | SGX, 'with X and no W');
      running.protect({ offset: LATER, length: PAGE, r: true, w: false, x: false });
      fails('execute', P | U | I | SGX, 'of a page that lost X');
      running.unmap(LATER, PAGE);
      none('of a page that the guest unmapped');
      memory.discard(LATER, PAGE);
      none('of a page that was evicted');
      assert.equal(running.lost, null);
      enclave.close();
    } finally {
      machine.close();
    }
  });
