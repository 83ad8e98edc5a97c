import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as os from '../src/index.js';
import { code, finish, startNode } from './support.js';

function shared(): { fd: number; map: os.Mapping; words: Int32Array } {
  const fd = os.memfdCreate('words', { size: 4096, seal: true });
  const map = os.mmap({ fd, length: 4096, prot: 'rw' });
  return { fd, map, words: new Int32Array(map.bytes.buffer) };
}

test('waits end: changed, timeout, and never on a word that is not mapped', () => {
  const { fd, map, words } = shared();
  assert.equal(os.futexWait(map.address, 1, 1000), 'changed');
  const start = performance.now();
  assert.equal(os.futexWait(map.address, 0, 20), 'timeout');
  assert.ok(performance.now() - start >= 19);
  assert.equal(os.futexWake(map.address), 0);
  assert.throws(() => os.futexWait(0x1000, 0, 10), code('EFAULT'));
  assert.throws(() => os.futexWait(map.address, 0, -1), code('ARGUMENT_INVALID'));
  words[0] = 5;
  assert.equal(os.spinThenWait(map.address, 4, 1000, 1000, 0), 5);
  words[0] = -1;
  assert.equal(os.spinThenWait(map.address, 0, 0, 0, 0), 0xffffffff);
  assert.equal(os.ring(map.address, 0), 0);
  map.unmap();
  os.close(fd);
});

const ECHO = (rounds: number) => `
  const map = os.mmap({ fd: 3, length: 4096, prot: 'rw' });
  const w = new Int32Array(map.bytes.buffer);
  Atomics.store(w, 64, 1);
  for (let seen = 0; seen < ${rounds}; ) {
    const now = os.spinThenWait(map.address, seen, 2000, 50000, map.address + 64);
    if (now === seen) continue;
    if (now !== seen + 1) process.exit(9);
    seen = now;
    os.ring(map.address + 128, map.address + 192);
  }`;

test('two processes exchange 20,000 rings over two doorbells without losing one', () => {
  const { fd, map, words } = shared();
  const rounds = 20_000;
  const child = startNode(ECHO(rounds), [[3, fd]]);
  const waiter = new os.AdaptiveWaiter(map.address + 128, map.address + 192);
  const end = Date.now() + 20_000;
  for (let seen = 0; seen < rounds; ) {
    os.ring(map.address, map.address + 64);
    seen++;
    while (waiter.wait(seen - 1, 50_000) === seen - 1) assert.ok(Date.now() < end, `stuck at ${seen}`);
    assert.equal(words[32], seen);
  }
  assert.deepEqual(finish(child), { pid: child.pid, code: 0 });
  assert.equal(words[16], 0, 'the sleeper clears its flag');
  const { hits, misses, spinCycles } = waiter.stats;
  assert.ok(hits + misses <= rounds * 2 && spinCycles <= 4000);
  map.unmap();
  os.close(fd);
});

test('an adaptive waiter gives up spinning that does not pay', () => {
  const { fd, map } = shared();
  const waiter = new os.AdaptiveWaiter(map.address, 0, { maxSpinCycles: 4000 });
  for (let i = 0; i < 15; i++) waiter.wait(0, 100);
  assert.deepEqual(waiter.stats, { spinCycles: 0, hits: 0, misses: 15 });
  map.unmap();
  os.close(fd);
});

test('a hostile process that moves the waiter to another word only delays it to its timeout', () => {
  const { fd, map, words } = shared();
  const child = startNode(
    `const map = os.mmap({ fd: 3, length: 4096, prot: 'rw' });
     const w = new Int32Array(map.bytes.buffer);
     let moved = 0;
     for (const end = Date.now() + 5000; moved < 5 && Date.now() < end; ) {
       moved += os.futexRequeue(map.address, map.address + 2048);
       Atomics.store(w, 200, moved);
       os.futexWait(map.address + 2048, 0, 1);
     }
     process.exit(moved < 5 ? 1 : 0);`,
    [[3, fd]],
  );
  let longest = 0;
  for (const end = Date.now() + 5000; Atomics.load(words, 200) < 5 && Date.now() < end; ) {
    const start = performance.now();
    assert.equal(os.spinThenWait(map.address, 0, 0, 50_000, map.address + 64), 0);
    longest = Math.max(longest, performance.now() - start);
  }
  assert.equal(finish(child).code, 0);
  assert.ok(words[200]! >= 5, 'the attack took place');
  assert.ok(longest < 1000, `${longest} ms`);
  map.unmap();
  os.close(fd);
});

test('a word that a hostile process flips and wakes all the time does not prolong a wait', () => {
  const { fd, map, words } = shared();
  const child = startNode(
    `const map = os.mmap({ fd: 3, length: 4096, prot: 'rw' });
     const w = new Int32Array(map.bytes.buffer);
     Atomics.store(w, 200, 1);
     while (!Atomics.load(w, 201)) { os.futexWake(map.address, 1000); }`,
    [[3, fd]],
  );
  while (!Atomics.load(words, 200)) os.futexWait(map.address + 1024, 0, 1);
  const start = performance.now();
  for (let i = 0; i < 4; i++) assert.equal(os.spinThenWait(map.address, 0, 0, 25_000, map.address + 64), 0);
  assert.ok(performance.now() - start < 2000);
  Atomics.store(words, 201, 1);
  finish(child);
  map.unmap();
  os.close(fd);
});

test('clock and processors', () => {
  const hz = os.tscHz();
  assert.ok(hz > 5e8 && hz < 1e10, `${hz}`);
  const a = os.rdtsc();
  assert.ok(os.rdtsc() > a);
  const cpus = os.usableCpus();
  assert.ok(cpus.length > 0 && cpus.includes(os.getCpu()));
  os.setAffinity(0, cpus[0]!);
  assert.deepEqual(os.usableCpus(), [cpus[0]]);
  assert.equal(os.getCpu(), cpus[0]);
  os.setAffinity(0, cpus);
  assert.deepEqual(os.usableCpus(), cpus);
  assert.throws(() => os.setAffinity(0, 1000), code('EINVAL'));
  assert.equal(os.threadId(), process.pid);
});
