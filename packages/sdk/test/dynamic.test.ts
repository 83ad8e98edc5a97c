/** Memory and threads that come, change and go while an enclave runs, against a real machine. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { PT_TRIM } from '@nestedsgx/arch';
import type { SgxEnclaveFile } from '@nestedsgx/guest';
import type { AnyInterface, Cvm, Enclave } from '../src/index.js';
import { driverOf, elastic, machine, PAGE } from './elastic.js';

const R = 1;
const RW = 3;
const PENDING = 8;
const MODIFIED = 0x10;
const PR = 0x20;
const REG = 0x200;
const TRIM = 0x400;
const NEW = REG | RW | PENDING;
const MIB = 2 ** 20;
const seed = BigInt(process.env.NSGX_SEED ?? 20261122);
let cvm: Cvm;

before(async () => {
  cvm = await machine(64);
});
after(() => cvm?.close());

/** Offset of a part of the ELRANGE in which nothing is. */
const free = (file: SgxEnclaveFile) => file.size - 64 * PAGE;

/** The exception that a call ends with. */
function faultOf(body: () => unknown): { vector: number; errorCode: number; address: number } {
  try {
    body();
  } catch (error) {
    const { vector, errorCode, address } = error as ReturnType<typeof faultOf>;
    return { vector, errorCode, address };
  }
  throw new assert.AssertionError({ message: 'no exception' });
}

test('accepting absent pages makes the driver add them, zero and writable', async () => {
  await using e = await elastic(cvm);
  const { file } = await driverOf(cvm, e);
  const offset = free(file);
  const address = file.base + offset;
  const before = e.stats();
  assert.equal(e.ecalls.accept(address, 20, NEW), 0n);
  assert.equal(e.ecalls.peek(address + 19 * PAGE), 0n);
  e.ecalls.poke(address + 7 * PAGE, 77n);
  assert.equal(e.ecalls.peek(address + 7 * PAGE), 77n);
  const { augmentedPages, exceptions } = e.stats();
  assert.ok(augmentedPages >= 20 && augmentedPages <= 40);
  assert.equal(exceptions, before.exceptions);
  assert.equal(e.ecalls.accept(address, 1, NEW), 19n, 'SGX_PAGE_ATTRIBUTES_MISMATCH the second time');
  assert.equal(e.ecalls.accept_copy(address + 40 * PAGE, address + 7 * PAGE, RW), 0n);
  assert.equal(e.ecalls.peek(address + 40 * PAGE), 77n);
});

test('a page that was not accepted cannot be used', async () => {
  const e = await elastic(cvm);
  const { file } = await driverOf(cvm, e);
  const address = file.base + free(file);
  const fault = faultOf(() => e.ecalls.poke(address, 1n));
  assert.deepEqual([fault.vector, fault.address], [14, address]);
  assert.equal(file.pages.pages, e.stats().pages);
  await e.close();
});

test('permissions that are taken away are gone, and come back only by the enclave', async () => {
  const e = await elastic(cvm);
  const { file } = await driverOf(cvm, e);
  const offset = free(file);
  const address = file.base + offset;
  e.ecalls.accept(address, 4, NEW);
  const args = { offset, length: 2 * PAGE, permissions: R, result: 0, count: 0 };
  assert.equal(file.restrictPermissions(args), 2 * PAGE);
  assert.equal(e.ecalls.accept(address, 2, REG | R | PR), 0n);
  assert.equal(e.ecalls.peek(address), 0n);
  e.ecalls.extend(address + PAGE, 1, RW);
  e.ecalls.poke(address + PAGE, 5n);
  assert.equal(e.ecalls.peek(address + PAGE), 5n);
  const fault = faultOf(() => e.ecalls.poke(address, 1n));
  assert.deepEqual([fault.vector, fault.address, fault.errorCode & 2], [14, address, 2]);
  await e.close();
});

test('trimmed pages go once the enclave has accepted, and their place can be filled again', async () => {
  await using e = await elastic(cvm);
  const { file, device } = await driverOf(cvm, e);
  const offset = free(file);
  const address = file.base + offset;
  e.ecalls.accept(address, 8, NEW);
  e.ecalls.poke(address, 99n);
  assert.equal(file.modifyTypes({ offset, length: 8 * PAGE, pageType: PT_TRIM }), 8 * PAGE);
  assert.throws(() => file.removePages({ offset, length: 8 * PAGE }), { errno: 'EPERM' });
  assert.equal(e.ecalls.accept(address, 8, TRIM | MODIFIED), 0n);
  const frames = device.supply.free;
  assert.equal(file.removePages({ offset, length: 8 * PAGE }), 8 * PAGE);
  assert.equal(device.supply.free, frames + 8);
  assert.equal(e.ecalls.accept(address, 1, NEW), 0n);
  assert.equal(e.ecalls.peek(address), 0n, 'nothing of the page before');
});

test('the heap grows beyond its pages and is given back', async () => {
  await using e = await elastic(cvm);
  const start = e.ecalls.heap_bytes() as bigint;
  assert.ok((e.ecalls.take(20 * MIB) as bigint) >= BigInt(20 * MIB));
  assert.ok(e.stats().augmentedPages >= 5000 - 4096);
  assert.equal(e.trimHeap(), 0, 'it is in use');
  e.ecalls.drop();
  const grown = e.ecalls.heap_bytes() as bigint;
  assert.equal(BigInt(e.trimHeap()), grown - start);
  assert.equal(e.ecalls.heap_bytes(), start);
  assert.ok((e.ecalls.take(20 * MIB) as bigint) > start, 'it grows again');
  assert.throws(() => e.ecalls.take(100 * MIB), { code: 'ENCLAVE_STATUS' }, 'the limit holds');
});

test('threads that are added at run time work like the others', async () => {
  await using e = await elastic(cvm);
  assert.equal(e.stats().threads, 4);
  for (let threads = 5; threads <= 8; threads++) assert.equal(e.addThread(), threads);
  assert.throws(() => e.addThread(), { code: 'TCS_EXHAUSTED' });
  const marks = (await Promise.all(Array.from({ length: 64 }, () => e.async.thread_mark()))) as bigint[];
  const byThread = new Map<bigint, bigint[]>();
  for (const mark of marks) byThread.set(mark >> 32n, [...(byThread.get(mark >> 32n) ?? []), mark & 0xffffn]);
  assert.deepEqual([...byThread.keys()].sort(), [0n, 1n, 2n, 3n, 4n, 5n, 6n, 7n]);
  for (const [thread, seen] of byThread)
    assert.deepEqual(
      seen.sort((a, b) => Number(a - b)),
      seen.map((_, i) => 77n + BigInt(i)),
      `thread-local storage of thread ${thread}`,
    );
  const spins = await Promise.all(Array.from({ length: 8 }, () => e.async.spin(200_000)));
  assert.equal(new Set(spins).size, 1);
});

test('a tick interrupts threads, which go on', async () => {
  await using e = await elastic(cvm);
  const quiet = e.ecalls.spin(20_000_000);
  assert.equal(e.stats().interrupts, 0);
  e.interruptEvery(1);
  assert.equal(e.ecalls.spin(20_000_000), quiet);
  const blocking = e.stats().interrupts;
  assert.ok(blocking > 3, `${blocking} interrupts`);
  assert.equal(await e.async.spin(20_000_000), quiet);
  assert.ok(e.stats().interrupts > blocking + 3);
  e.interruptEvery(0);
  const { interrupts } = e.stats();
  assert.equal(e.ecalls.spin(20_000_000), quiet);
  assert.equal(e.stats().interrupts, interrupts);
  assert.equal(e.stats().exceptions, 0);
});

test('pages are added while others are written back', async () => {
  await using small = await machine(6);
  const e: Enclave<AnyInterface> = await elastic(small);
  e.ecalls.prepare(2000);
  const walks = [0, 1, 2].map((i) => e.async.walk(i * 600, 600, 2500, i, seed + BigInt(i)));
  const grow = e.async.take(24 * MIB);
  assert.deepEqual(await Promise.all(walks), [0n, 0n, 0n], `seed ${seed}`);
  assert.ok(((await grow) as bigint) > BigInt(24 * MIB));
  assert.equal(e.ecalls.total(), 7500n);
  e.ecalls.drop();
  assert.ok(e.trimHeap() > 0);
  assert.equal(e.addThread(), 5);
  assert.equal(e.ecalls.walk(0, 2000, 2000, 0, seed), 0n);
  await e.close();
});

test('without dynamic memory the heap does not grow and the ioctls are refused', async () => {
  await using plain = await machine(64, { edmm: false });
  const e = await elastic(plain);
  const { file } = await driverOf(plain, e);
  assert.throws(() => file.restrictPermissions({ offset: 0, length: PAGE, permissions: R }), {
    errno: 'ENODEV',
  });
  const fault = faultOf(() => e.ecalls.take(20 * MIB));
  assert.equal(fault.vector, 14);
  await e.close();
});
