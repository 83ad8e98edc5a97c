/** Pages that the driver adds while the thread that will want them goes on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SgxDevice, type SgxEnclaveFile, sgxCall } from '../src/index.js';
import { running } from './enclave-of.js';
import { withFake } from './harness.js';

const PAGE = 4096;
const MIB = 2 ** 20;
const WRITE_ABSENT = 6;

/** An enclave of 8 pages that is known to grow, and a fault of it. */
function growing(device: SgxDevice, size = 4 * MIB) {
  const file = running(device, size, 8);
  file.faults.least = 16;
  const fault = (page: number, gate = 0) =>
    file.faults.pageFault(gate, WRITE_ABSENT, file.base + page * PAGE);
  return { file, fault };
}

/** What the machine holds for a page; the call collects what was begun before. */
const held = (file: SgxEnclaveFile, page: number) =>
  sgxCall(file.device.connection.vcpu, 0x1f0, file.pages.frame(page * PAGE)).rdx - file.base;

test('a scan gets pages ahead, as many as the enclave has by faults at most', () =>
  withFake('normal-20000', (connection) => {
    const { file, fault } = growing(new SgxDevice(connection));
    assert.equal(fault(100), true);
    assert.equal(file.pages.resident, 8 + 16, 'one fault is no scan');
    assert.equal(fault(116), true);
    assert.equal(file.pages.resident, 8 + 32 + 32);
    for (const page of [100, 131, 132, 163]) assert.equal(held(file, page), page * PAGE);
    assert.equal(file.faults.augmented, 64);
    assert.equal(file.pages.has(164 * PAGE), false);
    assert.equal(fault(164), true, 'the scan goes on behind them');
    assert.equal(file.pages.resident, 8 + 64 + 16 + 80);
    assert.equal(held(file, 259), 259 * PAGE);
    assert.equal(fault(700), true);
    assert.equal(file.pages.resident, 8 + 160 + 16, 'no scan any more');
  }));

test('pages ahead end where a page is, where the enclave ends, and where frames get scarce', () =>
  withFake('normal-3000', (connection) => {
    const device = new SgxDevice(connection);
    const { file, fault } = growing(device);
    fault(140);
    fault(100);
    fault(116);
    assert.equal(file.pages.resident, 8 + 16 + 40, 'the page at 140 is there');
    const small = growing(device, 256 * PAGE);
    small.fault(216);
    small.fault(232);
    assert.equal(small.file.pages.resident, 8 + 40, 'the enclave ends');
    const tight = growing(new SgxDevice(connection));
    tight.fault(100);
    tight.fault(116);
    tight.fault(164);
    tight.fault(260);
    assert.ok(tight.file.pages.resident < 3000 / 8, `${tight.file.pages.resident} pages`);
  }));

test('what the machine did not give is absent again, and comes when it is used', () =>
  withFake('short-20000', (connection) => {
    const { file, fault } = growing(new SgxDevice(connection));
    const free = () => file.device.supply.free;
    const before = free();
    fault(100);
    fault(116);
    file.device.supply.settle();
    assert.equal(file.pages.resident, 8 + 32 + 5);
    assert.equal(free(), before - 37);
    assert.deepEqual([file.pages.has(136 * PAGE), file.pages.has(137 * PAGE)], [true, false]);
    assert.equal(fault(137), true);
    assert.equal(held(file, 137), 137 * PAGE);
  }));

test('removal and closing meet pages that are still being added', () =>
  withFake('normal-20000', (connection) => {
    const device = new SgxDevice(connection);
    const before = device.supply.free;
    const { file, fault } = growing(device);
    fault(100);
    fault(116);
    file.modifyTypes({ offset: 132 * PAGE, length: 32 * PAGE, pageType: 4 });
    assert.equal(file.removePages({ offset: 132 * PAGE, length: 32 * PAGE }), 32 * PAGE);
    fault(132);
    fault(148);
    file.close();
    assert.equal(device.supply.free, before);
    assert.equal(sgxCall(connection.vcpu, 0x1f1).rcx, 0, 'the machine holds no page');
  }));

test('a machine that ends meanwhile is lost to the next call, and the driver does not wait for it', () =>
  withFake('normal-20000', (connection, fake) => {
    const { file, fault } = growing(new SgxDevice(connection));
    fault(100);
    fault(116);
    file.device.supply.settle();
    fault(164);
    process.kill(fake.pid, 'SIGKILL');
    file.device.supply.settle();
    assert.throws(() => fault(700), { code: 'CVM_LOST' });
  }));
