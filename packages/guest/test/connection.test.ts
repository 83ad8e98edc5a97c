import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mmap, pidfdSignal } from '@nestedsgx/os';
import fc from 'fast-check';
import { GuestConnection, readAttachReply, SGX_CALL, SGX_PROTOCOL, sgxCall } from '../src/index.js';
import { codeOf, startFake, withFake } from './harness.js';

/** Nothing waits for a time limit; how soon it is on an idle machine, 100 ms, a busy one does not tell. */
const SOON_MS = 3000;

const RUNS = Number(process.env.NSGX_FUZZ_RUNS ?? 100);
const SEED = Number(process.env.NSGX_SEED ?? 0xa77ac4);

async function attachCode(mode: string): Promise<string> {
  const fake = startFake(mode);
  try {
    (await GuestConnection.attach(fake.socket, { timeoutMs: 1500 })).close();
    return 'attached';
  } catch (error) {
    return String((error as { code?: unknown }).code);
  } finally {
    fake.stop();
  }
}

test('a guest attaches, maps guest RAM at its base and calls the monitor', () =>
  withFake('normal', async (connection, fake) => {
    assert.equal(connection.ramBase, fake.base);
    const result = sgxCall(connection.vcpu, SGX_CALL.QUERY);
    assert.deepEqual({ ...result }, { rax: 0, rcx: 0x80_0000_0000, rdx: 1024 * 4096, r8: 1024 });
    const second = await connection.addVcpu();
    assert.equal(second.call(SGX_PROTOCOL, SGX_CALL.QUERY).rax, 0);
    assert.equal(connection.vcpu.call(7, 0).rax, 0x8000_0001);
    assert.equal(connection.lost, false);
    for (let i = 0; i < 2000; i++) assert.equal(sgxCall(connection.vcpu, 0x1f1).rax, 0);
  }));

test('BUSY is tried again, and a call that was not served is an error', async () => {
  await withFake('normal', (connection) => assert.equal(sgxCall(connection.vcpu, 0x1f2).rcx, 3));
  await withFake('unserved', (connection) =>
    assert.equal(connection.vcpu.call(SGX_PROTOCOL, 0x100).rax, 0x8000_0006),
  );
});

test('one call at a time: a nested call is refused and the first still completes', () =>
  withFake('normal', (connection) => {
    connection.vcpu.submit(SGX_PROTOCOL, SGX_CALL.QUERY);
    assert.equal(
      codeOf(() => connection.vcpu.call(SGX_PROTOCOL, SGX_CALL.QUERY)),
      'VCPU_BUSY',
    );
    assert.equal(connection.vcpu.finish().rax, 0);
  }));

test('replies that do not follow the protocol are refused', async () => {
  assert.equal(await attachCode('bad-slice'), 'GUEST_PROTOCOL');
  assert.equal(await attachCode('bad-base'), 'GUEST_PROTOCOL');
  assert.equal(await attachCode('big-ram'), 'GUEST_PROTOCOL');
  assert.equal(await attachCode('no-json'), 'GUEST_PROTOCOL');
  assert.equal(await attachCode('no-fds'), 'GUEST_PROTOCOL');
  assert.equal(await attachCode('refuse'), 'GUEST_REFUSED');
  assert.equal(await attachCode('silent'), 'GUEST_TIMEOUT');
});

test('any reply is either read or refused with GUEST_PROTOCOL', () => {
  console.log(`fuzz seed ${SEED}, ${RUNS} runs`);
  const good = {
    ram: { base: 2 ** 44, size: 2 ** 26 },
    doorbell: 4096,
    vcpus: [{ id: 0, ghcb: 65536, caa: 69632 }],
    slice: { gpa: 2 ** 22, length: 2 ** 22 },
    epc: { first: 2 ** 39, count: 5 },
  };
  assert.deepEqual(readAttachReply(good), good);
  const value = fc.oneof(
    fc.integer(),
    fc.double(),
    fc.string(),
    fc.constant(null),
    fc.object(),
    fc.maxSafeInteger(),
  );
  const path = fc.constantFrom(
    'ram.base',
    'ram.size',
    'doorbell',
    'vcpus',
    'slice.gpa',
    'slice.length',
    'epc.first',
    'epc.count',
    'ram',
    'epc',
  );
  fc.assert(
    fc.property(path, value, (where, what) => {
      const reply = structuredClone(good) as unknown as Record<string, Record<string, unknown>>;
      const [outer, inner] = where.split('.');
      if (inner === undefined) (reply as Record<string, unknown>)[outer] = what;
      else reply[outer][inner] = what;
      const code = codeOf(() => readAttachReply(reply));
      assert.ok(code === 'GUEST_PROTOCOL' || code === 'nothing thrown', code);
    }),
    { seed: SEED, numRuns: RUNS },
  );
});

test('an address range in use is named, and the process stays usable', async () => {
  const fake = startFake('normal');
  const taken = mmap({ length: 4096, address: fake.base + 8192, prot: 'r' });
  try {
    await assert.rejects(GuestConnection.attach(fake.socket), { code: 'GUEST_RAM_RANGE_TAKEN' });
  } finally {
    taken.unmap();
    fake.stop();
  }
});

test('nobody at a socket path', () =>
  assert.rejects(GuestConnection.connect('/nonexistent/cvm.sock'), { code: 'CVM_LOST' }));

test('the end of the cvm during a call is noticed soon', () =>
  withFake('die', (connection) => {
    const start = performance.now();
    assert.equal(
      codeOf(() => sgxCall(connection.vcpu, SGX_CALL.QUERY)),
      'CVM_LOST',
    );
    assert.ok(performance.now() - start < SOON_MS, `${performance.now() - start} ms`);
    assert.equal(
      codeOf(() => sgxCall(connection.vcpu, SGX_CALL.QUERY)),
      'CVM_LOST',
    );
    assert.equal(connection.lost, true);
  }));

test('a monitor that is alive but silent is a timeout, and the vCPU is not used again', () =>
  withFake('hang', (connection, fake) => {
    assert.equal(
      codeOf(() => connection.vcpu.call(SGX_PROTOCOL, 0x100, 0, 0, 0, 0, 60)),
      'GUEST_TIMEOUT',
    );
    assert.equal(
      codeOf(() => connection.vcpu.call(SGX_PROTOCOL, 0x100)),
      'CVM_LOST',
    );
    pidfdSignal(fake.pidfd, 9);
  }));
