import assert from 'node:assert/strict';
import childProcess from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { CallPool, close, pidfdOpen, systemError } from '@nestedsgx/os';
import { EXIT_KIND, Gate } from '../src/host/index.js';
import type { NativeEnclave } from '../src/monitor/index.js';
import { assemble, enclu } from './assemble.js';
import { AT, BenchMachine, type TestEnclave } from './bench-machine.js';

/** Nothing waits for a time limit; how soon it is on an idle machine, 100 ms, a busy one does not tell. */
const SOON_MS = 3000;

const SPIN = 'cmp $1,%edi\njne 2f\n1: jmp 1b\n2:';
const code = assemble(`${SPIN}\ncmp $2,%edi\njne 3f\n${enclu(0)}\n3: ${enclu(4)}`);

const descriptors = () => readdirSync('/proc/self/fd').length;
/** Direct children of this process. */
function children(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
        return Number(stat.slice(stat.lastIndexOf(')') + 4).split(' ')[0]) === process.pid;
      } catch {
        return false;
      }
    });
}

test('enclaves made and destroyed in a loop leave no process, descriptor or memory', () => {
  const machine = new BenchMachine({ spare: false });
  const once = () => {
    const enclave = machine.start({ code, threads: 2 });
    assert.equal(enclave.gate.enter(0, 0), EXIT_KIND.EEXIT);
    enclave.close();
  };
  once();
  const before = { fds: descriptors(), children: children().length };
  const mappings = () => readFileSync('/proc/self/maps', 'utf8').split('memfd:nsgx').length;
  const maps = mappings();
  for (let i = 0; i < 50; i++) once();
  assert.deepEqual({ fds: descriptors(), children: children().length }, before);
  assert.equal(mappings(), maps);
  machine.close();
});

test('a start that fails leaves nothing behind and says what failed', () => {
  const machine = new BenchMachine({ spare: false });
  const before = { fds: descriptors(), children: children().length };
  // On the kernel's side the ELRANGE collides with the runner's own low memory only when asked to.
  assert.throws(() => machine.start({ code, base: 0x10000 }), { code: 'PROCESSOR_ARGUMENT' });
  assert.throws(() => machine.start({ code, base: machine.base }), { code: 'PROCESSOR_ARGUMENT' });
  assert.throws(() => machine.start({ code, xfrm: 1n }), { code: 'RUNNER_FAILED' });
  assert.throws(() => machine.start({ code, xfrm: (1n << 62n) | 3n }), { code: 'RUNNER_FAILED' });
  assert.throws(
    () =>
      machine.start({
        code,
        ranges: [
          { offset: 0, length: 8192, r: true, w: false, x: false },
          { offset: 4096, length: 4096, r: true, w: false, x: false },
        ],
      }),
    { code: 'PROCESSOR_ARGUMENT' },
  );
  // Each failed test start leaves its enclave memory to its maker.
  assert.ok(descriptors() - before.fds <= 5);
  assert.equal(children().length, before.children);
  machine.close();
});

test('a start that nobody can watch is undone, and one without a next runner is none the worse', () => {
  const refusal = systemError(28, 'epoll_ctl');
  let watchable = false;
  const ended: NativeEnclave[] = [];
  const machine = new BenchMachine({
    onStarted: () => {
      if (!watchable) throw refusal;
    },
    onEnded: (enclave) => ended.push(enclave),
  });
  const before = { fds: descriptors(), children: children().length };
  assert.throws(() => machine.start({ code }), refusal);
  assert.equal(ended.length, 1);
  assert.deepEqual([machine.processor.enclaves.size, ended[0]!.threadState(0).state], [0, 0]);
  // The test's own enclave memory is left to it.
  assert.deepEqual({ fds: descriptors() - 1, children: children().length }, before);
  watchable = true;
  close(machine.runnerFd);
  const enclave = machine.start({ code });
  assert.equal(enclave.gate.enter(0, 0), EXIT_KIND.EEXIT);
  assert.throws(() => machine.start({ code }), { name: 'OsError' });
  enclave.close();
  machine.processor.close();
  machine.ram.unmap();
  close(machine.ramFd);
});

async function lostWithin(
  enclave: TestEnclave,
  entry: Promise<{ kind: string }>,
  kill: () => void,
): Promise<number> {
  await sleep(20);
  const start = performance.now();
  kill();
  // The monitor's process sees the pidfd; here it is looked at every few milliseconds.
  const watch = setInterval(() => enclave.running.lost, 5);
  const exit = await entry;
  clearInterval(watch);
  assert.equal(exit.kind, 'LOST');
  return performance.now() - start;
}

for (const [state, rdi] of [
  ['inside', 1],
  ['waiting for a leaf', 2],
] as const)
  test(`a runner killed while ${state} is reported soon`, async () => {
    const pool = new CallPool(2);
    const machine = new BenchMachine();
    try {
      const enclave = machine.start({ code });
      const entry = enclave.gate.enterAsync(pool, 2, { rdi });
      const ms = await lostWithin(enclave, entry, () => process.kill(enclave.running.pid, 'SIGKILL'));
      assert.ok(ms < SOON_MS, `${ms} ms`);
      assert.equal(enclave.running.lost, 'the runner ended');
      assert.equal(enclave.gate.enter(0, 0), EXIT_KIND.LOST);
      enclave.close();
    } finally {
      machine.close();
      await pool.close();
    }
  });

test('a runner killed while idle: the next entry is LOST, and nothing hangs', () => {
  const machine = new BenchMachine();
  const enclave = machine.start({ code });
  assert.equal(enclave.gate.enter(0, 0), EXIT_KIND.EEXIT);
  process.kill(enclave.running.pid, 'SIGKILL');
  while (enclave.running.lost === null);
  assert.equal(enclave.gate.enter(0, 0), EXIT_KIND.LOST);
  assert.equal(enclave.running.anyInside(), false);
  assert.deepEqual(enclave.running.pendingLeaves(), []);
  enclave.close();
  machine.close();
});

test('an SSA frame that goes while the thread is inside costs the enclave its life', async () => {
  const pool = new CallPool(2);
  const machine = new BenchMachine();
  try {
    const enclave = machine.start({ code });
    const entry = enclave.gate.enterAsync(pool, 2, { rdi: 1 });
    const ms = await lostWithin(enclave, entry, () => {
      enclave.memory.discard(AT.SSA, 4096);
      enclave.running.kick(0);
    });
    assert.ok(ms < SOON_MS, `${ms} ms`);
    assert.equal(enclave.running.lost, 'an SSA frame could not be written');
    enclave.close();
  } finally {
    machine.close();
    await pool.close();
  }
});

test('stopping an enclave wakes the host that waits at its gate', async () => {
  const pool = new CallPool(2);
  const machine = new BenchMachine();
  try {
    const enclave = machine.start({ code });
    const entry = enclave.gate.enterAsync(pool, 2, { rdi: 1 });
    await sleep(10);
    enclave.running.stop();
    assert.equal((await entry).kind, 'LOST');
    enclave.close();
  } finally {
    machine.close();
    await pool.close();
  }
});

for (const signal of ['SIGKILL', 'SIGTERM'] as const)
  test(`a monitor that ends by ${signal} takes its runners along`, async () => {
    const child = childProcess.spawn(
      process.execPath,
      [fileURLToPath(new URL('./orphan.js', import.meta.url)), 'run'],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    const pid = Number(
      await new Promise((resolve) => child.stdout.once('data', (data) => resolve(String(data)))),
    );
    assert.ok(existsSync(`/proc/${pid}`));
    child.kill(signal);
    const end = Date.now() + 500;
    const gone = () => {
      try {
        return /State:\s*[ZX]/.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
      } catch {
        return true;
      }
    };
    while (!gone() && Date.now() < end) await sleep(2);
    assert.ok(gone());
  });

test('a host whose monitor is gone gets LOST soon, though nobody marked its gate', async () => {
  const pool = new CallPool(2);
  const machine = new BenchMachine();
  const monitor = childProcess.spawn('sleep', ['60']);
  const pidfd = pidfdOpen(monitor.pid!);
  try {
    const enclave = machine.start({ code });
    const gate = new Gate(enclave.gate.address, { peerPidfd: pidfd });
    const entry = gate.enterAsync(pool, 2, { rdi: 1 });
    await sleep(20);
    const start = performance.now();
    monitor.kill('SIGKILL');
    assert.equal((await entry).kind, 'LOST');
    assert.ok(performance.now() - start < SOON_MS);
    gate.close();
    enclave.close();
  } finally {
    close(pidfd);
    machine.close();
    await pool.close();
  }
});

test('a runner that somebody stops is noticed, and its host gets LOST', async () => {
  const pool = new CallPool(2);
  const machine = new BenchMachine();
  try {
    const enclave = machine.start({ code });
    const entry = enclave.gate.enterAsync(pool, 2, { rdi: 1 });
    await sleep(20);
    assert.deepEqual(machine.processor.checkRunners(), []);
    process.kill(enclave.running.pid, 'SIGSTOP');
    await sleep(10);
    assert.deepEqual(machine.processor.checkRunners(), [enclave.running]);
    assert.equal(enclave.running.lost, 'the runner was stopped by a signal');
    assert.equal((await entry).kind, 'LOST');
    enclave.close();
  } finally {
    machine.close();
    await pool.close();
  }
});

test('the spare runner makes starting fast, and a spare that died is replaced', async () => {
  const machine = new BenchMachine();
  try {
    await sleep(50);
    const start = performance.now();
    const enclave = machine.start({ code });
    const ms = performance.now() - start;
    enclave.close();
    assert.ok(ms < 50, `${ms} ms`);
    await sleep(20);
    for (const pid of children()) process.kill(pid, 'SIGKILL');
    await sleep(20);
    const again = machine.start({ code });
    assert.equal(again.gate.enter(0, 0), EXIT_KIND.EEXIT);
    again.close();
  } finally {
    machine.close();
  }
});
