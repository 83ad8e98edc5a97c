import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ATTRIBUTES_DEBUG, ATTRIBUTES_MODE64BIT, SECS, secinfoBytes } from '@nestedsgx/arch';
import {
  type GuestConnection,
  SGX_PAGE_MEASURE,
  SgxDevice,
  type SgxEnclaveFile,
  SgxIoctlError,
  sgxCall,
} from '../src/index.js';
import { withFake } from './harness.js';

const PAGE = 4096;
const RW = secinfoBytes(0x203);

function secs(base: number, size: number, flags = ATTRIBUTES_MODE64BIT): Uint8Array {
  return SECS.encode({
    SIZE: BigInt(size),
    BASEADDR: BigInt(base),
    SSAFRAMESIZE: 1,
    ATTRIBUTES: { FLAGS: flags, XFRM: 3n },
  });
}

function created(device: SgxDevice, size: number, flags?: bigint): SgxEnclaveFile {
  const file = device.open();
  file.create(secs(file.reserve(size), size, flags));
  return file;
}

function errno(body: () => unknown): SgxIoctlError {
  try {
    body();
  } catch (error) {
    assert.ok(error instanceof SgxIoctlError, String(error));
    return error;
  }
  throw new assert.AssertionError({ message: 'nothing thrown' });
}

const numbered = (pages: number): Uint8Array => {
  const bytes = new Uint8Array(pages * PAGE);
  for (let i = 0; i < pages; i++) new DataView(bytes.buffer).setUint32(i * PAGE, 1000 + i, true);
  return bytes;
};

const sigstruct = (result = 0, vendor = 0): Uint8Array => {
  const bytes = new Uint8Array(1808);
  const view = new DataView(bytes.buffer);
  view.setUint32(16, vendor, true);
  view.setUint32(40, result, true);
  return bytes;
};

const used = (connection: GuestConnection) => {
  const { rcx, rdx } = sgxCall(connection.vcpu, 0x1f1);
  return { pages: rcx, secs: rdx };
};

test('create, add, init and close give every page to the monitor and take it back', () =>
  withFake('normal', (connection) => {
    const device = new SgxDevice(connection);
    const blocks = connection.memory.blocks;
    const file = created(device, 2 ** 22);
    const data = numbered(700);
    assert.equal(
      file.addPages({
        src: data,
        offset: 4 * PAGE,
        length: data.length,
        secinfo: RW,
        flags: SGX_PAGE_MEASURE,
      }),
      data.length,
    );
    assert.equal(file.pages.pages, 700);
    for (const i of [0, 1, 511, 512, 699]) {
      const extent = file.pages.find((4 + i) * PAGE);
      assert.ok(extent);
      const frame = extent.gpa + (4 + i) * PAGE - extent.offset;
      const { rax, rcx, rdx, r8 } = sgxCall(connection.vcpu, 0x1f0, frame);
      assert.deepEqual([rax, rcx, rdx, r8], [0, 1000 + i, file.base + (4 + i) * PAGE, 0x203]);
    }
    assert.equal(file.pages.find(3 * PAGE), undefined);
    file.init(sigstruct());
    assert.equal(file.initialised, true);
    assert.deepEqual(file.status(), { state: 'running', reason: 42 });
    file.close();
    file.close();
    assert.deepEqual(used(connection), { pages: 0, secs: 0 });
    assert.equal(connection.epc.free, 1024);
    device.close();
    assert.ok(connection.memory.blocks < blocks + 1);
    assert.equal(connection.memory.used, 0);
  }));

test('a long range that the monitor interrupts is continued', () =>
  withFake('incomplete', (connection) => {
    const file = created(new SgxDevice(connection), 2 ** 20);
    const data = numbered(100);
    assert.equal(
      file.addPages({ src: data, offset: 0, length: data.length, secinfo: RW, flags: 0 }),
      data.length,
    );
    assert.deepEqual(used(connection), { pages: 100, secs: 1 });
    file.close(); // this stand-in has no REMOVE_RANGE either
    assert.deepEqual(used(connection), { pages: 0, secs: 0 });
  }));

test('pages of guest RAM are added without copying', () =>
  withFake('normal', (connection) => {
    const file = created(new SgxDevice(connection), 2 ** 20);
    const block = connection.memory.alloc(8 * PAGE, { alignment: PAGE });
    block.bytes.set(numbered(8));
    file.addPages({ src: block, offset: 0, length: 8 * PAGE, secinfo: RW, flags: 0 });
    assert.equal(sgxCall(connection.vcpu, 0x1f0, file.pages.extents[0].gpa + 7 * PAGE).rcx, 1007);
  }));

test('add_pages reports errno as the Linux driver does', () =>
  withFake('normal', (connection) => {
    const device = new SgxDevice(connection);
    const src = numbered(4);
    const good = { src, offset: 0, length: PAGE, secinfo: RW, flags: 0 };
    const fresh = device.open();
    assert.equal(errno(() => fresh.addPages(good)).errno, 'EINVAL');
    const file = created(device, 2 ** 16);
    const bad = (change: object) => errno(() => file.addPages({ ...good, ...change })).errno;
    assert.equal(bad({ offset: 1 }), 'EINVAL');
    assert.equal(bad({ offset: -PAGE }), 'EINVAL');
    assert.equal(bad({ offset: 2 ** 16 }), 'EINVAL');
    assert.equal(bad({ length: 0 }), 'EINVAL');
    assert.equal(bad({ length: 100 }), 'EINVAL');
    assert.equal(bad({ offset: 2 ** 16 - PAGE, length: 2 * PAGE }), 'EINVAL');
    assert.equal(bad({ length: 5 * PAGE }), 'EFAULT');
    assert.equal(bad({ flags: 2 }), 'EINVAL');
    assert.equal(bad({ secinfo: secinfoBytes(0x303) }), 'EINVAL');
    assert.equal(bad({ secinfo: secinfoBytes(0x202) }), 'EINVAL');
    assert.equal(bad({ secinfo: secinfoBytes(0x101) }), 'EINVAL');
    assert.equal(bad({ secinfo: secinfoBytes(0x20b) }), 'EINVAL');
    assert.equal(bad({ secinfo: new Uint8Array(64).fill(1, 40) }), 'EINVAL');
    assert.equal(bad({ secinfo: new Uint8Array(63) }), 'EFAULT');
    file.addPages({ ...good, offset: 2 * PAGE });
    const busy = errno(() => file.addPages({ ...good, length: 4 * PAGE }));
    assert.deepEqual([busy.errno, busy.errnoNumber, busy.count], ['EBUSY', 16, 2 * PAGE]);
    assert.deepEqual(used(connection), { pages: 3, secs: 1 });
    file.init(sigstruct());
    assert.equal(bad({ offset: 4 * PAGE }), 'EINVAL');
  }));

test('a page that the monitor refuses is EIO, with the pages before it counted and its frames freed', () =>
  withFake('normal', (connection) => {
    const file = created(new SgxDevice(connection), 2 ** 20);
    const src = numbered(10);
    new DataView(src.buffer).setUint32(6 * PAGE, 0xdead, true);
    const error = errno(() => file.addPages({ src, offset: 0, length: src.length, secinfo: RW, flags: 0 }));
    assert.deepEqual([error.errno, error.sgxCode, error.count], ['EIO', 6, 6 * PAGE]);
    assert.equal(connection.epc.free, 1024 - 1 - 6);
    file.close();
    assert.equal(connection.epc.free, 1024);
  }));

test('an EPC that runs out is ENOMEM', () =>
  withFake('normal', (connection) => {
    const file = created(new SgxDevice(connection, { reclaim: false }), 2 ** 23);
    const src = new Uint8Array(1100 * PAGE);
    const error = errno(() => file.addPages({ src, offset: 0, length: src.length, secinfo: RW, flags: 0 }));
    assert.deepEqual([error.errno, error.count], ['ENOMEM', 1023 * PAGE]);
  }));

test('create and init map refusals to errno', () =>
  withFake('normal', (connection) => {
    const device = new SgxDevice(connection);
    const file = device.open();
    assert.equal(errno(() => file.create(new Uint8Array(100))).errno, 'EINVAL');
    const refused = errno(() => file.create(secs(file.reserve(2 ** 16), 3 * PAGE)));
    assert.deepEqual([refused.errno, refused.fault?.vector, refused.fault?.check], ['EIO', 13, 7]);
    assert.equal(connection.epc.free, 1024);
    file.create(secs(file.reserve(2 ** 16), 2 ** 16, ATTRIBUTES_MODE64BIT | ATTRIBUTES_DEBUG));
    assert.equal(errno(() => file.create(secs(file.base, 2 ** 16))).errno, 'EINVAL');
    assert.equal(errno(() => file.init(new Uint8Array(1807))).errno, 'EINVAL');
    assert.equal(errno(() => file.init(sigstruct(0, 0x1234))).errno, 'EINVAL');
    const measurement = errno(() => file.init(sigstruct(4)));
    assert.deepEqual([measurement.errno, measurement.errnoNumber, measurement.sgxCode], ['EPERM', 1, 4]);
    assert.match(measurement.message, /SGX_INVALID_MEASUREMENT/);
    const token = new Uint8Array(304);
    token[0] = 77;
    assert.deepEqual([errno(() => file.init(sigstruct(), token)).errno], ['EIO']);
    file.init(sigstruct());
    assert.equal(errno(() => file.init(sigstruct())).errno, 'EINVAL');
  }));

test('PROVISIONKEY needs provision', () =>
  withFake('normal', (connection) => {
    const file = created(new SgxDevice(connection), 2 ** 16, ATTRIBUTES_MODE64BIT | 0x10n);
    assert.equal(errno(() => file.init(sigstruct())).errno, 'EACCES');
    file.provision();
    file.init(sigstruct());
    assert.equal(errno(() => file.provision()).errno, 'EINVAL');
  }));
