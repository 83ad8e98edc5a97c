/** Threads that a host keeps for several calls. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { sampleDirectory, sampleImage } from '@nestedsgx/enclave';
import { type AnyCalls, Cvm, type IntelEnclave } from '../src/index.js';

const image = sampleImage('marshal') as `${string}.signed.so`;
const edl = join(sampleDirectory('marshal'), 'marshal.edl');
const home = mkdtempSync(join(tmpdir(), 'nsgx-bound-'));
let cvm: Cvm;

before(async () => {
  cvm = await Cvm.launch({ stateDir: join(home, 'state') });
});
after(async () => {
  await cvm?.close();
  rmSync(home, { recursive: true });
});

const load = (ocalls: AnyCalls = {}): Promise<IntelEnclave> => cvm.load(image, { edl, ocalls });

test('bound threads are their holders’ alone, until they give them back', async () => {
  await using e = await load();
  const { threads } = e.stats();
  const held = Array.from({ length: threads }, () => e.bindThread());
  assert.equal(e.stats().freeThreads, 0);
  assert.throws(() => e.bindThread(), { code: 'TCS_EXHAUSTED' });
  assert.throws(() => e.ecalls.ecall_add(1, 2), { code: 'TCS_EXHAUSTED' });
  for (const [i, thread] of held.entries()) assert.equal(thread.ecalls.ecall_add(i, 1), i + 1);
  const waiting = e.async.ecall_add(20, 3);
  held[0].release();
  held[0].release();
  assert.equal(await waiting, 23, 'whoever waits gets it');
  assert.throws(() => held[0].ecalls.ecall_add(1, 2), { code: 'TCS_EXHAUSTED', message: /released/ });
  for (const thread of held) thread.release();
  assert.equal(e.stats().freeThreads, threads);
  {
    using thread = e.bindThread();
    assert.equal(thread.ecalls.ecall_add(4, 4), 8);
    assert.equal(e.stats().freeThreads, threads - 1);
  }
  assert.equal(e.stats().freeThreads, threads);
});

test('asynchronous calls of a bound thread follow one another, and hold it until they are over', async () => {
  await using e = await load();
  const { threads } = e.stats();
  const thread = e.bindThread();
  const calls = Array.from({ length: 20 }, (_, i) => thread.async.ecall_add(i, i));
  assert.throws(() => thread.ecalls.ecall_add(1, 1), { code: 'TCS_EXHAUSTED', message: /asynchronous/ });
  thread.release();
  assert.equal(e.stats().freeThreads, threads - 1);
  assert.deepEqual(
    await Promise.all(calls),
    Array.from({ length: 20 }, (_, i) => 2 * i),
  );
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(e.stats().freeThreads, threads);
  const late = e.bindThread();
  await e.close();
  assert.throws(() => late.ecalls.ecall_add(1, 1), { code: 'ENCLAVE_CLOSED' });
  await assert.rejects(late.async.ecall_add(1, 1), { code: 'ENCLAVE_CLOSED' });
  late.release();
});

test('calls in the OCALL handlers of a bound thread’s call go to it, and it may be released there', async () => {
  let thread: ReturnType<IntelEnclave['bindThread']> | undefined;
  await using e = await load({
    ocall_nested: (value: number) => {
      thread?.release();
      return e.ecalls.ecall_private(value);
    },
  });
  const { threads } = e.stats();
  thread = e.bindThread();
  const alone = e.ecalls.ecall_nested(0);
  thread = e.bindThread();
  assert.equal(thread.ecalls.ecall_nested(0), alone);
  assert.ok(e.stats().freeThreads >= threads - 1);
});
