import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { CallPool } from '@nestedsgx/os';
import { EXIT_KIND, type ExitInfo } from '../src/host/index.js';
import { assemble, enclu } from './assemble.js';
import { AT, BenchMachine } from './bench-machine.js';

const GPRSGX = 4096 - 184;
const rel = (offset: number) => `_start+${offset - AT.CODE}(%rip)`;
const AEXNOTIFY = AT.SSA + GPRSGX + 167;
const COUNT = AT.DATA + 0x100;

let machine: BenchMachine;
let pool: CallPool;
before(() => {
  machine = new BenchMachine();
  pool = new CallPool(2);
});
after(async () => {
  await pool.close();
  machine.close();
});

/**
 * CSSA = 0: asks for notifications and adds up RDI numbers. CSSA = 1: the notification: counts it, gives the frame back
 * with EDECCSSA, and goes on from what the frame holds, without a host.
 */
const program = (before = '') =>
  assemble(`
  test %eax,%eax
  jnz 2f
  ${before}
  movb $1, ${rel(AEXNOTIFY)}
  mov %rdi,%rcx
  xor %r13d,%r13d
1: add %rcx,%r13
  dec %rcx
  jnz 1b
  movb $0, ${rel(AEXNOTIFY)}
  mov %r13,%rdi
  mov ${rel(COUNT)},%rsi
  ${enclu(4)}
2: incq ${rel(COUNT)}
  mov %rcx, ${rel(COUNT + 8)}
  mov %rbx, ${rel(COUNT + 16)}
  mov %rsp, ${rel(COUNT + 24)}
  ${enclu(9)}
  lea ${rel(AT.SSA + GPRSGX)},%r8
  mov 8(%r8),%rcx
  mov 104(%r8),%r13
  lea ${rel(AT.DATA + 0x800)},%rsp
  pushq 128(%r8)
  popfq
  jmp *136(%r8)`);

async function drive(
  enclave: ReturnType<BenchMachine['start']>,
  rounds: number,
): Promise<[ExitInfo, number]> {
  let exits = 0;
  let entry: Promise<ExitInfo> = enclave.gate.enterAsync(pool, 2, { rdi: rounds, rsp: 0x4440 });
  for (;;) {
    const exit = await Promise.race([entry, sleep(2).then(() => null)]);
    if (exit === null) {
      enclave.running.kick(0);
      continue;
    }
    if (exit.kind !== 'AEX') return [exit, exits];
    exits++;
    entry = enclave.gate.enterAsync(pool, 3, { rsp: 0x5550 });
  }
}

test('an enclave counts the interrupts of itself and goes on by itself', async () => {
  const enclave = machine.start({ code: program(), aexNotify: true });
  try {
    const rounds = 200_000_000;
    const [exit, exits] = await drive(enclave, rounds);
    assert.ok(exit.kind === 'EEXIT', exit.kind);
    assert.equal(exit.rdi, (BigInt(rounds) * BigInt(rounds + 1)) / 2n);
    assert.ok(exits > 0);
    assert.equal(exit.rsi, BigInt(exits), 'every exit was noticed');
    const data = new DataView(enclave.memory.read(COUNT, 32).buffer);
    assert.equal(data.getBigUint64(8, true), 0x1000n, 'RCX is the asynchronous exit pointer');
    assert.equal(data.getBigUint64(16, true), BigInt(enclave.base + AT.TCS), 'RBX');
    assert.equal(data.getBigUint64(24, true), 0x5550n, 'RSP is the host’s');
    assert.equal(enclave.ssa(1).getBigUint64(GPRSGX + 144, true), 0x5550n, 'URSP of the new frame');
    assert.equal(enclave.ssa(0).getBigUint64(GPRSGX + 144, true), 0x4440n, 'URSP of the old one');
    assert.equal(enclave.running.threadState(0).cssa, 0);
    assert.equal(enclave.running.counters().eresume, exits);
  } finally {
    enclave.close();
  }
});

test('a frame that asks for nothing is resumed, and so is one of a TCS without AEXNOTIFY', async () => {
  for (const options of [{ aexNotify: true, quiet: true }, { aexNotify: false }]) {
    const code = program(options.quiet ? `mov %rdi,%r9\n` : '');
    if (options.quiet) {
      // The byte that sets AEXNOTIFY[0] sets a reserved bit instead.
      const at = Buffer.from(code).indexOf(Buffer.from([0xc6, 0x05]));
      code[at + 6] = 0xfe;
    }
    const enclave = machine.start({ code, aexNotify: options.aexNotify });
    try {
      // On a busy machine a run may be over before its first interrupt.
      for (let tries = 0, exits = 0; exits === 0; tries++) {
        assert.ok(tries < 50, 'no interrupt in 50 runs');
        const [exit, count] = await drive(enclave, 60_000_000);
        assert.ok(exit.kind === 'EEXIT');
        assert.equal(exit.rsi, 0n, 'no notification');
        exits = count;
      }
    } finally {
      enclave.close();
    }
  }
});

test('a TCS whose AEXNOTIFY is not its enclave’s cannot be entered, unless it is debugged', () => {
  for (const [aexNotify, tcsAexNotify] of [
    [true, false],
    [false, true],
  ] as const) {
    const refused = machine.start({ code: program(), aexNotify, tcsAexNotify });
    assert.deepEqual(refused.gate.exit(refused.gate.enter(1, 0)), {
      kind: 'ENTRY_FAILED',
      vector: 13,
      errorCode: 0,
      address: BigInt(refused.base + AT.TCS),
    });
    assert.equal(refused.gate.resume(), EXIT_KIND.ENTRY_FAILED);
    refused.close();
    const debugged = machine.start({ code: program(), aexNotify, tcsAexNotify, debug: true, optIn: true });
    assert.equal(debugged.gate.enter(1, 0), EXIT_KIND.EEXIT);
    debugged.close();
  }
});

test('without a frame for the handler a notifying ERESUME is #GP, and changes nothing', () => {
  const code = assemble(`movb $1, ${rel(AEXNOTIFY)}\nud2`);
  const enclave = machine.start({ code, aexNotify: true, nssa: 1 });
  try {
    assert.equal(enclave.gate.enter(0, 0), EXIT_KIND.AEX);
    assert.equal(enclave.ssa(0).getUint8(GPRSGX + 167), 1, 'the exit leaves AEXNOTIFY alone');
    const exit = enclave.gate.exit(enclave.gate.resume());
    assert.equal(exit.kind === 'ENTRY_FAILED' && exit.vector, 13);
    assert.equal(enclave.running.threadState(0).cssa, 1);
    enclave.memory.write(AEXNOTIFY, new Uint8Array([0]));
    assert.equal(enclave.gate.resume(), EXIT_KIND.AEX);
  } finally {
    enclave.close();
  }
});

test('the notification’s own frame must be writable', () => {
  const code = assemble(`movb $1, ${rel(AEXNOTIFY)}\nud2`);
  const enclave = machine.start({ code, aexNotify: true });
  try {
    assert.equal(enclave.gate.enter(0, 0), EXIT_KIND.AEX);
    enclave.memory.discard(AT.SSA + 4096, 4096);
    assert.deepEqual(enclave.gate.exit(enclave.gate.resume()), {
      kind: 'ENTRY_FAILED',
      vector: 14,
      errorCode: 6,
      address: BigInt(enclave.base + AT.SSA + 4096),
    });
    assert.equal(enclave.running.lost, null);
  } finally {
    enclave.close();
  }
});

test('EDECCSSA: #GP at CSSA 0, #PF without its frame, otherwise CSSA falls and no flag changes', () => {
  const code = assemble(`
    test %eax,%eax
    jnz 1f
    test %edi,%edi
    jz 2f
    ud2
  2: ${enclu(9)}
    ud2
  1: stc
    std
    mov $0x1234567890,%r10
    ${enclu(9)}
    pushfq
    pop %rsi
    cld
    mov %r10,%rdx
    mov %rax,%rdi
    ${enclu(4)}`);
  for (const patch of [true, false]) {
    const other = patch ? machine : new BenchMachine({ patch: false }, 61);
    const enclave = other.start({ code, miscselect: 1 });
    const { gate, running } = enclave;
    try {
      const stack = enclave.base + AT.DATA + 0x900;
      const { vector } = gate.exit(gate.enter(0, 0)) as { vector: number };
      assert.equal(vector, 13, 'CSSA is 0');
      assert.equal(running.threadState(0).cssa, 1);
      gate.setRegisters({ rsp: stack });
      const done = gate.exit(gate.enter(0, 0));
      assert.ok(done.kind === 'EEXIT', done.kind);
      assert.equal(done.rdi, 9n, 'RAX is the leaf’s number still');
      assert.equal(done.rdx, 0x1234567890n);
      assert.equal(done.rsi & 0x401n, 0x401n, 'CF and DF');
      assert.equal(running.threadState(0).cssa, 0);
      assert.equal(gate.resume(), EXIT_KIND.ENTRY_FAILED, 'nothing is left to resume');
      assert.equal(gate.enter(1, 0), EXIT_KIND.AEX);
      const fault = enclave.memory.read(AT.SSA, 4096);
      enclave.memory.discard(AT.SSA, 4096);
      assert.deepEqual(gate.exit(gate.enter(0, 0)), {
        kind: 'AEX',
        vector: 14,
        errorCode: 6,
        address: BigInt(enclave.base + AT.SSA),
      });
      assert.equal(running.threadState(0).cssa, 2);
      enclave.memory.write(AT.SSA, fault);
      running.map({ offset: AT.SSA, length: 4096, r: true, w: true, x: false });
      assert.equal(gate.resume(), EXIT_KIND.EEXIT, 'once the frame is there, the leaf succeeds');
      assert.equal(running.threadState(0).cssa, 0);
      assert.equal(running.lost, null);
    } finally {
      enclave.close();
      if (other !== machine) other.close();
    }
  }
});
