import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type GuestBlock, type GuestConnection, SgxDevice, sgxCall } from '../src/index.js';
import { addNumbered, created, running, touch, wordOf } from './enclave-of.js';
import { codeOf, withFake } from './harness.js';

const PAGE = 4096;
const seed = Number(process.env.NSGX_SEED ?? 20261122);

/** A small generator of numbers below `n`, the same for the same seed. */
function randomFrom(state: number): (n: number) => number {
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}

const used = (connection: GuestConnection) => {
  const { rcx, rdx } = sgxCall(connection.vcpu, 0x1f1);
  return { pages: rcx, secs: rdx };
};

test('an enclave four times the EPC keeps every page, whatever order they are used in', () =>
  withFake('normal-64', (connection) => {
    const device = new SgxDevice(connection);
    const file = running(device, 2 ** 21, 256, 5000);
    assert.equal(file.pages.pages, 256);
    assert.ok(file.pages.evicted >= 256 - 64);
    const random = randomFrom(seed);
    const orders: [string, (i: number) => number][] = [
      ['sequential', (i) => i % 256],
      ['random', () => random(256)],
      ['hot set', () => (random(10) < 9 ? random(24) : random(256))],
    ];
    for (const [name, order] of orders)
      for (let i = 0; i < 1500; i++) {
        const page = order(i);
        assert.ok(touch(file, page * PAGE), `${name}, step ${i}, page ${page}, seed ${seed}`);
        assert.equal(wordOf(connection, file, page * PAGE), 5000 + page, `${name}, seed ${seed}`);
        assert.ok(used(connection).pages <= 64);
      }
    const { counters, store } = device.supply;
    assert.ok(counters.evicted > 500 && counters.reloaded > 500 && counters.rescued > 0);
    assert.equal(store.used, file.pages.evicted);
    file.close();
    assert.deepEqual(used(connection), { pages: 0, secs: 0 });
    assert.equal(sgxCall(connection.vcpu, 0x1f3).rcx, 0, 'version arrays are removed');
    assert.equal(store.used, 0);
    device.close();
    assert.equal(connection.epc.free, 64);
    assert.equal(connection.memory.used, 0);
  }));

test('scans get several pages a fault, and hardly anything is aged for them', () =>
  withFake('normal-256', (connection) => {
    const device = new SgxDevice(connection);
    const file = running(device, 2 ** 23, 1024);
    const { counters } = device.supply;
    const scan = () => {
      const before = { ...counters };
      for (let page = 0; page < 1024; page++) assert.ok(touch(file, page * PAGE));
      return { faults: counters.faults - before.faults, aged: counters.aged - before.aged };
    };
    for (let i = 0; i < 4; i++) scan();
    const { faults, aged } = scan();
    assert.ok(faults < 1024 / 8, `${faults} faults`);
    assert.ok(aged < 1024 / 8, `${aged} aged`);
  }));

test('pages in use stay: a hot set is saved by ageing', () =>
  withFake('normal-256', (connection) => {
    const device = new SgxDevice(connection);
    const file = running(device, 2 ** 23, 1024);
    const { counters } = device.supply;
    const random = randomFrom(seed);
    const run = (steps: number) => {
      const before = counters.reloaded;
      for (let i = 0; i < steps; i++) touch(file, (random(20) < 19 ? random(100) : 100 + random(924)) * PAGE);
      return counters.reloaded - before;
    };
    run(20_000);
    const reloads = run(20_000);
    // One access in twenty goes to a cold page, most of which are away; without ageing the hot set would go round too.
    assert.ok(reloads < 1.35 * (20_000 / 20), `${reloads} reloads, seed ${seed}`);
    assert.ok(counters.rescued > 0);
  }));

test('shortage of one enclave takes pages of others, also of those that are not initialised', () =>
  withFake('normal-64', (connection) => {
    const device = new SgxDevice(connection);
    const idle = running(device, 2 ** 20, 30, 100);
    const loading = created(device, 2 ** 20);
    addNumbered(loading, 0, 25, 200);
    const greedy = running(device, 2 ** 20, 60, 300);
    assert.ok(idle.pages.evicted > 0 && loading.pages.evicted > 0);
    addNumbered(loading, 25 * PAGE, 20, 225);
    loading.init(new Uint8Array(1808));
    for (const [file, count, first] of [
      [idle, 30, 100],
      [loading, 45, 200],
      [greedy, 60, 300],
    ] as const)
      for (let i = 0; i < count; i++) {
        assert.ok(touch(file, i * PAGE));
        assert.equal(wordOf(connection, file, i * PAGE), first + i);
      }
    greedy.close();
    idle.close();
    for (let i = 0; i < 45; i++) assert.ok(touch(loading, i * PAGE));
    loading.close();
    assert.deepEqual(used(connection), { pages: 0, secs: 0 });
  }));

for (const [what, damage] of [
  ['changed PCMD', (pcmd: Uint8Array) => pcmd.fill(1, 112, 120)],
  ['other version', (pcmd: Uint8Array, other: Uint8Array) => pcmd.set(other)],
] as const)
  test(`a damaged backing store (${what}) stops its enclave with a typed error, others go on`, () =>
    withFake('normal-64', (connection) => {
      const device = new SgxDevice(connection);
      const victim = running(device, 2 ** 20, 80, 100);
      const other = running(device, 2 ** 20, 40, 500);
      const evicted: number[] = [];
      victim.pages.forEach((offset, where) => {
        if (where < 0) evicted.push(offset);
      });
      const at = (i: number) => device.supply.store.view(victim.pages.slot(evicted[i])).pcmd;
      damage(at(0), at(1).slice());
      let error: unknown;
      try {
        touch(victim, evicted[0]);
      } catch (thrown) {
        error = thrown;
      }
      const { code, message } = error as { code: string; message: string };
      assert.equal(code, 'EPC_PAGE_DAMAGED');
      assert.match(message, /SGX_MAC_COMPARE_FAIL/);
      assert.match(message, new RegExp(`0x${evicted[0].toString(16)}`));
      assert.equal(
        codeOf(() => victim.faults.check()),
        'EPC_PAGE_DAMAGED',
      );
      assert.equal(
        codeOf(() => touch(victim, evicted[1])),
        'EPC_PAGE_DAMAGED',
      );
      for (let i = 0; i < 40; i++) assert.ok(touch(other, i * PAGE));
      victim.close();
      other.close();
      assert.deepEqual(used(connection), { pages: 0, secs: 0 });
      assert.equal(connection.epc.free + (device.supply.free - connection.epc.free), 64);
    }));

test('a page that cannot go stays, and the others go', () =>
  withFake('normal-64', (connection) => {
    const device = new SgxDevice(connection);
    const file = created(device, 2 ** 20);
    addNumbered(file, 0, 1, 0x57a7); // the stand-in refuses to write this one back
    addNumbered(file, PAGE, 99, 1);
    file.init(new Uint8Array(1808));
    for (let i = 1; i < 100; i++) assert.ok(touch(file, i * PAGE));
    assert.equal(wordOf(connection, file, 0), 0x57a7);
    assert.equal(file.pages.evicted + file.pages.resident, 100);
  }));

test('threads that still use old translations are waited for', () =>
  withFake('track-64', (connection) => {
    const file = running(new SgxDevice(connection), 2 ** 20, 100);
    assert.ok(file.pages.evicted > 0);
  }));

test('absent pages are added on demand, more at a time where they are used in order', () =>
  withFake('normal-256', (connection) => {
    const device = new SgxDevice(connection);
    const file = running(device, 2 ** 21, 4);
    const { counters } = device.supply;
    for (let i = 4; i < 100; i++) assert.ok(touch(file, i * PAGE));
    assert.ok(counters.augmented >= 96 && counters.augmented <= 96 + 64);
    assert.ok(counters.faults <= 6, `${counters.faults} faults`);
    assert.equal(counters.augmented, file.faults.augmented);
    const single = counters.augmented;
    assert.ok(touch(file, 300 * PAGE));
    assert.equal(counters.augmented, single + 1);
    assert.equal(
      file.faults.pageFault(0, 0x8007, file.base),
      false,
      'the EPCM refuses: the enclave’s business',
    );
    assert.equal(file.faults.pageFault(0, 4, file.base + 2 ** 21), false, 'outside');
    assert.equal(file.faults.pageFault(0, 4, file.base - PAGE), false, 'outside');
    assert.equal(file.faults.pageFault(0, 4, file.base), true, 'perhaps another thread’s fault brought it');
    assert.equal(
      file.faults.pageFault(0, 4, file.base),
      true,
      'or the machine has lost it and is asked for it',
    );
    assert.equal(file.faults.pageFault(0, 4, file.base), false, 'but not three times');
  }));

test('a refused entry with all its pages there is tried once more when the monitor still knows the gate', () =>
  withFake('normal-64', (connection) => {
    const file = created(new SgxDevice(connection), 2 ** 20);
    addNumbered(file, 0, 4, 1, 0x100);
    file.init(new Uint8Array(1808));
    // The stand-in says gate 3 of any TCS.
    assert.deepEqual(
      [0, 1].map((tries) => file.faults.entryFault(3, 13, tries)),
      [true, false],
    );
    assert.equal(file.faults.entryFault(2, 13, 0), false);
    assert.equal(file.faults.entryFault(3, 6, 0), false);
    assert.equal(file.faults.entryFault(9, 13, 0), false);
  }));

test('without dynamic memory absent pages are exceptions, and without reclaiming a full EPC is an error', () =>
  withFake('normal-64', (connection) => {
    const device = new SgxDevice(connection, { edmm: false, reclaim: false });
    const file = running(device, 2 ** 21, 4);
    assert.equal(touch(file, 5 * PAGE), false);
    assert.equal(file.pages.has(5 * PAGE), false);
    assert.equal(
      codeOf(() => running(device, 2 ** 20, 100)),
      'SGX_IOCTL',
    );
    assert.equal(device.supply.counters.evicted, 0);
  }));

test('demand and eviction at once keep the books', () =>
  withFake('normal-64', (connection) => {
    const device = new SgxDevice(connection);
    const a = running(device, 2 ** 21, 40, 1000);
    const b = running(device, 2 ** 21, 10, 2000);
    const random = randomFrom(seed + 1);
    for (let i = 0; i < 3000; i++) {
      const file = random(2) === 0 ? a : b;
      assert.ok(touch(file, random(150) * PAGE, random(3)), `step ${i}, seed ${seed}`);
      assert.equal(a.pages.evicted + b.pages.evicted, device.supply.store.used);
      assert.ok(a.pages.resident + b.pages.resident <= 62);
    }
    for (let i = 0; i < 40; i++) {
      assert.ok(touch(a, i * PAGE));
      assert.equal(wordOf(connection, a, i * PAGE), 1000 + i);
    }
    a.close();
    b.close();
    assert.deepEqual(used(connection), { pages: 0, secs: 0 });
    assert.equal(device.supply.free, 64);
  }));

test('without guest RAM for the backing store nothing is lost, and it goes on when there is some', () =>
  withFake('normal-64', (connection) => {
    const device = new SgxDevice(connection);
    const file = created(device, 2 ** 21);
    addNumbered(file, 0, 62 - 1, 1);
    device.staging.pages();
    const hogs: GuestBlock[] = [];
    for (let size = 2 ** 25; size >= 2 ** 16; size /= 2)
      while (codeOf(() => hogs.push(connection.memory.alloc(size))) === 'nothing thrown');
    assert.equal(
      codeOf(() => addNumbered(file, 61 * PAGE, 40, 62)),
      'SGX_IOCTL',
    );
    assert.equal(file.pages.evicted, 0);
    for (const hog of hogs) connection.memory.free(hog);
    addNumbered(file, file.pages.pages * PAGE, 40, file.pages.pages + 1);
    file.init(new Uint8Array(1808));
    const { pages } = file.pages;
    for (let i = 0; i < 2 * pages; i++) {
      assert.ok(touch(file, (i % pages) * PAGE));
      assert.equal(wordOf(connection, file, (i % pages) * PAGE), 1 + (i % pages));
    }
    file.close();
    assert.deepEqual(used(connection), { pages: 0, secs: 0 });
  }));
