import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { CallPool } from '@nestedsgx/os';
import { EXIT_KIND } from '../src/host/index.js';
import { RUNNER_MEMORY } from '../src/layout/memory.js';
import { assemble, enclu } from './assemble.js';
import { AT, BenchMachine, type TestEnclave } from './bench-machine.js';

const PAGE = 4096;
const LATER = 0x40000;
const runner = fileURLToPath(new URL('../../native/build/nsgx-runner', import.meta.url));
const symbol = (name: string): number => {
  const line = execFileSync('nm', [runner], { encoding: 'utf8' })
    .split('\n')
    .find((text) => text.endsWith(` ${name}`));
  return Number.parseInt(line!, 16);
};
const SYSCALL = symbol('call_mprotect_ip') - 2;
const rel = (offset: number) => `_start+${offset - AT.CODE}(%rip)`;

/** mprotect(RDI, RSI, DATA[0]) by the agent's own instruction; leaves with its result. */
const CALL = `
  lea ${rel(AT.DATA + 0x800)},%rsp
  lea 1f(%rip),%rax
  push %rax
  mov ${rel(AT.DATA)},%rdx
  mov $10,%eax
  mov $${SYSCALL},%rbx
  jmp *%rbx
1: mov %rax,%rdi
  ${enclu(4)}`;
const mprotect = assemble(`nop\n${CALL}`);

let machine: BenchMachine;
let bystander: TestEnclave;
before(() => {
  machine = new BenchMachine();
  bystander = machine.start({ code: assemble(enclu(4)), base: machine.base + 0x90_0000_0000 });
});
after(() => {
  assert.equal(bystander.gate.enter(0, 0), EXIT_KIND.EEXIT);
  bystander.close();
  machine.close();
});

function call(enclave: TestEnclave, address: number, length: number, prot: number): number | string {
  const value = new Uint8Array(8);
  new DataView(value.buffer).setUint32(0, prot, true);
  enclave.memory.write(AT.DATA, value);
  const exit = enclave.gate.exit(enclave.gate.enter(address, length));
  return exit.kind === 'EEXIT' ? Number(BigInt.asIntN(64, exit.rdi)) : exit.kind;
}

const OUTSIDE: [string, (base: number) => [number, number, number]][] = [
  ['guest RAM', () => [machine.base, PAGE, 7]],
  ['the thread blocks', () => [RUNNER_MEMORY.THREADS, PAGE, 7]],
  ['the stub’s code', () => [RUNNER_MEMORY.IMAGE, PAGE, 7]],
  ['the page above', (base) => [base + AT.SIZE, PAGE, 7]],
  ['the page below', (base) => [base - PAGE, PAGE, 7]],
  ['an address with other high bits', (base) => [base + 2 ** 40, PAGE, 7]],
  ['a length of the whole ELRANGE', (base) => [base, AT.SIZE, 7]],
  ['a length beyond 4 GiB', (base) => [base, 2 ** 32 + PAGE, 7]],
  ['a negative length', (base) => [base, -PAGE, 7]],
  ['growing protections', (base) => [base, PAGE, 0x0100_0007]],
  ['no permission at all', (base) => [base, PAGE, 0]],
  ['a protection key', (base) => [base, PAGE, 0x10 | 7]],
];

for (const [what, where] of OUTSIDE)
  test(`an enclave’s own use of the agent’s mprotect is refused: ${what}`, (t) => {
    if (!machine.processor.facts().userfault) return t.skip('PROT_NONE is needed without userfaultfd');
    const enclave = machine.start({ code: mprotect });
    try {
      assert.equal(call(enclave, ...where(enclave.base)), 'AEX');
      assert.equal(enclave.running.lost, null);
    } finally {
      enclave.close();
    }
  });

test('inside its ELRANGE it wins nothing that the monitor took away, and ends at the ELRANGE’s end', (t) => {
  if (!machine.processor.facts().userfault) return t.skip('no userfaultfd here');
  // After the call it writes to what it made writable.
  const enclave = machine.start({
    code: assemble(`
      nop
      cmp $0,%rsi
      je 2f
      ${CALL}
    2: lea _start-${AT.CODE}(%rip),%rcx
      movb $1,(%rcx,%rdi)
      ${enclu(4)}`),
    nssa: 16,
  });
  try {
    const { running } = enclave;
    const write = (offset: number) => enclave.gate.exit(enclave.gate.enter(offset, 0)).kind;
    const protect = (offset: number, length: number) => call(enclave, enclave.base + offset, length, 7);
    running.map({ offset: LATER, length: PAGE, r: true, w: false, x: false });
    assert.equal(protect(LATER, PAGE), 0);
    assert.equal(write(LATER), 'AEX', 'write-protected all the same');
    assert.equal(protect(AT.CODE, PAGE), 0);
    assert.equal(write(AT.CODE + 0xff0), 'AEX', 'code as well');
    assert.equal(protect(LATER + PAGE, PAGE), 0);
    assert.equal(write(LATER + PAGE), 'AEX', 'absent pages stay absent');
    assert.equal(protect(AT.SIZE - PAGE, 0x10000), -12, 'ENOMEM at the gap');
    assert.equal(write(AT.DATA + 0x900), 'EEXIT');
    assert.equal(running.lost, null);
  } finally {
    enclave.close();
  }
});

test('a runner that does not answer its agent’s order in time costs the enclave its life', (t) => {
  if (!machine.processor.facts().userfault) return t.skip('no userfaultfd here');
  const enclave = machine.start({ code: mprotect });
  try {
    process.kill(enclave.running.pid, 'SIGSTOP');
    enclave.running.map({ offset: LATER, length: PAGE, r: true, w: true, x: false });
    const start = performance.now();
    assert.throws(
      () => enclave.running.protect({ offset: LATER, length: PAGE, r: true, w: false, x: true }),
      {
        code: 'ENCLAVE_STOPPED',
      },
    );
    assert.ok(performance.now() - start >= 90);
    assert.equal(enclave.running.lost, 'the runner did not change its mappings in time');
    assert.equal(enclave.gate.enter(0, 0), EXIT_KIND.LOST);
  } finally {
    enclave.close();
  }
});

test('a spare thread refuses entries until it gets a TCS, and again when that is gone', async () => {
  const pool = new CallPool(2);
  const code = assemble(`nop\ncmp $1,%edi\n1: je 1b\nmov %rbx,%rdi\n${enclu(4)}`);
  const enclave = machine.start({ code, spareGates: 3 });
  try {
    const { running, gates } = enclave;
    const spare = gates[2]!;
    const parameters = {
      tcsOffset: AT.TCS + 2 * PAGE,
      ossa: AT.SSA,
      nssa: 2,
      oentry: AT.CODE,
      ofsbase: AT.DATA,
      ogsbase: AT.DATA,
      debugOptIn: false,
      aexNotify: false,
    };
    assert.equal(spare.enter(0, 0), EXIT_KIND.ENTRY_FAILED);
    assert.equal(spare.resume(), EXIT_KIND.ENTRY_FAILED);
    assert.deepEqual(running.threadState(2), { state: 0, cssa: 0, entryEpoch: 0, admitted: false });
    assert.equal(running.anyInside(), false);
    running.setThread(2, parameters, 0);
    running.setAdmitted(2, true);
    assert.equal(spare.enter(0, 0), EXIT_KIND.EEXIT);
    assert.equal(spare.responseNumber(0), enclave.base + AT.TCS + 2 * PAGE);
    const epoch = running.bumpEpoch();
    const entry = spare.enterAsync(pool, 2, { rdi: 1 });
    while (!running.anyInside()) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(running.anyInside(epoch), false, 'entered after it');
    assert.equal(running.anyInside(running.bumpEpoch()), true);
    running.kick(2);
    assert.equal((await entry).kind, 'AEX');
    assert.deepEqual([running.threadState(2).cssa, running.anyInside()], [1, false]);
    running.setAdmitted(2, false);
    running.setThread(2, null, 0);
    assert.equal(running.threadState(2).cssa, 0);
    assert.equal(spare.enter(0, 0), EXIT_KIND.ENTRY_FAILED);
    assert.equal(gates[0]!.enter(0, 0), EXIT_KIND.EEXIT, 'the others are served');
    assert.throws(() => running.setThread(4, null, 0), { code: 'PROCESSOR_ARGUMENT' });
  } finally {
    enclave.close();
    await pool.close();
  }
});

test('255 gates are served, 256 are refused', () => {
  const enclave = machine.start({ code: assemble(`nop\n${enclu(4)}`), spareGates: 254 });
  assert.equal(enclave.gates.length, 255);
  assert.equal(enclave.gates[254]!.enter(0, 0), EXIT_KIND.ENTRY_FAILED);
  enclave.close();
  assert.throws(() => machine.start({ code: mprotect, spareGates: 255 }), { code: 'PROCESSOR_LIMIT' });
});

test('an ELRANGE that is no aligned power of two, or ends where guest RAM begins, is refused', () => {
  const refused = { code: 'PROCESSOR_ARGUMENT' };
  const base = machine.base + 0x80_0000_0000;
  assert.throws(() => machine.start({ code: mprotect, base: base + PAGE }), refused);
  assert.throws(() => machine.start({ code: mprotect, base, size: AT.SIZE + PAGE }), refused);
  assert.throws(() => machine.start({ code: mprotect, base: machine.base - AT.SIZE }), refused);
});
