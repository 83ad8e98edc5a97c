import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { CallPool } from '@nestedsgx/os';
import { type ExitInfo, INTERRUPT_VECTOR } from '../src/host/index.js';
import { assemble, enclu } from './assemble.js';
import { AT, BenchMachine } from './bench-machine.js';

const GPRSGX = 4096 - 184;
let machine: BenchMachine;
let pool: CallPool;
before(() => {
  machine = new BenchMachine();
  pool = new CallPool(8);
});
after(async () => {
  await pool.close();
  machine.close();
});

test('a kick makes a running thread leave, without a valid EXITINFO, and ERESUME continues it', async () => {
  const code = assemble(`mov %rdi,%rcx\n1: lea 1(%rsi),%rsi\ndec %rcx\njnz 1b\nmov %rsi,%rdi\n${enclu(4)}`);
  const enclave = machine.start({ code });
  try {
    const rounds = 300_000_000;
    let entry: Promise<ExitInfo> = enclave.gate.enterAsync(pool, 2, { rdi: rounds, rsi: 5 });
    let kicks = 0;
    for (;;) {
      const exit = await Promise.race([entry, sleep(5).then(() => null)]);
      if (exit === null) {
        enclave.running.kick(0);
        continue;
      }
      if (exit.kind === 'EEXIT') {
        assert.equal(exit.rdi, BigInt(rounds + 5));
        break;
      }
      assert.deepEqual(exit, { kind: 'AEX', vector: INTERRUPT_VECTOR, errorCode: 0, address: 0n });
      assert.equal(enclave.ssa().getUint32(GPRSGX + 160, true), 0);
      assert.equal(enclave.running.anyInside(), false);
      kicks++;
      entry = enclave.gate.enterAsync(pool, 3);
    }
    assert.ok(kicks > 0, 'at least one kick arrived');
    enclave.running.kick(0);
    await sleep(5);
    assert.equal(enclave.gate.exit(enclave.gate.enter(3, 1)).kind, 'EEXIT', 'a kick outside means nothing');
  } finally {
    enclave.close();
  }
});

test('a long vector computation comes through timer signals and kicks unchanged', async () => {
  const code = assemble(`
    mov %rdi,%rcx
    mov $3,%eax
    vmovq %rax,%xmm0
    vpbroadcastq %xmm0,%ymm0
    vpxor %ymm1,%ymm1,%ymm1
    fld1
  1: vpaddq %ymm0,%ymm1,%ymm1
    dec %rcx
    jnz 1b
    vextracti128 $1,%ymm1,%xmm2
    vmovq %xmm2,%rdi
    vpextrq $1,%xmm1,%rsi
    sub $8,%rsp
    lea _start+${AT.DATA - AT.CODE}(%rip),%rdx
    fistpll (%rdx)
    mov (%rdx),%rdx
    ${enclu(4)}`);
  const enclave = machine.start({ code });
  try {
    const rounds = 200_000_000;
    let exit = await enclave.gate.enterAsync(pool, 2, { rdi: rounds });
    for (; exit.kind === 'AEX'; ) exit = await enclave.gate.enterAsync(pool, 3);
    assert.deepEqual(exit.kind === 'EEXIT' && { rdi: exit.rdi, rsi: exit.rsi, rdx: exit.rdx }, {
      rdi: BigInt(rounds * 3),
      rsi: BigInt(rounds * 3),
      rdx: 1n,
    });
    const kicker = setInterval(() => enclave.running.kick(0), 3);
    exit = await enclave.gate.enterAsync(pool, 2, { rdi: rounds });
    let interrupts = 0;
    for (; exit.kind === 'AEX'; interrupts++) exit = await enclave.gate.enterAsync(pool, 3);
    clearInterval(kicker);
    assert.ok(interrupts > 0);
    assert.equal(exit.kind === 'EEXIT' && exit.rdi, BigInt(rounds * 3));
  } finally {
    enclave.close();
  }
});

test('a storm of kicks at entries, exits and traps never loses state', async () => {
  const code = assemble(`
    test %eax,%eax
    jz 1f
    addq $2, _start+${AT.SSA - AT.CODE + GPRSGX + 136}(%rip)
    ${enclu(4)}
  1: mov %rdi,%rsi
    ud2
    lea 1(%rsi),%rdi
    ${enclu(4)}`);
  const enclave = machine.start({ code });
  try {
    const end = Date.now() + 700;
    let calls = 0;
    let interrupts = 0;
    while (Date.now() < end) {
      const drive = async (fn: 2 | 3, rdi: number): Promise<ExitInfo> => {
        let exit = await enclave.gate.enterAsync(pool, fn, { rdi });
        while (exit.kind === 'AEX' && exit.vector === INTERRUPT_VECTOR) {
          interrupts++;
          exit = await enclave.gate.enterAsync(pool, 3);
        }
        return exit;
      };
      const kicker = setInterval(() => enclave.running.kick(0), 0);
      for (let i = 0; i < 20; i++) {
        const first = await drive(2, calls);
        assert.equal(first.kind, 'AEX');
        assert.equal((await drive(2, 0)).kind, 'EEXIT', 'the handler');
        const last = await drive(3, 0);
        assert.equal(last.kind === 'EEXIT' && last.rdi, BigInt(calls + 1));
        calls++;
        for (let k = 0; k < 5; k++) enclave.running.kick(0);
      }
      clearInterval(kicker);
      assert.equal(enclave.running.lost, null);
      assert.equal(enclave.running.threadState(0).cssa, 0);
    }
    assert.ok(calls > 20, `${calls} calls, ${interrupts} interrupts`);
  } finally {
    enclave.close();
  }
});

test('threads are told apart: every TCS works with its own frame and gate', async () => {
  const threads = 8;
  const code = assemble(`
    mov %rbx,%rsi
    mov %rdi,%rcx
  1: dec %rcx
    jnz 1b
    ${enclu(4)}`);
  const enclave = machine.start({ code, threads });
  try {
    for (let round = 0; round < 20; round++) {
      const exits = await Promise.all(
        enclave.gates.map((gate, i) => gate.enterAsync(pool, 2, { rdi: 1 + i * 1000, rdx: i })),
      );
      exits.forEach((exit, i) => {
        assert.equal(exit.kind === 'EEXIT' && exit.rsi, BigInt(enclave.base + AT.TCS + i * 4096));
        assert.equal(exit.kind === 'EEXIT' && exit.rdx, BigInt(i));
      });
    }
    const first = enclave.gate.enterAsync(pool, 2, { rdi: 1 });
    await assert.rejects(enclave.gate.enterAsync(pool, 2, { rdi: 1 }), { code: 'GATE_BUSY' });
    assert.throws(() => enclave.gate.enter(1, 0), { code: 'GATE_BUSY' });
    assert.equal((await first).kind, 'EEXIT');
  } finally {
    enclave.close();
  }
});

test('signals that no fault caused, in bursts, never end a runner that waits', async () => {
  const code = assemble(`lea 1(%rdi),%rdi\n${enclu(4)}`);
  const enclave = machine.start({ code });
  const { pid } = enclave.running;
  // Signals to the process go to whichever thread takes them first; the others' waits are continued by the kernel.
  const flood = spawn('/bin/sh', [
    '-c',
    `for i in $(seq 150); do for s in ILL TRAP BUS FPE SEGV SYS; do kill -$s ${pid}; done; sleep 0.003; done`,
  ]);
  try {
    const ended = once(flood, 'exit');
    for (let i = 0; flood.exitCode === null; i++) {
      assert.equal(enclave.running.lost, null);
      assert.equal(enclave.gate.exit(enclave.gate.enter(i, 0)).kind, 'EEXIT');
      await sleep(1);
    }
    await ended;
    assert.equal(enclave.running.lost, null);
  } finally {
    flood.kill();
    enclave.close();
  }
});

test('a kick while a leaf waits is an interrupt right behind the leaf', async () => {
  const code = assemble(`
    nop
    mov %rdi,%rbx
    ${enclu(1)}
    lea 1(%rax),%rdi
    ${enclu(4)}`);
  for (const patch of [true, false]) {
    const other = patch ? machine : new BenchMachine({ patch: false }, 63);
    const enclave = other.start({ code });
    const { running } = enclave;
    try {
      const entry = enclave.gate.enterAsync(pool, 2, { rdi: 5 });
      while (running.pendingLeaves().length === 0) await sleep(1);
      for (let i = 0; i < 50; i++) running.kick(0);
      await sleep(20);
      assert.equal(running.threadState(0).state, 3, 'a kick does not take the leaf away');
      running.answerLeaf(0, { rax: 41n, zf: false, cf: false });
      assert.deepEqual(await entry, { kind: 'AEX', vector: INTERRUPT_VECTOR, errorCode: 0, address: 0n });
      assert.equal(running.anyInside(), false);
      const exit = await enclave.gate.enterAsync(pool, 3);
      assert.equal(exit.kind === 'EEXIT' && exit.rdi, 42n, 'the leaf is not done twice');
      const { eenter, eresume, eexit, aex } = running.counters();
      assert.deepEqual(
        { eenter, eresume, eexit, interrupts: aex[32] },
        { eenter: 1, eresume: 1, eexit: 1, interrupts: 1 },
      );
    } finally {
      enclave.close();
      if (other !== machine) other.close();
    }
  }
});

test('kicks at every point of short calls: each call ends once, with its own result', () => {
  const code = assemble(`lea 1(%rdi),%rdi\n${enclu(4)}`);
  for (const patch of [true, false]) {
    const other = patch ? machine : new BenchMachine({ patch: false }, 64);
    const enclave = other.start({ code });
    const { gate, running } = enclave;
    try {
      const calls = patch ? 20_000 : 2000;
      for (let i = 0; i < calls; i++) {
        if (i % 3 === 0) running.kick(0);
        let exit = gate.exit(gate.enter(i, 0));
        while (exit.kind === 'AEX') {
          assert.equal(exit.vector, INTERRUPT_VECTOR);
          if (i % 2) running.kick(0);
          exit = gate.exit(gate.resume());
        }
        assert.equal(exit.kind === 'EEXIT' && exit.rdi, BigInt(i + 1));
      }
      const { eenter, eresume, eexit, aex } = running.counters();
      assert.deepEqual({ eenter, eexit, back: eresume - aex[32]! }, { eenter: calls, eexit: calls, back: 0 });
      assert.equal(running.threadState(0).cssa, 0);
      assert.equal(running.lost, null);
    } finally {
      enclave.close();
      if (other !== machine) other.close();
    }
  }
});
