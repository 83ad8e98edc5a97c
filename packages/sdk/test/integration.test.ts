/** The whole path: a private confidential VM, the sample enclaves, calls of every kind, faults, loss, clean-up. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { samplesBuildDirectory } from '@nestedsgx/enclave';
import { type AnyInterface, Cvm, type Enclave, EnclaveFault } from '../src/index.js';

const sample = (name: string) => join(samplesBuildDirectory(), name, name);
const ocalls = { host_name: () => 'Wörld', host_nothing: () => undefined };
const home = mkdtempSync(join(tmpdir(), 'nsgx-sdk-'));
let cvm: Cvm;

before(async () => {
  cvm = await Cvm.launch({ stateDir: join(home, 'state') });
});
after(async () => {
  await cvm?.close();
  rmSync(home, { recursive: true });
});

const load = (options: object = {}, of: Cvm = cvm, name = 'calc') =>
  of.load(sample(name), { ocalls, ...options }) as Promise<Enclave<AnyInterface>>;

/** Processes whose parent is `pid`. */
function children(pid: number): number {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).length;
}

test('arithmetic, text, OCALLs, bytes and numbers cross, both ways of calling', async () => {
  await using e = await load();
  assert.equal(e.ecalls.add(2, 3), 5);
  assert.equal(await e.async.add(-2, 1), -1);
  assert.equal(e.ecalls.concat('ä', '€𝄞'), 'ä€𝄞');
  assert.match(e.ecalls.greet(), /Wörld/);
  assert.match(await e.async.greet(), /Wörld/);
  assert.equal(e.ecalls.mean(1, 2), 1.5);
  const data = Uint8Array.from({ length: 20_000 }, (_, i) => i & 0xff);
  assert.deepEqual(e.ecalls.echo(data), data);
  assert.deepEqual(e.ecalls.unseal(e.ecalls.seal(data.subarray(0, 100))), data.slice(0, 100));
  assert.throws(() => e.ecalls.add(1), { code: 'MESSAGE_INVALID' });
  assert.throws(() => e.ecall(9999), { code: 'ENCLAVE_STATUS', statusName: 'UNKNOWN_CALL' });
  assert.throws(() => e.ecall(-1), { code: 'ECALL_UNKNOWN' });
  assert.throws(() => e.ecall(1, new Uint8Array(3)), { statusName: 'INVALID_REQUEST' });
  assert.equal(e.ecalls.add(2, 3), 5);
  assert.equal(e.status().state, 'running');
});

test('responses larger than the buffer are fetched', async () => {
  await using e = await load();
  const data = new Uint8Array(40_000).fill(9);
  assert.deepEqual(e.ecalls.echo(data), data);
  assert.deepEqual(await e.async.echo(data), data);
});

test('OCALL handlers: promises, errors, nesting', async () => {
  await using e = await load({ ocalls: { host_name: async () => 'later' } });
  assert.throws(() => e.ecalls.greet(), { code: 'OCALL_PROMISE_IN_SYNC_ECALL' });
  assert.match(await e.async.greet(), /later/);
  await using failing = await load({
    ocalls: {
      host_name: () => {
        throw new Error('no name today');
      },
    },
  });
  assert.throws(() => failing.ecalls.greet(), { code: 'OCALL_FAILED', message: /no name today/ });
  assert.throws(() => failing.ecalls.call_host(1n), { code: 'OCALL_UNKNOWN' });
  const nested: Enclave<AnyInterface> = await load({
    ocalls: { host_name: () => `sum ${nested.ecalls.add(20, 22)}` },
  });
  assert.match(nested.ecalls.greet(), /sum 42/);
  assert.equal(nested.stats().freeThreads, nested.stats().threads);
  await nested.close();
});

test('faults carry vector and address, end the enclave and nothing else', async () => {
  await using other = await load();
  for (const [call, vector] of [
    [(e: Enclave<AnyInterface>) => e.ecalls.divide(1, 0), '#DE'],
    [(e: Enclave<AnyInterface>) => e.async.fault_page(), '#PF'],
  ] as const) {
    const e = await load();
    await assert.rejects(
      async () => call(e),
      (error) => error instanceof EnclaveFault && error.vectorName === vector,
    );
    assert.throws(() => e.ecalls.add(1, 1), { code: 'ENCLAVE_CRASHED' });
    await assert.rejects(e.async.add(1, 1), { code: 'ENCLAVE_CRASHED' });
    await e.close();
    assert.throws(() => e.ecalls.add(1, 1), { code: 'ENCLAVE_CLOSED' });
  }
  assert.equal(other.ecalls.add(2, 3), 5);
});

test('thousands of asynchronous calls at once are all answered', async () => {
  await using e = await load({}, cvm, 'bench');
  const answers = await Promise.all(
    Array.from({ length: 2000 }, (_, i) => e.async.echo(Uint8Array.of(i & 0xff, i >> 8))),
  );
  answers.forEach((answer, i) => {
    assert.deepEqual(answer, Uint8Array.of(i & 0xff, i >> 8));
  });
  assert.equal(e.stats().waitingCalls, 0);
});

test('evidence holds the report data and MRENCLAVE', async () => {
  await using e = await load();
  const reportData = Uint8Array.from({ length: 64 }, (_, i) => i);
  const evidence = e.attest({ reportData });
  const view = Buffer.from(evidence);
  assert.equal(view.readUInt16LE(0), 3);
  assert.deepEqual(evidence.slice(48 + 64, 48 + 96), e.mrenclave);
  assert.deepEqual(evidence.slice(48 + 320, 48 + 384), reportData);
  assert.throws(() => e.attest({ reportData: new Uint8Array(65) }), { code: 'REPORT_DATA_TOO_LONG' });
});

test('closing during calls interrupts them and refuses those who wait', async () => {
  const e = await load();
  const running = Array.from({ length: 8 }, () => e.async.spin(2n ** 50n));
  const outcomes = Promise.allSettled(running);
  await new Promise((resolve) => setTimeout(resolve, 30));
  const start = performance.now();
  await e.close();
  assert.ok(performance.now() - start < 2000);
  for (const outcome of await outcomes)
    assert.match((outcome as PromiseRejectedResult).reason.code, /^ENCLAVE_(CLOSED|LOST)$/);
});

test('enclaves made and closed in a loop leave no process, descriptor or memory behind', async () => {
  const rounds = Number(process.env.NSGX_SOAK ? 1000 : 25);
  await (await load()).close();
  const { connection } = await cvm.guest();
  const pid = cvm.pid as number;
  const state = () => ({
    ours: readdirSync('/proc/self/fd').length,
    theirs: readdirSync(`/proc/${pid}/fd`).length,
    children: children(pid),
    ram: connection.memory.used,
    epc: connection.epc.free,
  });
  // The machine starts the next enclave's runner when it has nothing else to do.
  const settled = () => new Promise((resolve) => setTimeout(resolve, 100));
  await settled();
  const first = state();
  for (let i = 0; i < rounds; i++) {
    await using e = await load();
    assert.equal(e.ecalls.add(i, 1), i + 1);
  }
  await settled();
  assert.deepEqual(state(), first);
});
