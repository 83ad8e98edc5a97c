import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { close, futexWake, pollFds, read, write } from '@nestedsgx/os';
import { RELAY_AT, RELAY_PAGE } from '../src/info-page.js';
import { plainMachine } from '../src/machine.js';
import { streamPair } from '../src/native.js';
import { WINDOW } from '../src/options.js';
import { Relay } from '../src/relay.js';

const RELAY_GPA = WINDOW.gpa + RELAY_AT;
const POLLIN = 1;

function bed() {
  const ram = plainMachine(256 * 2 ** 20);
  const [kick, guestKick] = streamPair();
  const [irq, guestIrq] = streamPair();
  const place = { window: ram.address + WINDOW.gpa, bytes: WINDOW.bytes, page: ram.address + RELAY_GPA };
  const relay = new Relay(place, kick, irq);
  const view = ram.view(RELAY_GPA, 4096);
  const page = new DataView(view.buffer, view.byteOffset, view.length);
  let guestThere = true;
  const endGuest = () => {
    if (guestThere) for (const fd of [guestKick, guestIrq]) close(fd);
    guestThere = false;
  };
  const end = () => {
    relay.close();
    endGuest();
    ram.close();
  };
  return { ram, relay, page, guestKick, guestIrq, endGuest, end };
}

const beds: ReturnType<typeof bed>[] = [];
function openBed() {
  beds.push(bed());
  return beds.at(-1)!;
}
afterEach(() => {
  for (const one of beds.splice(0)) one.end();
});

/** Marks a page as the guest's module does, and kicks if the relay sleeps. */
function mark(b: ReturnType<typeof bed>, index: number): void {
  const word = index >> 6;
  b.page.setBigUint64(RELAY_PAGE.bitmap + word * 8, 1n << BigInt(index & 63), true);
  b.page.setBigUint64(RELAY_PAGE.summary + (word >> 6) * 8, 1n << BigInt(word & 63), true);
  write(b.guestKick, new Uint8Array(1));
}

async function until(what: () => boolean): Promise<void> {
  const deadline = performance.now() + 5000;
  while (!what()) {
    assert.ok(performance.now() < deadline, 'waited for too long');
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

test('whoever sleeps on a marked page is woken, nobody else', async () => {
  const b = openBed();
  const sleeper = `
    const { workerData, parentPort } = require('node:worker_threads');
    import(workerData.os).then((os) => {
      parentPort.postMessage('here');
      parentPort.postMessage(os.futexWait(workerData.address, 0, 4000));
    });`;
  const sleep = (index: number) => {
    const worker = new Worker(sleeper, {
      eval: true,
      workerData: {
        os: import.meta.resolve('@nestedsgx/os'),
        address: b.ram.address + WINDOW.gpa + index * 4096,
      },
    });
    const said: string[] = [];
    worker.on('message', (text) => said.push(text));
    return { said, ended: new Promise((resolve) => worker.once('exit', resolve)) };
  };
  const [first, second] = [sleep(5), sleep(16_383)];
  await until(() => first.said.length + second.said.length === 2);
  await new Promise((resolve) => setTimeout(resolve, 50));
  mark(b, 16_383);
  await second.ended;
  assert.deepEqual(second.said, ['here', 'woken']);
  assert.deepEqual(first.said, ['here']);
  mark(b, 5);
  await first.ended;
  assert.deepEqual(first.said, ['here', 'woken']);
  assert.deepEqual({ kicks: b.relay.counters.kicks, wakes: b.relay.counters.wakes }, { kicks: 2, wakes: 2 });
});

test('an increment of the interrupt word becomes a byte for the guest', async () => {
  const b = openBed();
  await until(() => b.page.getUint32(RELAY_PAGE.asleep, true) === 1);
  b.page.setUint32(RELAY_PAGE.irq, 1, true);
  futexWake(b.ram.address + RELAY_GPA + RELAY_PAGE.irq);
  assert.equal(pollFds([{ fd: b.guestIrq, events: POLLIN }], 3000)[0], POLLIN);
  const bytes = new Uint8Array(16);
  assert.equal(read(b.guestIrq, bytes), 1);
  assert.equal(b.relay.counters.interrupts, 1);
});

test('marks of every page at once, and kicks without a mark, do no harm', async () => {
  const b = openBed();
  for (let at = 0; at < 2048; at += 8) b.page.setBigUint64(at, 0xffff_ffff_ffff_ffffn, true);
  for (let at = 0; at < 32; at += 8)
    b.page.setBigUint64(RELAY_PAGE.summary + at, 0xffff_ffff_ffff_ffffn, true);
  write(b.guestKick, new Uint8Array(1000));
  await until(() => b.relay.counters.wakes === 16_384);
  write(b.guestKick, new Uint8Array(1000));
  await until(() => b.relay.counters.kicks >= 2 && b.page.getUint32(RELAY_PAGE.asleep, true) === 1);
  assert.equal(b.relay.counters.wakes, 16_384);
});

test('a relay that nobody uses takes no processor time, and ends at once', async () => {
  const b = openBed();
  await until(() => b.page.getUint32(RELAY_PAGE.asleep, true) === 1);
  const before = process.cpuUsage();
  await new Promise((resolve) => setTimeout(resolve, 500));
  const { user, system } = process.cpuUsage(before);
  assert.ok(user + system < 50_000, `${user + system} µs in half a second`);
  const began = performance.now();
  b.relay.close();
  assert.ok(performance.now() - began < 500);
  b.relay.close();
});

test('the guest’s end of the sockets ends the threads; closing still works', async () => {
  const b = openBed();
  b.endGuest();
  b.page.setUint32(RELAY_PAGE.irq, 7, true);
  futexWake(b.ram.address + RELAY_GPA + RELAY_PAGE.irq);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(b.relay.counters.kicks, 0);
  b.relay.close();
});
