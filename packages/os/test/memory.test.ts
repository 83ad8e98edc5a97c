import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as os from '../src/index.js';
import { code, finish, openDescriptors, startNode } from './support.js';

test('a sealed memory file keeps its size', () => {
  const fd = os.memfdCreate('sealed', { size: 8192, seal: true });
  assert.equal(os.fstatSize(fd), 8192);
  assert.equal(os.seals(fd) & 7, os.F_SEAL_SEAL | os.F_SEAL_SHRINK | os.F_SEAL_GROW);
  assert.throws(() => os.ftruncate(fd, 4096), code('EPERM'));
  assert.throws(() => os.ftruncate(fd, 16384), code('EPERM'));
  assert.throws(() => os.sealMemfd(fd, os.F_SEAL_WRITE), code('EPERM'));
  assert.throws(() => os.pwrite(fd, new Uint8Array(8), 8192), code('EPERM'));
  assert.ok(os.isCloseOnExec(fd));
  os.close(fd);
});

test('an error names the call, the number and a cure', () => {
  const fd = os.memfdCreate('sealed', { size: 4096, seal: true });
  assert.throws(
    () => os.ftruncate(fd, 0),
    (e: unknown) =>
      e instanceof os.OsError && e.errno === 1 && e.syscall === 'ftruncate' && /sealed/.test(e.advice ?? ''),
  );
  os.close(fd);
});

test('closed descriptors and bad numbers are refused', () => {
  const fd = os.memfdCreate('gone', { size: 4096 });
  os.close(fd);
  const bytes = new Uint8Array(16);
  for (const action of [
    () => os.close(fd),
    () => os.pread(fd, bytes, 0),
    () => os.pwrite(fd, bytes, 0),
    () => os.punchHole(fd, 0, 4096),
    () => os.mmap({ fd, length: 4096, prot: 'r' }),
    () => os.seals(fd),
    () => os.dup(fd),
    () => os.fstatSize(fd),
  ]) {
    assert.throws(action, code('EBADF'));
  }
  for (const action of [
    () => os.ftruncate(0, -1),
    () => os.pread(0, bytes, Number.NaN),
    () => os.mmap({ length: 0, prot: 'rw' }),
    () => os.mmap({ length: 4096, prot: 'q' }),
    () => os.memfdCreate('x', { size: 1.5 }),
    () => os.close(-1),
  ]) {
    assert.throws(action, code('ARGUMENT_INVALID'));
  }
});

test('pread, pwrite and mappings see the same bytes; a punched hole reads zero and gives memory back', () => {
  const fd = os.memfdCreate('data', { size: 1 << 20, seal: true });
  const map = os.mmap({ fd, length: 1 << 20, prot: 'rw' });
  os.pwrite(fd, Uint8Array.of(1, 2, 3, 4), 4096);
  assert.deepEqual([...map.bytes.subarray(4096, 4100)], [1, 2, 3, 4]);
  map.bytes[4097] = 9;
  const back = new Uint8Array(4);
  assert.equal(os.pread(fd, back, 4096), 4);
  assert.deepEqual([...back], [1, 9, 3, 4]);
  assert.equal(os.pread(fd, back, (1 << 20) - 2), 2);
  assert.equal(os.fstatAllocated(fd), 4096);
  os.punchHole(fd, 4096, 4096);
  assert.equal(map.bytes[4097], 0);
  os.punchHole(fd, 0, 1 << 20);
  assert.equal(os.fstatAllocated(fd), 0);
  os.fallocate(fd, 0, 65536);
  assert.equal(os.fstatAllocated(fd), 65536);
  map.unmap();
  map.unmap();
  assert.throws(() => map.bytes, code('MAPPING_CLOSED'));
  assert.throws(() => map.view(0, 1), code('MAPPING_CLOSED'));
  os.close(fd);
});

test('a mapping at a fixed address does not replace another, and Atomics work on it', () => {
  const fd = os.memfdCreate('fixed', { size: 8192 });
  const address = 0x2f00_0000_0000;
  const map = os.mmap({ fd, length: 8192, prot: 'rw', address });
  assert.equal(map.address, address);
  assert.throws(() => os.mmap({ fd, length: 4096, prot: 'r', address: address + 4096 }), code('EEXIST'));
  const twin = os.mmap({ fd, length: 4096, prot: 'rw' });
  const a = new Int32Array(map.bytes.buffer);
  const b = new Int32Array(twin.view(0, 4096).buffer);
  Atomics.add(a, 0, 7);
  assert.equal(Atomics.load(b, 0), 7);
  assert.equal(os.addressOf(map.view(64, 8)), address + 64);
  assert.throws(() => map.view(8000, 193), code('ARGUMENT_INVALID'));
  twin.unmap();
  map.unmap();
  os.close(fd);
});

test('a write seal is refused while a writable mapping exists', () => {
  const fd = os.memfdCreate('busy', { size: 4096 });
  const map = os.mmap({ fd, length: 4096, prot: 'rw' });
  assert.throws(() => os.sealMemfd(fd, os.F_SEAL_WRITE), code('EBUSY'));
  map.unmap();
  os.sealMemfd(fd, os.F_SEAL_WRITE);
  assert.throws(() => os.pwrite(fd, new Uint8Array(1), 0), code('EPERM'));
  os.close(fd);
});

test('memory for keys and wiping', () => {
  const { mapping, kind } = os.secretMemory(4096);
  assert.ok(['secret', 'locked', 'plain'].includes(kind));
  mapping.bytes.fill(0x5a);
  os.wipe(mapping.bytes);
  assert.ok(mapping.bytes.every((b) => b === 0));
  mapping.unmap();
  os.wipe(new Uint8Array(0));
});

test('a guarded copy survives a file that shrinks and addresses that are not mapped', () => {
  const fd = os.memfdCreate('shrinks', { size: 8192 });
  const map = os.mmap({ fd, length: 8192, prot: 'rw' });
  map.bytes.fill(3);
  const into = new Uint8Array(8192);
  assert.equal(os.guardedCopy(into, map.address, 8192), true);
  assert.equal(into[8191], 3);
  os.ftruncate(fd, 4096);
  into.fill(0);
  assert.equal(os.guardedCopy(into, map.address, 8192), false);
  assert.equal(into[4095], 3);
  assert.equal(into[4096], 0);
  assert.equal(os.guardedCopy(map.address + 4096, Uint8Array.of(1), 1), false);
  assert.equal(os.guardedCopy(map.address, Uint8Array.of(8, 9), 2), true);
  assert.equal(map.bytes[1], 9);
  assert.equal(os.guardedCopy(map.address + 16, map.address, 2), true);
  assert.equal(map.bytes[17], 9);
  assert.equal(os.guardedCopy(into, 0x1000, 1), false);
  assert.equal(os.guardedCopy(0x1000, 0x2000, 0), true);
  assert.throws(() => os.guardedCopy(new Uint8Array(2), map.address, 3), code('ARGUMENT_INVALID'));
  map.unmap();
  os.close(fd);
});

test('faults outside a guarded copy end as they did before', () => {
  const install = 'os.guardedCopy(new Uint8Array(1), 0x1000, 1);';
  const dies = startNode(`${install} os.setRlimit('CORE', 0, 0); os.viewOf(0x2000, 8)[0];`);
  assert.equal(finish(dies).signal, 11);
  // (module (memory 1) (func (export "f") (result i32) i32.const -4 i32.load))
  const wasm = '0061736d010000000105016000017f030201000503010001070501016600000a09010700417c2802000b';
  const traps = startNode(
    `${install}
     const { exports } = new WebAssembly.Instance(new WebAssembly.Module(Buffer.from('${wasm}', 'hex')));
     try { exports.f(); } catch (e) { process.exit(e instanceof WebAssembly.RuntimeError ? 5 : 6); }`,
  );
  assert.equal(finish(traps).code, 5);
});

test('a memory file that is not a program can still be mapped executable', () => {
  const fd = os.memfdCreate('code', { size: 4096, seal: true });
  os.mmap({ fd, length: 4096, prot: 'rx' }).unmap();
  assert.throws(() => os.spawn({ executable: { fd }, argv: ['x'], env: [] }), code('EACCES'));
  os.close(fd);
});

test('a thousand memory files and mappings leave no descriptor behind', () => {
  const before = openDescriptors();
  for (let i = 0; i < 1000; i++) {
    const fd = os.memfdCreate('loop', { size: 4096, seal: true });
    os.mmap({ fd, length: 4096, prot: 'rw' }).unmap();
    os.close(fd);
    assert.throws(() => os.memfdCreate('x'.repeat(300)), code('EINVAL'));
  }
  assert.equal(openDescriptors(), before);
});
