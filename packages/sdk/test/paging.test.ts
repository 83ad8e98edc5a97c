/** Enclaves larger than the EPC, against a real machine. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { SgxEnclaveFile } from '@nestedsgx/guest';
import type { AnyInterface, Cvm, Enclave } from '../src/index.js';
import { driverOf, elastic, IMAGE_PAGES, machine, PAGE } from './elastic.js';

const WORKING_SET = 4000;
const SEQUENTIAL = 0;
const RANDOM = 1;
const HOT = 2;
const seed = BigInt(process.env.NSGX_SEED ?? 20261122);

/** Offsets of evicted pages of the working set. */
function evictedPages(file: SgxEnclaveFile, least: number): number[] {
  const offsets: number[] = [];
  // The middle of the image is heap that the working set lies in.
  file.pages.forEach((offset, where) => {
    if (where < 0 && offset > (IMAGE_PAGES / 4) * PAGE && offset < (IMAGE_PAGES / 2) * PAGE)
      offsets.push(offset);
  });
  assert.ok(offsets.length >= least, `only ${offsets.length} pages are evicted`);
  return offsets;
}

describe('a working set four times the EPC', () => {
  let cvm: Cvm;
  before(async () => {
    cvm = await machine(4);
  });
  after(() => cvm?.close());

  test('holds what was written, in whatever order and by however many threads', async () => {
    await using e = await elastic(cvm);
    assert.ok(e.stats().evictedPages > 3000, 'loading wrote pages back already');
    assert.equal(e.ecalls.prepare(WORKING_SET), BigInt(WORKING_SET));
    let steps = 0;
    for (const [order, count] of [
      [SEQUENTIAL, 2 * WORKING_SET],
      [RANDOM, 3000],
      [HOT, 10_000],
    ]) {
      assert.equal(e.ecalls.walk(0, WORKING_SET, count, order, seed), 0n, `order ${order}, seed ${seed}`);
      steps += count;
    }
    const share = WORKING_SET / 4;
    const wrong = await Promise.all(
      [SEQUENTIAL, RANDOM, HOT, RANDOM].map((order, i) =>
        e.async.walk(i * share, share, 3000, order, seed + BigInt(i)),
      ),
    );
    assert.deepEqual(wrong, [0n, 0n, 0n, 0n], `seed ${seed}`);
    steps += 4 * 3000;
    assert.equal(e.ecalls.total(), BigInt(steps));
    const stats = e.stats();
    assert.ok(stats.residentPages <= 1024 && stats.pageFaults > 1000);
    assert.equal(stats.exceptions, 0, 'faults that the driver answers are not exceptions');
  });

  test('a blocking call does not keep faults of asynchronous ones waiting', async () => {
    await using e = await elastic(cvm);
    e.ecalls.prepare(WORKING_SET);
    const pending = e.async.walk(0, WORKING_SET, 2000, RANDOM, seed);
    const { file } = await driverOf(cvm, e);
    const faults = file.faults.faults;
    assert.ok((e.ecalls.spin(60_000_000) as bigint) > 0n);
    assert.ok(file.faults.faults > faults);
    assert.equal(await pending, 0n);
  });

  test('enclaves take each other’s pages', async () => {
    await using a = await elastic(cvm);
    await using b = await elastic(cvm);
    a.ecalls.prepare(WORKING_SET);
    b.ecalls.prepare(WORKING_SET);
    for (let round = 0; round < 3; round++)
      for (const e of [a, b])
        assert.equal(e.ecalls.walk(0, WORKING_SET, 700, RANDOM, seed + BigInt(round)), 0n);
    assert.equal(a.ecalls.total(), 2100n);
    assert.equal(b.ecalls.total(), 2100n);
  });

  test('an enclave of which every page was written back goes on, TCS and SSA included', async () => {
    await using e = await elastic(cvm);
    const { file } = await driverOf(cvm, e);
    e.ecalls.prepare(100);
    for (let round = 0; round < 5; round++) {
      file.pageOut(0, file.size);
      assert.equal(e.stats().residentPages, 0);
      assert.equal(e.ecalls.walk(0, 100, 300, RANDOM, seed), 0n);
      file.pageOut(0, file.size);
      const marks = await Promise.all([0, 1, 2, 3].map(() => e.async.thread_mark()));
      assert.equal(new Set(marks.map((mark) => (mark as bigint) >> 32n)).size, 4);
    }
    assert.equal(e.ecalls.total(), 1500n);
  });

  test('threads whose pages go while they run come back to where they were', async () => {
    await using e = await elastic(cvm);
    const { file, device } = await driverOf(cvm, e);
    e.ecalls.prepare(600);
    const quiet = e.ecalls.spin(20_000_000);
    const calls = Promise.all([
      e.async.spin(20_000_000),
      e.async.walk(0, 300, 4000, RANDOM, seed),
      e.async.walk(300, 300, 4000, SEQUENTIAL, seed),
    ]);
    let over = false;
    void calls.then(() => {
      over = true;
    });
    for (let round = 0; round < 500 && (round === 0 || !over); round++) {
      file.pageOut(0, file.size);
      await new Promise((resolve) => setTimeout(resolve, 3));
    }
    assert.deepEqual(await calls, [quiet, 0n, 0n], `seed ${seed}`);
    assert.equal(e.ecalls.total(), 8000n);
    // A thread counts as inside from the request on and until its answer is seen: several tries, on a busy machine.
    const { kicks } = device.supply.counters;
    for (let tries = 0; tries < 60 && device.supply.counters.kicks === kicks; tries++) {
      let done = false;
      const long = e.async.spin(60_000_000).finally(() => {
        done = true;
      });
      while (file.threads.insideCount === 0 && !done) await new Promise((resolve) => setTimeout(resolve, 1));
      file.pageOut(0, file.size);
      await long;
    }
    assert.ok(device.supply.counters.kicks > kicks);
  });

  test('memory is given back with the enclave', async () => {
    const { device } = await cvm.guest();
    const e = await elastic(cvm);
    assert.ok(device.supply.store.used > 3000);
    await e.close();
    assert.equal(device.supply.store.used, 0);
    assert.equal(device.supply.free, 1024);
    assert.equal(device.query().freeFrames, 128 * 256);
  });
});

type Damage = (file: SgxEnclaveFile, offsets: number[], e: Enclave<AnyInterface>) => void;

/** Damage of `offsets[0]`'s backing. */
const DAMAGES: Readonly<Record<string, Damage>> = {
  'a flipped bit in the page': (file, [offset]) => {
    file.device.supply.store.view(file.pages.slot(offset)).page[1234] ^= 0x10;
  },
  'a flipped bit in the MAC': (file, [offset]) => {
    file.device.supply.store.view(file.pages.slot(offset)).pcmd[120] ^= 1;
  },
  'a truncated page': (file, [offset]) => {
    file.device.supply.store.view(file.pages.slot(offset)).page.fill(0, 2048);
  },
  'another page of the same enclave': (file, [offset, other]) => {
    const from = file.device.supply.store.view(file.pages.slot(other));
    const to = file.device.supply.store.view(file.pages.slot(offset));
    to.page.set(from.page);
    to.pcmd.set(from.pcmd);
  },
  'an older version of the page': (file, [offset], e) => {
    const before = file.device.supply.store.view(file.pages.slot(offset));
    const page = before.page.slice();
    const pcmd = before.pcmd.slice();
    e.ecalls.poke(file.base + offset + 2048, 1);
    assert.equal(file.pageOut(offset, PAGE), 1);
    const after = file.device.supply.store.view(file.pages.slot(offset));
    after.page.set(page);
    after.pcmd.set(pcmd);
  },
};

describe('a damaged backing store', () => {
  let cvm: Cvm;
  let other: Enclave<AnyInterface>;
  before(async () => {
    cvm = await machine(4);
    other = await elastic(cvm);
    other.ecalls.prepare(WORKING_SET);
  });
  after(() => cvm?.close());

  for (const [what, damage] of Object.entries(DAMAGES))
    test(`${what} stops its enclave with a clear reason, and nothing else`, async () => {
      await using e = await elastic(cvm);
      e.ecalls.prepare(WORKING_SET);
      const { file } = await driverOf(cvm, e);
      const offsets = evictedPages(file, 2);
      damage(file, offsets, e);
      const address = file.base + offsets[0];
      assert.throws(
        () => e.ecalls.peek(address),
        (error: { code: string; message: string }) =>
          error.code === 'EPC_PAGE_DAMAGED' && error.message.includes(`0x${offsets[0].toString(16)}`),
      );
      assert.throws(() => e.ecalls.empty(), { code: 'ENCLAVE_CRASHED' });
      await assert.rejects(e.async.empty(), { code: 'ENCLAVE_CRASHED' });
      assert.equal(other.ecalls.walk(0, WORKING_SET, 500, RANDOM, seed), 0n);
    });
});

test('threads that are inside when their enclave is stopped come back with the reason', async () => {
  await using cvm = await machine(4);
  const e = await elastic(cvm);
  e.ecalls.prepare(WORKING_SET);
  const { file } = await driverOf(cvm, e);
  const spinning = assert.rejects(e.async.spin(400_000_000), { code: 'EPC_PAGE_DAMAGED' });
  while (file.threads.insideCount === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  const [offset] = evictedPages(file, 1);
  file.device.supply.store.view(file.pages.slot(offset)).page[0] ^= 1;
  assert.throws(() => e.ecalls.peek(file.base + offset), { code: 'EPC_PAGE_DAMAGED' });
  await spinning;
  await e.close();
  assert.equal(file.device.supply.store.used, 0);
});

test('without reclaiming a full EPC is an error at load time', async () => {
  await using cvm = await machine(4, { reclaim: false });
  await assert.rejects(elastic(cvm), { code: 'SGX_IOCTL', errno: 'ENOMEM' });
});
