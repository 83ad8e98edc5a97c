import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { openSync, readdirSync, readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { CallPool, processVmRead, ptraceAttach } from '@nestedsgx/os';
import { EXIT_KIND, GATE } from '../src/host/index.js';
import { RUNNER_MEMORY } from '../src/layout/memory.js';
import { assemble, enclu } from './assemble.js';
import { AT, BenchMachine, type TestEnclave } from './bench-machine.js';

const rel = (offset: number) => `_start+${offset - AT.CODE}(%rip)`;
const runner = fileURLToPath(new URL('../../native/build/nsgx-runner', import.meta.url));
const symbols = new Map(
  execFileSync('nm', [runner], { encoding: 'utf8' })
    .trim()
    .split('\n')
    .map((line) => line.split(' ') as [string, string, string])
    .map(([address, , name]) => [name, Number.parseInt(address, 16)]),
);

let machine: BenchMachine;
let pool: CallPool;
let bystander: TestEnclave;
before(() => {
  machine = new BenchMachine();
  pool = new CallPool(4);
  bystander = machine.start({ code: assemble(enclu(4)), base: machine.base + 0x90_0000_0000 });
});
after(async () => {
  bystander.close();
  await pool.close();
  machine.close();
});

/** The other enclave lives and answers. */
function unharmed(): void {
  assert.equal(bystander.running.lost, null);
  assert.equal(bystander.gate.enter(0, 0), EXIT_KIND.EEXIT);
}

/** The system call instruction of a stub. */
const syscallOf = (name: string) => symbols.get(`${name}_ip`)! - 2;

const REFUSED: [string, string, number[]][] = [
  ['write through the futex stub', 'call_futex', [1, 1, 0, 16, 0]],
  ['mmap through the read stub', 'call_read', [9, 0, 4096, 7, 0x22]],
  ['read of another descriptor', 'call_read', [0, 0, 0, 16, 0]],
  ['FUTEX_REQUEUE', 'call_futex', [202, 0x1000, 3, 1, 1]],
  ['FUTEX_LOCK_PI', 'call_futex', [202, 0x1000, 6, 1, 0]],
  ['a kick of another process', 'call_tgkill', [234, process.pid, process.pid, 12, 0]],
  ['another signal', 'call_tgkill', [234, 0, 0, 9, 0]],
  ['affinity of another process', 'call_setaffinity', [203, process.pid, 128, 0x2000000, 0]],
  ['rt_sigreturn', 'call_exit_group', [15, 0, 0, 0, 0]],
  ['execve through the exit stub', 'call_exit_group', [59, 0, 0, 0, 0]],
  ['an x32 number', 'call_exit_group', [0x400000e7, 0, 0, 0, 0]],
];

for (const [what, stub, [rax, rdi, rsi, rdx, r10]] of REFUSED)
  test(`a jump to the stub's SYSCALL is refused: ${what}`, () => {
    const enclave = machine.start({
      code: assemble(`
        mov $${rax},%rax
        mov $${rdi},%rdi
        mov $${rsi},%rsi
        mov $${rdx},%rdx
        mov $${r10},%r10
        lea ${rel(AT.DATA + 0x800)},%rsp
        mov $${syscallOf(stub)},%rbx
        jmp *%rbx`),
    });
    try {
      assert.deepEqual(enclave.gate.exit(enclave.gate.enter(0, 0)), {
        kind: 'AEX',
        vector: 13,
        errorCode: 0,
        address: 0n,
      });
      assert.equal(enclave.running.lost, null);
      unharmed();
    } finally {
      enclave.close();
    }
  });

test('calls that are allowed are harmless: a futex wake returns into the enclave', () => {
  const enclave = machine.start({
    code: assemble(`
      lea ${rel(AT.DATA + 0x800)},%rsp
      lea 1f(%rip),%rax
      push %rax
      mov $202,%eax
      mov $1,%esi
      mov $1,%edx
      mov $${syscallOf('call_futex')},%rbx
      jmp *%rbx
    1: mov %rax,%rdi
      ${enclu(4)}`),
  });
  try {
    const kind = enclave.gate.enter(machine.base + 0x3000, 0);
    assert.equal(kind, EXIT_KIND.EEXIT);
    assert.equal(enclave.gate.responseNumber(0), 0);
  } finally {
    enclave.close();
  }
});

const ANYTHING: [string, string][] = [
  ['exit_group', `mov $231,%eax\nxor %edi,%edi\nmov $${syscallOf('call_exit_group')},%rbx\njmp *%rbx`],
  [
    'leave_to_host with a wrong block',
    `lea ${rel(AT.DATA)},%rdi\nmov $${symbols.get('leave_to_host')},%rbx\njmp *%rbx`,
  ],
  [
    'resume_context of its own making',
    `lea ${rel(AT.DATA)},%rdi\nmov $${symbols.get('resume_context')},%rbx\njmp *%rbx`,
  ],
  [
    'the stub entered with a wrong thread',
    `mov $0x3000,%eax\nmov $${symbols.get('patched_enclu')},%rbx\njmp *%rbx`,
  ],
  [
    'the iretq of an entry',
    `lea ${rel(AT.DATA + 0x800)},%rsp\nmov $${symbols.get('resume_window_start')},%rbx\nmov %rsp,%r10\njmp *%rbx`,
  ],
  [
    'the signal handler',
    `mov $11,%edi\nlea ${rel(AT.DATA)},%rsi\nmov %rsi,%rdx\nlea ${rel(AT.DATA + 0x800)},%rsp\nmov $${symbols.get('on_signal')},%rbx\njmp *%rbx`,
  ],
  ['a stack pointer to nowhere, then a fault', 'xor %esp,%esp\nud2'],
  ['a stack pointer into the stub’s signal stack', `mov $${RUNNER_MEMORY.SIGNAL_STACKS + 0x1100},%rsp\nud2`],
  [
    'a stack pointer just above the signal stack’s guard',
    `mov $${RUNNER_MEMORY.SIGNAL_STACKS + 0x1010},%rsp\nud2`,
  ],
  [
    'FS and GS at the end of the address space',
    'mov $0x7fffffffffff,%rax\nwrfsbase %rax\nwrgsbase %rax\nud2',
  ],
  [
    'a far jump to 32-bit code',
    `lea ${rel(AT.DATA)},%rax\nmovl $${symbols.get('call_read')},(%rax)\nmovw $0x23,4(%rax)\nljmp *(%rax)`,
  ],
  ['zeroed thread block', `mov $${RUNNER_MEMORY.THREADS},%rdi\nmov $512,%ecx\nxor %eax,%eax\nrep stosq\nud2`],
  [
    'zeroed control memory',
    `mov $${RUNNER_MEMORY.CONTROL},%rdi\nmov $1024,%ecx\nxor %eax,%eax\nrep stosq\nud2`,
  ],
];

for (const [what, code] of ANYTHING)
  test(`whatever this does, it ends and harms nobody else: ${what}`, async () => {
    const enclave = machine.start({ code: assemble(code) });
    try {
      const entry = enclave.gate.enterAsync(pool, 2, { rdi: machine.base });
      const exit = await Promise.race([
        entry,
        (async () => {
          for (let i = 0; i < 100; i++) {
            await sleep(2);
            if (enclave.running.lost !== null) break;
          }
          enclave.running.stop();
          return entry;
        })(),
      ]);
      assert.ok(['AEX', 'EEXIT', 'LOST', 'ENTRY_FAILED'].includes(exit.kind), exit.kind);
      unharmed();
    } finally {
      enclave.running.stop();
      await sleep(1);
      enclave.close();
    }
  });

test('a host that scribbles over its gate changes nothing inside', async () => {
  const code = assemble(`mov %rdi,%rcx\n1: dec %rcx\njnz 1b\nlea 7(%rsi),%rdi\n${enclu(4)}`);
  const enclave = machine.start({ code });
  try {
    const view = new DataView(machine.ram.bytes.buffer, machine.ram.bytes.byteOffset);
    const at = enclave.gate.address - machine.base;
    const entry = enclave.gate.enterAsync(pool, 2, { rdi: 400_000_000, rsi: 35 });
    while (!enclave.running.anyInside()) await sleep(1);
    const end = Date.now() + 25;
    let x = 12345;
    while (Date.now() < end)
      for (let i = 0; i < 100; i++) {
        x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
        // Everything but the sequence numbers, with which the host would only fool itself.
        const offset = 4 + (x % 252);
        if (offset === 64 || (offset > 60 && offset < 68)) continue;
        if (offset >= 125 && offset < 132) continue;
        view.setUint8(at + offset, x >>> 24);
      }
    const exit = await entry;
    assert.deepEqual({ kind: exit.kind, rdi: 'rdi' in exit && exit.rdi }, { kind: 'EEXIT', rdi: 42n });
    assert.equal(enclave.running.threadState(0).state, 0);
    view.setUint32(at + GATE.at.requestFunction, 99, true);
    unharmed();
  } finally {
    enclave.close();
  }
});

test('unknown functions and wild request lines are answered, not obeyed', () => {
  const enclave = machine.start({ code: assemble(enclu(4)) });
  try {
    const enter = Reflect.get(enclave.gate, 'enter').bind(enclave.gate);
    enclave.gate.setRegisters({ rsp: -1n, rbp: -1n, rdx: -1n, r8: -1n, r9: -1n });
    assert.equal(enter(-1, -1), EXIT_KIND.EEXIT);
    assert.equal(enclave.running.lost, null);
  } finally {
    enclave.close();
  }
});

test('the runner cannot be read or traced by an ordinary process, and holds no descriptors', () => {
  const enclave = machine.start({ code: assemble(enclu(4)) });
  try {
    const proc = (what: string) => `/proc/${enclave.running.pid}/${what}`;
    if (process.getuid?.() !== 0) {
      assert.throws(() => readdirSync(proc('fd')), { code: 'EACCES' });
      assert.throws(() => readFileSync(proc('maps')), { code: 'EACCES' });
      assert.throws(() => openSync(proc('mem'), 'r'), { code: 'EACCES' });
      assert.throws(() => processVmRead(enclave.running.pid, enclave.base + AT.CODE, new Uint8Array(16)));
      assert.throws(() => ptraceAttach(enclave.running.pid));
      return;
    }
    assert.deepEqual(readdirSync(proc('fd')), ['3']);
    const maps = readFileSync(proc('maps'), 'utf8');
    assert.ok(!/\[(vdso|vvar|stack|heap)/.test(maps), maps);
    for (const line of maps.split('\n').filter((l) => / [r-]w?x/.test(l)))
      assert.ok(!/ rwx/.test(line), `writable and executable: ${line}`);
    const status = readFileSync(proc('status'), 'utf8');
    assert.match(status, /Seccomp:\s2/);
    assert.match(status, /NoNewPrivs:\s1/);
  } finally {
    enclave.close();
  }
});
