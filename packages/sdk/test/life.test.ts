/** How machines and enclaves end, and machines that live longer than their hosts. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { samplesBuildDirectory } from '@nestedsgx/enclave';
import { connectUnix, pidfdSignal } from '@nestedsgx/os';
import { type AnyInterface, Cvm, type Enclave, endProcess, launchCvm } from '../src/index.js';

/** Nothing waits for a time limit; how soon it is on an idle machine, 100 ms, a busy one does not tell. */
const SOON_MS = 3000;

const home = mkdtempSync(join(tmpdir(), 'nsgx-life-'));
after(() => rmSync(home, { recursive: true }));

const load = (of: Cvm): Promise<Enclave<AnyInterface>> =>
  of.load(join(samplesBuildDirectory(), 'calc', 'calc'), { ocalls: {} });

test('the end of the machine is ENCLAVE_LOST soon, in calls of both kinds', async () => {
  const mortal = await Cvm.launch({ stateDir: null });
  const e = await load(mortal);
  const waiting = e.async.spin(2n ** 50n);
  const { connection } = await mortal.guest();
  await new Promise((resolve) => setTimeout(resolve, 20));
  const start = performance.now();
  pidfdSignal(connection.cvmPidfd, 9);
  await assert.rejects(waiting, { code: 'ENCLAVE_LOST' });
  assert.ok(performance.now() - start < SOON_MS, `${performance.now() - start} ms`);
  assert.throws(() => e.ecalls.add(1, 1), { code: 'ENCLAVE_LOST' });
  assert.equal(connection.lost, true);
  await mortal.close();
  await assert.rejects(mortal.info(), { code: 'CVM_CLOSED' });
});

test('a long-lived machine serves a socket, keeps hosts apart and is stopped', async () => {
  const path = join(home, 'cvm.sock');
  const service = await launchCvm({
    stateDir: join(home, 'service'),
    lifetime: 'service',
    listen: { path, mode: 0o600 },
    stderr: 'ignore',
  });
  let ended = false;
  after(() => ended || endProcess(service.pid, service.pidfd, 0));
  service.control.close();
  const first = await Cvm.connect(path);
  const info = await first.info();
  assert.equal(info.launchDigest, service.launchDigest);
  assert.equal(info.isolation, 'same-user');
  const e = await load(first);
  assert.equal(e.ecalls.add(2, 3), 5);
  const second = await Cvm.connect(path);
  assert.equal((await second.ps()).length, 1);
  await first.close();
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal((await second.ps()).length, 0);
  await second.stop();
  assert.equal(await endProcess(service.pid, service.pidfd, 2000), true);
  ended = true;
  assert.throws(() => connectUnix(path));
  await assert.rejects(Cvm.connect(path), { code: 'CVM_LOST' });
});

test('the end of a runner is ENCLAVE_LOST soon, and the machine and other enclaves live on', async () => {
  await using cvm = await Cvm.launch({ stateDir: null });
  const [victim, other] = [await load(cvm), await load(cvm)];
  const processes = (await cvm.ps()) as { pid?: number; secs?: number }[];
  const pid = processes.map((one) => Number(one.pid)).sort((a, b) => a - b)[0];
  assert.ok(pid > 0, JSON.stringify(processes));
  const calls = [victim.async.spin(2n ** 50n), other.async.spin(1000n)];
  await new Promise((resolve) => setTimeout(resolve, 20));
  const start = performance.now();
  process.kill(pid, 'SIGKILL');
  const outcomes = await Promise.allSettled(calls.slice(0, 1));
  assert.equal((outcomes[0] as PromiseRejectedResult).reason?.code, 'ENCLAVE_LOST');
  assert.ok(performance.now() - start < SOON_MS, `${performance.now() - start} ms`);
  await calls[1];
  assert.equal(other.ecalls.add(2, 3), 5);
  const again = await load(cvm);
  assert.equal(again.ecalls.add(2, 3), 5);
});

test('a private machine and its runners end with their host, however it ends', async () => {
  const script = `
    import { Cvm } from ${JSON.stringify(fileURLToPath(new URL('../src/index.js', import.meta.url)))};
    const cvm = await Cvm.launch({ stateDir: null });
    const e = await cvm.load(${JSON.stringify(join(samplesBuildDirectory(), 'calc', 'calc'))});
    console.log(JSON.stringify([cvm.pid, ...(await cvm.ps()).map((one) => one.pid)]));
    setInterval(() => e.ecalls.empty(), 1);`;
  const { spawn } = await import('node:child_process');
  const host = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const line = await new Promise<string>((resolve) =>
    host.stdout.once('data', (data) => resolve(String(data))),
  );
  const pids = JSON.parse(line) as number[];
  assert.ok(pids.length >= 2 && pids.every(alive));
  host.kill('SIGKILL');
  const deadline = performance.now() + 1000;
  while (pids.some(alive) && performance.now() < deadline)
    await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual(pids.filter(alive), []);

  function alive(pid: number): boolean {
    try {
      return readdirSync(`/proc/${pid}/fd`).length > 0 && readlinkSync(`/proc/${pid}/exe`).length > 0;
    } catch {
      return false;
    }
  }
});
