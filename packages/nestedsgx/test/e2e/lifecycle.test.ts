/** Enclaves and machines made and destroyed in a loop leave nothing behind, in the host and in the cvm. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Cvm, openImage, sampleImage } from '../../src/index.js';
import {
  alive,
  type Calc,
  childrenOf,
  codeOf,
  holdings,
  launch,
  load,
  residentBytes,
  SOAK,
  sleep,
  until,
} from './observe.js';

const ROUNDS = SOAK ? 1000 : 50;
const MIB = 2 ** 20;

/** Everything countable that a machine with `cvm` as its host holds. */
async function inventory(cvm: Cvm) {
  const { connection } = await cvm.guest();
  return {
    ours: holdings('self'),
    theirs: holdings(cvm.pid as number),
    enclaves: (await cvm.ps()).length,
    guestRam: connection.memory.used,
    freeFrames: connection.epc.free,
  };
}

/** Waits until two inventories are equal but for mappings, which runtimes make and drop as they like. */
async function settles(cvm: Cvm, first: Awaited<ReturnType<typeof inventory>>): Promise<void> {
  let last = await inventory(cvm);
  const strip = (state: typeof last) => ({
    ...state,
    ours: { ...state.ours, mappings: 0 },
    theirs: { ...state.theirs, mappings: 0 },
  });
  await until(async () => {
    last = await inventory(cvm);
    return JSON.stringify(strip(last)) === JSON.stringify(strip(first));
  }, 2000);
  assert.deepEqual(strip(last), strip(first));
  for (const side of ['ours', 'theirs'] as const)
    assert.ok(
      last[side].mappings - first[side].mappings < 24,
      `${side}: ${first[side].mappings} mappings, then ${last[side].mappings}`,
    );
}

test(`${ROUNDS} enclaves made, called and destroyed leave nothing behind`, async (t) => {
  await using cvm = await launch();
  const pid = cvm.pid as number;
  for (let i = 0; i < 5; i++) {
    await using e = await load(cvm);
    assert.equal(await e.async.add(i, 1), i + 1);
  }
  await sleep(100);
  const first = await inventory(cvm);
  const memory: { ours: number; theirs: number; shared: number }[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    const e = await load(cvm);
    assert.equal(e.ecalls.add(i, 1), i + 1);
    if (i % 3 === 0) assert.equal(await e.async.add(i, 2), i + 2);
    if (i % 7 === 0) e.attest();
    if (i % 5 === 0) await assert.rejects(e.async.fault_page(), { code: 'ENCLAVE_FAULT' });
    await e.close();
    if (i % (ROUNDS / 10) === 0) {
      globalThis.gc?.();
      const theirs = residentBytes(pid);
      memory.push({ ours: residentBytes('self').anonymous, theirs: theirs.anonymous, shared: theirs.shared });
    }
  }
  await settles(cvm, first);
  const [middle, end] = [memory[memory.length >> 1], memory[memory.length - 1]];
  for (const side of ['ours', 'theirs', 'shared'] as const) {
    const slope = (end[side] - middle[side]) / (ROUNDS / 2);
    t.diagnostic(`${side}: ${(end[side] / MIB).toFixed(1)} MiB, ${(slope / 1024).toFixed(2)} KiB an enclave`);
    assert.ok(end[side] - middle[side] < 48 * MIB, `${side} grew by ${end[side] - middle[side]} bytes`);
  }
});

test('an enclave that EINIT refuses leaves nothing behind', async () => {
  await using cvm = await launch();
  const { image, sigstruct } = openImage(sampleImage('calc'));
  const forged = Uint8Array.from(sigstruct);
  forged[600] ^= 1;
  await (await load(cvm)).close();
  await sleep(50);
  const first = await inventory(cvm);
  for (let i = 0; i < (SOAK ? 300 : 10); i++)
    await assert.rejects(cvm.load({ sgxs: image, sig: forged }), { code: 'SGX_IOCTL' });
  await settles(cvm, first);
});

test('machines launched and closed leave no process, descriptor or mapping', async () => {
  const warm = await launch();
  await load(warm);
  await warm.close();
  const first = holdings('self');
  const rounds = SOAK ? 50 : 5;
  for (let i = 0; i < rounds; i++) {
    const cvm = await launch();
    const e = await load(cvm);
    assert.equal(e.ecalls.add(1, i), i + 1);
    const pids = [cvm.pid as number, ...childrenOf(cvm.pid as number)];
    assert.ok(pids.length >= 2);
    if (i % 2 === 0) await cvm.close();
    else await cvm.stop();
    assert.notEqual(await until(() => !pids.some(alive), 2000), null);
  }
  const last = holdings('self');
  assert.equal(last.descriptors, first.descriptors);
  assert.equal(last.children, first.children);
  assert.ok(last.mappings - first.mappings < 24, `${first.mappings} mappings, then ${last.mappings}`);
});

test('EPC or guest RAM that runs out is a typed error, and what is closed can be used again', async () => {
  await using cvm = await launch({ epcBytes: 4 * MIB }, { reclaim: false });
  const codes = new Set<string>();
  for (let round = 0; round < 3; round++) {
    const loaded: Calc[] = [];
    let code = 'none';
    while (code === 'none' && loaded.length < 64)
      code = await codeOf(async () => {
        loaded.push(await load(cvm));
      });
    assert.ok(loaded.length >= 2, `${loaded.length} enclaves fit`);
    codes.add(`${loaded.length} ${code}`);
    loaded.forEach((e, i) => {
      assert.equal(e.ecalls.add(i, 2), i + 2);
    });
    await Promise.all(loaded.map((e) => e.close()));
  }
  assert.equal(codes.size, 1, `the same in every round: ${[...codes].join(', ')}`);
  assert.match([...codes][0], /SGX_IOCTL$/);
  await using roomy = await launch({ ramBytes: 64 * MIB });
  await using e = await load(roomy);
  const large = new Uint8Array(48 * MIB);
  assert.doesNotMatch(await codeOf(() => e.ecalls.echo(large)), /^(none|untyped)/);
  assert.doesNotMatch(await codeOf(() => e.async.echo(large)), /^(none|untyped)/);
  assert.equal(e.ecalls.add(2, 3), 5);
});

test('many more enclaves than the EPC holds take turns', async () => {
  await using cvm = await launch({ epcBytes: 4 * MIB });
  const loaded: Calc[] = [];
  for (let i = 0; i < 24; i++) loaded.push(await load(cvm));
  for (let round = 0; round < 3; round++)
    loaded.forEach((e, i) => {
      assert.equal(e.ecalls.add(i, round), i + round);
    });
  const { device } = await cvm.guest();
  assert.ok(loaded.reduce((pages, e) => pages + e.stats().pages, 0) > 2 * 1024);
  assert.ok(device.supply.counters.reloaded > 0);
  await Promise.all(loaded.map((e) => e.close()));
  assert.equal(device.supply.store.used, 0);
  assert.equal(device.supply.free, 1024);
});
