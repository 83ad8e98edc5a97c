import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import * as os from '../src/index.js';
import { code, openDescriptors, until } from './support.js';

const identity = () => os.nativeSymbol('nsgx_identity');
const sleep = () => os.nativeSymbol('nsgx_sleep_us');
const threads = () => Number(/Threads:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))![1]);

test('ten thousand concurrent calls on few threads: each gets its own answer', async () => {
  const pool = new os.CallPool(8);
  const before = threads();
  const answers = await Promise.all(Array.from({ length: 10_000 }, (_, i) => pool.submit(identity(), i)));
  assert.ok(answers.every((v, i) => v === i));
  assert.ok(threads() <= before + 8);
  assert.equal(pool.outstanding, 0);
  await pool.close();
  assert.ok(await until(() => threads() <= before));
});

test('calls that wait neither block the event loop nor libuv’s pool', async () => {
  const pool = new os.CallPool(16, { followCaller: false });
  const waiting = Array.from({ length: 16 }, () => pool.submit(sleep(), 100_000));
  const { readFile } = await import('node:fs/promises');
  await readFile('/proc/self/status');
  assert.equal(pool.outstanding, 16);
  assert.equal((await Promise.all(waiting))[15], 100_000);
  await pool.close();
});

test('limits and closing: typed errors, nothing hangs', async () => {
  const pool = new os.CallPool(1, { maxOutstanding: 3 });
  const running = pool.submit(sleep(), 50_000);
  const queued = [pool.submit(identity(), 1), pool.submit(identity(), 2)];
  await assert.rejects(pool.submit(identity(), 3), code('CALL_QUEUE_FULL'));
  await new Promise((resolve) => setTimeout(resolve, 20));
  const closed = pool.close();
  for (const q of queued) await assert.rejects(q, code('CALL_POOL_CLOSED'));
  assert.equal(await running, 50_000);
  await closed;
  await pool.close();
  await assert.rejects(pool.submit(identity(), 4), code('CALL_POOL_CLOSED'));
  assert.throws(() => new os.CallPool(0), code('ARGUMENT_INVALID'));
});

test('negative results and repeated use of ids', async () => {
  const pool = new os.CallPool(2);
  for (let i = 0; i < 500; i++) assert.equal(await pool.submit(identity(), i), i);
  const close = os.nativeSymbol('nsgx_close');
  assert.equal(await pool.submit(close, 0x7fffffff), -9);
  await pool.close();
});

test('pools leave no descriptors behind', async () => {
  const before = openDescriptors();
  for (let i = 0; i < 100; i++) {
    const pool = new os.CallPool(2);
    await pool.submit(identity(), i);
    await pool.close();
  }
  assert.ok(await until(() => openDescriptors() === before));
});
