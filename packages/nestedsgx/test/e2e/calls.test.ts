/** Calls of every kind against the real machine: many at once, OCALLs that wait, nesting, exceptions. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Cvm, EnclaveFault } from '../../src/index.js';
import { type Calc, codeOf, launch, load, SOAK } from './observe.js';

let cvm: Cvm;
const folder = mkdtempSync(join(tmpdir(), 'nsgx-calls-'));
before(async () => {
  cvm = await launch();
});
after(async () => {
  await cvm?.close();
  rmSync(folder, { recursive: true });
});

test('10,000 asynchronous calls at once on 64 threads are all answered, each with its own answer', async () => {
  await using e = await load(cvm, 'bench');
  assert.equal(e.stats().threads, 64);
  let most = 0;
  const answers = await Promise.all(
    Array.from({ length: 10_000 }, async (_, i) => {
      const answer = await e.async.echo(Uint8Array.of(i & 0xff, i >> 8));
      most = Math.max(most, e.running);
      return answer;
    }),
  );
  answers.forEach((answer, i) => {
    assert.deepEqual(answer, Uint8Array.of(i & 0xff, i >> 8));
  });
  assert.ok(most > 1 && most <= 64, `${most} at once`);
  const { waitingCalls, freeThreads, ecalls } = e.stats();
  assert.deepEqual({ waitingCalls, freeThreads }, { waitingCalls: 0, freeThreads: 64 });
  assert.ok(ecalls >= 10_000);
});

test('OCALL handlers that await files inside asynchronous calls do not block each other or the loop', async () => {
  const path = join(folder, 'name.txt');
  writeFileSync(path, 'a file');
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  await using e = await load(cvm, 'calc', {
    ocalls: {
      host_name: async () => {
        await new Promise((resolve) => setTimeout(resolve, 5));
        return readFile(path, 'utf8');
      },
    },
  });
  const greetings = await Promise.all(Array.from({ length: SOAK ? 5000 : 100 }, () => e.async.greet()));
  clearInterval(timer);
  for (const greeting of greetings) assert.match(greeting, /a file/);
  assert.ok(ticks > 2, `${ticks} timer ticks`);
});

test('a promise during a synchronous ECALL is a typed error, and the enclave goes on', async () => {
  await using e = await load(cvm, 'calc', { ocalls: { host_name: async () => 'never' } });
  for (let i = 0; i < 20; i++)
    assert.equal(await codeOf(() => e.ecalls.greet()), 'OCALL_PROMISE_IN_SYNC_ECALL');
  assert.equal(e.ecalls.add(2, 3), 5);
  assert.match(await e.async.greet(), /never/);
  await using rejecting = await load(cvm, 'calc', {
    ocalls: { host_name: () => Promise.reject(new Error('no name today')) },
  });
  assert.equal(await codeOf(() => rejecting.async.greet()), 'OCALL_FAILED');
  assert.equal(await codeOf(() => rejecting.ecalls.greet()), 'OCALL_PROMISE_IN_SYNC_ECALL');
  assert.equal(rejecting.ecalls.add(2, 3), 5);
});

test('nested ECALLs go several deep on one thread, up to a typed limit', async () => {
  let depth = 0;
  let deepest = 0;
  let limit = '';
  const e: Calc = await load(cvm, 'calc', {
    ocalls: {
      host_name: () => {
        depth++;
        deepest = Math.max(deepest, depth);
        try {
          if (depth < 32) e.ecalls.greet();
        } catch (error) {
          limit ||= String((error as { code?: string }).code);
        } finally {
          depth--;
        }
        return String(e.stats().freeThreads);
      },
    },
  });
  assert.match(e.ecalls.greet(), /3/);
  assert.ok(deepest >= 2, `${deepest} deep`);
  assert.match(limit, /^(ECALL_DEPTH|ENCLAVE_STATUS)$/);
  assert.equal(e.ecalls.add(2, 3), 5);
  assert.equal(e.stats().freeThreads, 4);
  await e.close();
});

test('an exception that the enclave handles goes on; one that it does not ends it with its vector', async () => {
  await using e = await load(cvm);
  assert.equal(e.ecalls.divide_or(1, 0, -7), -7);
  assert.equal(e.ecalls.divide_or(9, 3, -7), 3);
  assert.equal(await e.async.divide_or(1, 0, 11), 11);
  const before = e.stats().exceptions;
  e.ecalls.breakpoint(100n);
  assert.ok(e.stats().exceptions - before >= 100);
  assert.throws(
    () => e.ecalls.divide(1, 0),
    (error) =>
      error instanceof EnclaveFault &&
      error.code === 'ENCLAVE_FAULT' &&
      error.vector === 0 &&
      error.vectorName === '#DE',
  );
  assert.equal(await codeOf(() => e.ecalls.add(1, 1)), 'ENCLAVE_CRASHED');
  await using other = await load(cvm);
  await assert.rejects(
    other.async.fault_page(),
    (error) => error instanceof EnclaveFault && error.vector === 14 && error.address > 0,
  );
  await using third = await load(cvm);
  assert.equal(third.ecalls.add(2, 3), 5);
});

test('synchronous calls fail with a typed error while asynchronous ones hold all threads', async () => {
  let release: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  await using e = await load(cvm, 'calc', { ocalls: { host_name: () => gate.then(() => 'late') } });
  const held = Array.from({ length: 4 }, () => e.async.greet());
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(await codeOf(() => e.ecalls.add(1, 1)), 'TCS_EXHAUSTED');
  const waiting = e.async.add(20, 22);
  release();
  for (const greeting of await Promise.all(held)) assert.match(greeting, /late/);
  assert.equal(await waiting, 42);
  assert.equal(e.ecalls.add(2, 3), 5);
});
