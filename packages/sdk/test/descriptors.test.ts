/** Descriptors of the host in an enclave, from the option of loading to the system call. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { DESCRIPTOR_CALL } from '@nestedsgx/cpu/host';
import { samplesBuildDirectory } from '@nestedsgx/enclave';
import type { GuestBlock } from '@nestedsgx/guest';
import { close, pipe, write } from '@nestedsgx/os';
import { type AnyInterface, Cvm, type Enclave, EnclaveFault } from '../src/index.js';

const evil = join(samplesBuildDirectory(), 'evil', 'evil');
const home = mkdtempSync(join(tmpdir(), 'nsgx-sdk-'));
let cvm: Cvm;
let memory: GuestBlock;
before(async () => {
  cvm = await Cvm.launch({ stateDir: join(home, 'state') });
  memory = (await cvm.guest()).connection.memory.alloc(4096, { zero: true });
});
after(async () => {
  await cvm?.close();
  rmSync(home, { recursive: true });
});

const load = (options: object = {}, of = cvm) => of.load(evil, options) as Promise<Enclave<AnyInterface>>;

/** Registers for the sample's `jump`: RAX RBX RCX RDX RSI RDI R8 R9 R10. */
function registers(rax: number, rdi = 0, rsi = 0, rdx = 0, r10 = 0): Uint8Array {
  return new Uint8Array(
    new BigUint64Array([rax, 0, 0, rdx, rsi, rdi, 0, 0, r10].map((n) => BigInt.asUintN(64, BigInt(n))))
      .buffer,
  );
}
const call = (e: Enclave<AnyInterface>, ...args: Parameters<typeof registers>) =>
  Number(BigInt.asIntN(64, BigInt(e.ecalls.jump!(BigInt(DESCRIPTOR_CALL), registers(...args)) as number)));

/** Takes the next granted descriptor: its name and number. */
function take(e: Enclave<AnyInterface>): { name: bigint; number: number } {
  const { address, bytes } = memory;
  const view = new DataView(bytes.buffer, bytes.byteOffset, 4096);
  [0, 0, address + 64, 1, address + 128, 24, 0, 0, address + 192, 8].forEach((word, i) => {
    view.setBigUint64(i * 8, BigInt(word), true);
  });
  assert.equal(call(e, 47, 5, address, 0x40), 8);
  return { name: view.getBigUint64(192, true), number: view.getInt32(144, true) };
}

test('an enclave loaded for it reads and writes what its host grants', async () => {
  await using e = await load({ hostDescriptors: true });
  const [from, to] = pipe();
  try {
    e.grantDescriptor(from);
    e.grantDescriptor(to, 77);
    const reader = take(e);
    const writer = take(e);
    assert.deepEqual([reader.name, writer.name], [BigInt(from), 77n]);
    memory.bytes.set([1, 2, 3], 1024);
    assert.equal(call(e, 1, writer.number, memory.address + 1024, 3), 3);
    assert.equal(call(e, 0, reader.number, memory.address + 2048, 16), 3);
    assert.deepEqual(memory.bytes.slice(2048, 2051), Uint8Array.of(1, 2, 3));
    assert.equal(call(e, 0, 3, memory.address, 16), -1);
    assert.equal(call(e, 46, writer.number, memory.address), -1);
    assert.throws(() => e.grantDescriptor(9999), { code: 'EBADF' });
  } finally {
    close(from);
    close(to);
  }
});

test('a thread that blocks on a descriptor is interrupted, woken, and ended with its enclave', async () => {
  const open = readdirSync('/proc/self/fd').length;
  const e = await load({ hostDescriptors: true });
  const [from, to] = pipe();
  try {
    e.grantDescriptor(from);
    const { number } = take(e);
    const jump = (...args: Parameters<typeof registers>) =>
      e.async.jump!(BigInt(DESCRIPTOR_CALL), registers(...args)) as Promise<bigint>;
    const woken = jump(0, number, memory.address + 1024, 8);
    await sleep(20);
    write(to, Uint8Array.of(5));
    assert.equal(Number(await woken), 1);
    e.interruptEvery(5);
    assert.equal(Number(BigInt.asIntN(64, await jump(0, number, memory.address + 1024, 8))), -4, 'EINTR');
    e.interruptEvery(0);
    const ended = jump(0, number, memory.address + 1024, 8);
    ended.catch(() => undefined);
    await sleep(20);
    const began = performance.now();
    await e.close();
    assert.ok(performance.now() - began < 1000);
    await Promise.allSettled([ended]);
    assert.throws(() => e.grantDescriptor(from), { code: 'ENCLAVE_CLOSED' });
    close(from);
    const one = Uint8Array.of(1);
    for (let i = 0; i < 50; i++) {
      await sleep(2);
      try {
        write(to, one);
      } catch (error) {
        assert.equal((error as { code: string }).code, 'EPIPE', 'nobody has the other end any more');
        break;
      }
      assert.ok(i < 49);
    }
  } finally {
    close(to);
  }
  assert.equal(readdirSync('/proc/self/fd').length, open);
});

test('without the option there is nothing to grant, and the call is an exception', async () => {
  await using e = await load();
  assert.throws(() => e.grantDescriptor(0), { code: 'HOST_DESCRIPTORS_OFF' });
  assert.throws(() => call(e, 0, 3, memory.address, 1), EnclaveFault);
});

test('an enclave that takes nothing holds nobody up', async () => {
  await using e = await load({ hostDescriptors: true });
  assert.throws(
    () => {
      for (let i = 0; i < 5000; i++) e.grantDescriptor(1);
    },
    { code: 'HOST_DESCRIPTORS_FULL' },
  );
});

test('a machine can forbid it', async () => {
  await using strict = await Cvm.launch({ stateDir: null, hostDescriptors: false });
  await assert.rejects(load({ hostDescriptors: true }, strict), { code: 'HOST_DESCRIPTORS_REFUSED' });
  await using e = await load({}, strict);
  assert.equal(e.status().state, 'running');
});

test('options that are no numbers of pages are refused before anything is built', async () => {
  for (const growPages of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, '4' as never])
    await assert.rejects(load({ growPages }), { code: 'LAUNCH_OPTION_INVALID' });
});
