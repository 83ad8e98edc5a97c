/** Enclaves of guests with a kernel that call the stub's mmap and munmap themselves: they hurt themselves, and nobody else. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { CallPool } from '@nestedsgx/os';
import { EXIT_KIND } from '../src/host/index.js';
import { RAM_FILE, RUNNER_MEMORY } from '../src/layout/memory.js';
import { assemble, enclu } from './assemble.js';
import { AT, BenchMachine, type TestEnclave } from './bench-machine.js';
import { GuestEnclave, GuestTables, WAKE_WORD_GPA } from './guest-tables.js';

const PAGE = 4096;
const SHARED_NOREPLACE = 0x10_0001;
const EEXIST = 17;
const runner = fileURLToPath(new URL('../../native/build/nsgx-runner', import.meta.url));
const symbols = new Map(
  execFileSync('nm', [runner], { encoding: 'utf8' })
    .trim()
    .split('\n')
    .map((line) => line.split(' ') as [string, string, string])
    .map(([address, , name]) => [name, Number.parseInt(address, 16)]),
);

/** Calls a stub's SYSCALL instruction with six arguments from the data page, and leaves with its result. */
const callStub = (stub: string, number: number) =>
  assemble(`
    nop
    lea _start+${AT.DATA - AT.CODE}(%rip),%r12
    lea 0x800(%r12),%rsp
    lea 1f(%rip),%rax
    push %rax
    mov (%r12),%rdi
    mov 8(%r12),%rsi
    mov 16(%r12),%rdx
    mov 24(%r12),%r10
    mov 32(%r12),%r8
    mov 40(%r12),%r9
    mov $${number},%eax
    mov $${symbols.get(`${stub}_ip`)! - 2},%rbx
    jmp *%rbx
  1: mov %rax,%rdi
    ${enclu(4)}`);

interface Bench {
  machine: BenchMachine;
  enclave: TestEnclave;
  bystander: TestEnclave;
  call(...args: number[]): Promise<number | 'refused' | 'lost'>;
}

async function hostile(stub: string, number: number, run: (bench: Bench) => Promise<void>): Promise<void> {
  const base = 0x1000_0000_0000 + (10 + (process.pid % 40)) * 2 ** 40;
  const machine = new BenchMachine({ vm: { wakeWord: base + WAKE_WORD_GPA } });
  const pool = new CallPool(2);
  try {
    const tables = new GuestTables(machine);
    const bystander = machine.start({
      code: assemble(enclu(4)),
      base: base + 0x90_0000_0000,
      revoke: true,
    });
    const { enclave } = new GuestEnclave(machine, tables, { code: callStub(stub, number) });
    const call = async (...args: number[]) => {
      const words = new BigInt64Array(6);
      args.forEach((value, i) => {
        words[i] = BigInt(value);
      });
      enclave.memory.write(AT.DATA, new Uint8Array(words.buffer));
      const entry = enclave.gate.enterAsync(pool, 2);
      // As the machine does: notices the end of the process, and gives up who never leaves.
      const watch = setInterval(() => enclave.running.check(), 5);
      const patience = setTimeout(() => enclave.running.stop(), 1000);
      const exit = await entry;
      clearInterval(watch);
      clearTimeout(patience);
      if (exit.kind === 'EEXIT') return Number(BigInt.asIntN(64, exit.rdi));
      if (exit.kind === 'LOST') return 'lost';
      assert.equal(exit.kind, 'AEX');
      enclave.forgetExits();
      return 'refused';
    };
    await run({ machine, enclave, bystander, call });
    assert.equal(bystander.running.lost, null);
    assert.equal(bystander.gate.enter(0, 0), EXIT_KIND.EEXIT);
    enclave.close();
    bystander.close();
  } finally {
    machine.close();
    await pool.close();
  }
}

test('mmap takes guest RAM only, never executable and never over what is there', async () => {
  await hostile('call_mmap', 9, async ({ enclave, call }) => {
    const free = 0x6666_0000_0000;
    for (const [what, args] of Object.entries({
      executable: [free, PAGE, 5, SHARED_NOREPLACE, RAM_FILE, 0],
      'write only': [free, PAGE, 2, SHARED_NOREPLACE, RAM_FILE, 0],
      'over what is there': [free, PAGE, 3, 0x11, RAM_FILE, 0],
      'memory of its own': [free, PAGE, 3, 0x10_0022, -1, 0],
      'the socket': [free, PAGE, 3, SHARED_NOREPLACE, 3, 0],
      'another file': [free, PAGE, 3, SHARED_NOREPLACE, 5, 0],
      'a file beyond 32 bits': [free, PAGE, 3, SHARED_NOREPLACE, RAM_FILE + 2 ** 32, 0],
    }))
      assert.equal(await call(...args), 'refused', what);
    assert.equal(await call(free, PAGE, 3, SHARED_NOREPLACE, RAM_FILE, 0), free);
    for (const at of [enclave.base + AT.DATA, RUNNER_MEMORY.CONTROL, RUNNER_MEMORY.IMAGE])
      assert.equal(await call(at, PAGE, 3, SHARED_NOREPLACE, RAM_FILE, 0), -EEXIST);
  });
});

test('an enclave that unmaps its own pages, its control page or the stub is lost or faults, and the monitor goes on', async () => {
  for (const [what, at, length] of [
    ['data', AT.DATA + PAGE, PAGE],
    ['the whole ELRANGE', 0, AT.SIZE],
    ['control page', RUNNER_MEMORY.CONTROL, PAGE],
    ['thread blocks', RUNNER_MEMORY.THREADS, 16 * PAGE],
    ['the stub', RUNNER_MEMORY.IMAGE, 64 * PAGE],
    ['everything', 0x1_0000, 0x7fff_fff0_0000],
  ] as const)
    await hostile('call_munmap', 11, async ({ enclave, call }) => {
      const address = at < AT.SIZE && at !== 0x1_0000 ? enclave.base + at : at;
      const seen = await call(address, length);
      assert.ok(seen === 0 || seen === 'lost' || seen === 'refused', `${what}: ${seen}`);
      // What the monitor does with such an enclave ends in an error of that enclave, or in none.
      for (const act of [
        () => enclave.running.map({ offset: AT.DATA + 8 * PAGE, length: PAGE, r: true, w: true, x: false }),
        () => enclave.running.protect({ offset: AT.DATA, length: 2 * PAGE, r: true, w: false, x: false }),
        () => enclave.running.unmap(AT.DATA, 2 * PAGE),
      ])
        try {
          act();
        } catch (error) {
          assert.ok(typeof (error as { code?: unknown }).code === 'string', `${what}: ${error}`);
        }
    });
});
