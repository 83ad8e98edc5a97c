import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PT_TCS, PT_TRIM } from '@nestedsgx/arch';
import { SgxDevice, type SgxEnclaveFile, SgxIoctlError, sgxCall } from '../src/index.js';
import { addNumbered, created, running } from './enclave-of.js';
import { withFake } from './harness.js';

const PAGE = 4096;

function errno(body: () => unknown): SgxIoctlError {
  try {
    body();
  } catch (error) {
    assert.ok(error instanceof SgxIoctlError, String(error));
    return error;
  }
  throw new assert.AssertionError({ message: 'nothing thrown' });
}

const flagsOf = (file: SgxEnclaveFile, offset: number) =>
  sgxCall(file.device.connection.vcpu, 0x1f0, file.pages.frame(offset)).r8;

test('permissions are restricted page by page, result and count are told', () =>
  withFake('normal', (connection) => {
    const file = running(new SgxDevice(connection), 2 ** 20, 8);
    const args = { offset: PAGE, length: 3 * PAGE, permissions: 1, result: 0, count: 0 };
    assert.equal(file.restrictPermissions(args), 3 * PAGE);
    assert.deepEqual([args.result, args.count], [0, 3 * PAGE]);
    assert.deepEqual(
      [0, 1, 2, 3, 4].map((i) => flagsOf(file, i * PAGE) & 7),
      [3, 1, 1, 1, 3],
    );
  }));

test('restrict_permissions reports errno as the Linux driver does', () =>
  withFake('normal', (connection) => {
    const device = new SgxDevice(connection);
    const fresh = created(device, 2 ** 20);
    const good = { offset: 0, length: PAGE, permissions: 1 };
    assert.equal(errno(() => fresh.restrictPermissions(good)).errno, 'EINVAL');
    const file = created(device, 2 ** 20);
    addNumbered(file, 0, 4, 1);
    addNumbered(file, 4 * PAGE, 1, 0xbad); // the stand-in answers SGX_PAGE_NOT_MODIFIABLE
    file.init(new Uint8Array(1808));
    const bad = (change: object) => errno(() => file.restrictPermissions({ ...good, ...change })).errno;
    assert.equal(bad({ offset: 5 }), 'EINVAL');
    assert.equal(bad({ length: 0 }), 'EINVAL');
    assert.equal(bad({ length: 2 ** 20 + PAGE }), 'EINVAL');
    assert.equal(bad({ permissions: 8 }), 'EINVAL');
    assert.equal(bad({ permissions: 2 }), 'EINVAL');
    assert.equal(bad({ result: 1 }), 'EINVAL');
    assert.equal(bad({ count: 1 }), 'EINVAL');
    assert.equal(bad({ offset: 100 * PAGE }), 'EFAULT');
    const args = { offset: 2 * PAGE, length: 4 * PAGE, permissions: 1, result: 0, count: 0 };
    const refused = errno(() => file.restrictPermissions(args));
    assert.deepEqual([refused.errno, refused.sgxCode, refused.count], ['EFAULT', 20, 2 * PAGE]);
    assert.deepEqual([args.result, args.count], [20, 2 * PAGE]);
    file.modifyTypes({ offset: 0, length: PAGE, pageType: PT_TRIM });
    assert.equal(bad({}), 'EINVAL');
    const off = running(new SgxDevice(connection, { edmm: false }), 2 ** 20, 1);
    assert.equal(errno(() => off.restrictPermissions(good)).errno, 'ENODEV');
  }));

test('types change to TCS and TRIM; trimmed and accepted pages can be removed', () =>
  withFake('normal', (connection) => {
    const device = new SgxDevice(connection);
    const file = created(device, 2 ** 20);
    addNumbered(file, 0, 4, 1);
    addNumbered(file, 4 * PAGE, 1, 50, 0x201);
    file.init(new Uint8Array(1808));
    const good = { offset: 0, length: PAGE, pageType: PT_TRIM };
    const bad = (change: object) => errno(() => file.modifyTypes({ ...good, ...change })).errno;
    assert.equal(bad({ pageType: 0x100 }), 'EINVAL');
    assert.equal(bad({ pageType: 2 }), 'EINVAL');
    assert.equal(bad({ offset: 4 * PAGE, pageType: PT_TCS }), 'EPERM');
    assert.equal(bad({ offset: 9 * PAGE }), 'EFAULT');
    assert.equal(bad({ count: 2 }), 'EINVAL');
    assert.equal(file.modifyTypes({ offset: 0, length: PAGE, pageType: PT_TCS }), PAGE);
    assert.equal(bad({ pageType: PT_TCS }), 'EINVAL');
    assert.equal(file.threadSlot(0), 3);
    assert.equal(errno(() => file.removePages({ offset: 0, length: PAGE })).errno, 'EPERM');
    assert.equal(file.modifyTypes({ offset: 0, length: 3 * PAGE, pageType: PT_TRIM }), 3 * PAGE);
    const { free } = connection.epc;
    const args = { offset: 0, length: 4 * PAGE, count: 0 };
    const stopped = errno(() => file.removePages(args));
    assert.deepEqual([stopped.errno, stopped.count, args.count], ['EPERM', 3 * PAGE, 3 * PAGE]);
    assert.equal(connection.epc.free, free + 3);
    assert.equal(file.pages.has(0), false);
    assert.equal(errno(() => file.removePages({ offset: 0, length: PAGE })).errno, 'EFAULT');
    assert.equal(errno(() => file.removePages({ offset: 1, length: PAGE })).errno, 'EINVAL');
    file.close();
    assert.equal(device.supply.free, 1024);
  }));

test('evicted pages come back for these operations', () =>
  withFake('normal-64', (connection) => {
    const file = running(new SgxDevice(connection), 2 ** 20, 120);
    assert.ok(file.pages.slot(0) >= 0);
    assert.equal(file.restrictPermissions({ offset: 0, length: 120 * PAGE, permissions: 1 }), 120 * PAGE);
    assert.equal(file.modifyTypes({ offset: 0, length: 120 * PAGE, pageType: PT_TRIM }), 120 * PAGE);
    assert.equal(file.removePages({ offset: 0, length: 120 * PAGE }), 120 * PAGE);
    assert.equal(file.pages.pages, 0);
    assert.equal(file.device.supply.store.used, 0);
  }));

test('absent pages of a range come before they are touched, as far as EPC is free', () =>
  withFake('normal', (connection) => {
    const device = new SgxDevice(connection);
    const file = running(device, 4 * 2 ** 20, 8);
    assert.equal(file.populate(4 * PAGE, 8 * PAGE), 4, 'pages that are there stay');
    assert.deepEqual(
      [7, 8, 11, 12].map((i) => file.pages.has(i * PAGE)),
      [true, true, true, false],
    );
    assert.equal(file.populate(0, 12 * PAGE), 0);
    const { free } = device.supply;
    const added = file.populate(0, file.size);
    assert.ok(added <= Math.max(0, free - 64) && device.supply.free === free - added);
    assert.equal(file.faults.augmented, 4 + added);
    for (const [offset, length] of [
      [5, PAGE],
      [0, 0],
      [-PAGE, PAGE],
      [file.size, PAGE],
      [0, file.size + PAGE],
    ])
      assert.equal(errno(() => file.populate(offset, length)).errno, 'EINVAL');
    assert.equal(errno(() => created(device, 2 ** 20).populate(0, PAGE)).errno, 'EINVAL');
    const off = running(new SgxDevice(connection, { edmm: false }), 2 ** 20, 1);
    assert.equal(errno(() => off.populate(0, PAGE)).errno, 'ENODEV');
  }));

test('unused pages are taken away after EINIT, and their frames are free again', () =>
  withFake('normal', (connection) => {
    const device = new SgxDevice(connection);
    const file = running(device, 2 ** 20, 8);
    const { free } = device.supply;
    assert.equal(file.takeAway(2 * PAGE, 4 * PAGE), 4 * PAGE);
    assert.equal(device.supply.free, free + 4);
    assert.deepEqual(
      [1, 2, 5, 6].map((i) => file.pages.has(i * PAGE)),
      [true, false, false, true],
    );
    assert.equal(file.takeAway(2 * PAGE, 4 * PAGE), 0);
    assert.equal(file.takeAway(7 * PAGE, 4 * PAGE), PAGE, 'absent pages are passed over');
    assert.equal(errno(() => file.takeAway(0, file.size + PAGE)).errno, 'EINVAL');
    assert.equal(errno(() => created(device, 2 ** 20).takeAway(0, PAGE)).errno, 'EINVAL');
  }));
