/**
 * Several enclaves of several threads in an EPC a tenth of their size, while pages are written back at random, heaps grow
 * and shrink and threads are added. NSGX_SOAK=1 makes it long, NSGX_SEED
 * repeats a run.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { Cvm } from '../src/index.js';
import { driverOf, elastic, machine, PAGE } from './elastic.js';

const MIB = 2 ** 20;
const seed = Number(process.env.NSGX_SEED ?? 20261122);
const rounds = process.env.NSGX_SOAK ? 40 : 4;

/** Numbers below `n`, the same for the same seed. */
function randomFrom(state: number): (n: number) => number {
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}

/** Errors that only say that a resource of the enclave is used up now. */
async function unlessBusy(body: () => unknown, code: string): Promise<void> {
  try {
    await body();
  } catch (error) {
    if ((error as { code?: unknown }).code !== code) throw error;
  }
}

async function live(cvm: Cvm, random: (n: number) => number): Promise<void> {
  const e = await elastic(cvm);
  const { file } = await driverOf(cvm, e);
  const pages = 400 + random(2000);
  await e.async.prepare(pages);
  if (random(2) === 0) e.interruptEvery(1 + random(5));
  let steps = 0;
  for (let round = 0; round < rounds; round++) {
    const parts = 1 + random(4);
    const share = Math.floor(pages / parts);
    const walks = Array.from({ length: parts }, (_, i) => {
      const count = 100 + random(1500);
      steps += count;
      return e.async.walk(i * share, share, count, random(3), random(2 ** 30));
    });
    const grows =
      random(2) === 0 ? unlessBusy(() => e.async.take((1 + random(24)) * MIB), 'ENCLAVE_STATUS') : null;
    for (let i = random(5); i > 0; i--) {
      const offset = random(4000) * PAGE;
      file.pageOut(offset, Math.min(file.size - offset, (1 + random(500)) * PAGE));
      await pause(random(5));
      if (random(2) === 0) await unlessBusy(() => e.ecalls.spin(random(500_000)), 'TCS_EXHAUSTED');
    }
    if (random(3) === 0) await unlessBusy(() => e.addThread(), 'TCS_EXHAUSTED');
    assert.deepEqual(await Promise.all(walks), new Array(parts).fill(0n), `seed ${seed}`);
    await grows;
    if (random(2) === 0) {
      await e.async.drop();
      await unlessBusy(() => e.trimHeap(), 'TCS_EXHAUSTED');
    }
  }
  assert.equal(await e.async.total(), BigInt(steps), `seed ${seed}`);
  assert.equal(e.stats().exceptions, 0);
  await e.close();
}

test('whatever happens to their pages, enclaves compute what they should', async (t) => {
  t.diagnostic(`seed ${seed}`);
  await using cvm = await machine(4);
  const { device } = await cvm.guest();
  await Promise.all([1, 2, 3].map((i) => live(cvm, randomFrom(seed + i))));
  assert.equal(device.supply.store.used, 0);
  assert.equal(device.supply.free, 1024);
});
