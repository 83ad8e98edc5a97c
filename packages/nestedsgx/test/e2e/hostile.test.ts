/** Hostile hosts against one long-lived machine: sockets, doorbell, descriptors, other hosts' enclaves. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ControlSocket, SGX_PROTOCOL } from '@nestedsgx/guest';
import { DOORBELL_GPA, DOORBELL_WAKE, EPC_GPA, MONITOR_GPA } from '@nestedsgx/machine';
import { close, connectUnix, futexWake, recvFds, sendFds } from '@nestedsgx/os';
import { Cvm, endProcess, launchCvm } from '../../src/index.js';
import { type Calc, codeOf, FUZZ_RUNS, load, random, randomBytes, SEED, sleep, until } from './observe.js';

const folder = mkdtempSync(join(tmpdir(), 'nsgx-hostile-'));
const path = join(folder, 'cvm.sock');
let service: Awaited<ReturnType<typeof launchCvm>>;
let cvm: Cvm;
let victim: Calc;
let secret: Uint8Array;
before(async () => {
  service = await launchCvm({
    lifetime: 'service',
    stateDir: join(folder, 'state'),
    listen: { path, mode: 0o600 },
    stderr: 'inherit',
    ramBytes: 512 * 2 ** 20,
    epcBytes: 512 * 2 ** 20,
  });
  service.control.close();
  cvm = await Cvm.connect(path);
  victim = await load(cvm);
  secret = victim.ecalls.seal(Uint8Array.of(1, 2, 3));
});
after(async () => {
  await cvm?.stop().catch(() => undefined);
  await endProcess(service.pid, service.pidfd, 2000);
  rmSync(folder, { recursive: true });
});

const descriptors = () => readdirSync(`/proc/${service.pid}/fd`).length;

/** The machine serves, and the victim's enclave works as before. */
async function unharmed(what = ''): Promise<void> {
  assert.equal(victim.ecalls.add(2, 3), 5, what);
  assert.equal(await victim.async.add(20, 22), 42, what);
  assert.deepEqual(victim.ecalls.unseal(secret), Uint8Array.of(1, 2, 3), what);
  assert.equal((await cvm.ps()).filter((one) => one.state === 'running').length, 1, what);
  assert.equal(victim.attest().length > 1000, true, what);
}

/** The machine holds no more descriptors than before. */
async function descriptorsReturn(baseline: number): Promise<void> {
  await until(() => descriptors() <= baseline, 3000);
  assert.ok(descriptors() <= baseline, `${baseline} descriptors before, ${descriptors()} after`);
}

/** One reply on a raw socket: its text, `''` when the machine hung up, null when nothing came. */
async function reply(fd: number): Promise<string | null> {
  let text: string | null = null;
  await until(() => {
    try {
      const got = recvFds(fd, 65_536, 8, 5);
      if (got === null) return false;
      for (const one of got.fds) close(one);
      text = got.eof ? '' : new TextDecoder().decode(got.bytes);
    } catch {
      text = '';
    }
    return true;
  }, 1000);
  return text;
}

test('random, truncated and oversized socket messages are refused by a typed reply', async (t) => {
  t.diagnostic(`seed ${SEED}`);
  const next = random(SEED);
  const baseline = descriptors();
  const honest = ['{"op":"info"}', '{"op":"attach","slice":0,"epc":0}', '{"op":"vcpu"}', '{"op":"ps"}'];
  const shapes: ((i: number) => Uint8Array)[] = [
    () => randomBytes(next, 1 + Math.floor(next() * 4000)),
    (i) =>
      new TextEncoder().encode(honest[i % 4].slice(0, 1 + Math.floor(next() * (honest[i % 4].length - 1)))),
    () => new TextEncoder().encode(`{"op":"info","x":"${'a'.repeat(60_000)}"}`),
    () => new TextEncoder().encode('['.repeat(50_000)),
    () => new TextEncoder().encode(`{"op":"attach","slice":${next() * 1e30},"epc":-1}`),
    () => new TextEncoder().encode('{"op":"attach","slice":1e12,"epc":1e12}'),
    () => new TextEncoder().encode('{"op":"attach","slice":"1","epc":null}'),
    () => new TextEncoder().encode('{"__proto__":{"op":"stop"},"op":"constructor"}'),
    () => new TextEncoder().encode('null'),
    (i) => {
      const bytes = new TextEncoder().encode(honest[i % 4]);
      bytes[Math.floor(next() * bytes.length)] ^= 1 << (next() * 8);
      return bytes;
    },
  ];
  for (let i = 0; i < FUZZ_RUNS; i++) {
    const fd = connectUnix(path);
    try {
      sendFds(fd, shapes[i % shapes.length](i));
      const text = await reply(fd);
      assert.notEqual(text, null, `run ${i} got no answer`);
      if (text === '') continue;
      const answer = JSON.parse(text as string) as { ok: boolean; code?: string };
      if (!answer.ok) assert.match(String(answer.code), /^CVM_[A-Z_]+$/);
    } finally {
      close(fd);
    }
  }
  for (const length of [65_537, 200_000]) {
    const fd = connectUnix(path);
    try {
      sendFds(fd, new Uint8Array(length).fill(32));
      assert.notEqual(await reply(fd), null, `${length} bytes`);
    } catch (error) {
      assert.equal(typeof (error as { code?: unknown }).code, 'string');
    } finally {
      close(fd);
    }
  }
  await unharmed();
  await descriptorsReturn(baseline);
});

test('connections beyond the limit are turned away, and the places come back', async () => {
  const baseline = descriptors();
  const flood: number[] = [];
  for (let i = 0; i < 300; i++)
    try {
      flood.push(connectUnix(path, 200));
    } catch {
      // The queue of the listening socket is full.
    }
  await sleep(100);
  assert.ok(descriptors() <= baseline + 128, `${descriptors()} descriptors`);
  await unharmed();
  for (const fd of flood) close(fd);
  await descriptorsReturn(baseline);
  const late = await Cvm.connect(path);
  assert.match((await late.info()).launchDigest, /^[0-9a-f]{96}$/);
  await late.close();
});

test('a flood of descriptors leaves none in the machine, nor do senders that never read', async () => {
  const baseline = descriptors();
  const gift = openSync('/dev/null', 'r');
  for (let round = 0; round < 12; round++) {
    const fd = connectUnix(path);
    try {
      for (let i = 0; i < 400; i++)
        sendFds(fd, new TextEncoder().encode('{"op":"info"}'), Array(8).fill(gift));
    } catch {
      // Refused with descriptors, or the machine reads no further: as good.
    }
    if (round % 2 === 0) await sleep(5);
    close(fd);
  }
  closeSync(gift);
  await unharmed();
  await descriptorsReturn(baseline);
});

/** An attached guest without a mapping of its own: its pages are looked at through the victim's. */
async function attachRaw() {
  const control = new ControlSocket(connectUnix(path));
  const { body, fds } = await control.request({ op: 'attach', slice: 8 * 2 ** 20, epc: 4 * 2 ** 20 });
  for (const fd of fds) close(fd);
  const { vcpus, slice, epc } = body as {
    vcpus: { ghcb: number; caa: number }[];
    slice: { gpa: number; length: number };
    epc: { first: number; count: number };
  };
  const { connection } = await cvm.guest();
  const ghcb = connection.view(vcpus[0].ghcb, 4096);
  const caa = connection.view(vcpus[0].caa, 4096);
  const doorbell = connection.view(DOORBELL_GPA, 4096);
  const words = (page: Uint8Array) => new Int32Array(page.buffer, page.byteOffset, 1024);
  /** Rings for whatever the GHCB page holds; true when an answer came in time. */
  const ring = async (limitMs = 1000): Promise<boolean> => {
    caa[0] = 1;
    const wanted = Atomics.add(words(caa), 16, 1) + 1;
    Atomics.add(words(doorbell), DOORBELL_WAKE / 4, 1);
    futexWake(connection.ramBase + DOORBELL_GPA + DOORBELL_WAKE, 1);
    for (let i = 0; i < 200; i++) if (Atomics.load(words(caa), 32) === (wanted | 0)) return true;
    return (await until(() => Atomics.load(words(caa), 32) === (wanted | 0), limitMs)) !== null;
  };
  return { control, ghcb, caa, slice, epc, vcpus, ring };
}

/** Fills a GHCB as the SVSM convention wants it. */
function fillGhcb(ghcb: Uint8Array, registers: bigint[]): void {
  const view = new DataView(ghcb.buffer, ghcb.byteOffset, 4096);
  ghcb.fill(0, 0x3f0, 0x400);
  const offsets = [0x1f8, 0x308, 0x310, 0x340, 0x348, 0x390, 0x398, 0x3a0];
  for (const [at, offset] of offsets.entries()) {
    view.setBigUint64(offset, BigInt.asUintN(64, registers[at] ?? 0n), true);
    ghcb[0x3f0 + (offset >> 6)] |= 1 << ((offset >> 3) & 7);
  }
  view.setUint16(0xffa, 2, true);
  view.setUint32(0xffc, 0, true);
}

test('random GHCB requests over the real doorbell harm nobody but their sender', async (t) => {
  t.diagnostic(`seed ${SEED}`);
  const next = random(SEED + 5);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(next() * from.length)];
  const baseline = descriptors();
  let guest = await attachRaw();
  let unanswered = 0;
  const results: Record<string, number> = {};
  const runs = Math.min(FUZZ_RUNS * 40, 200_000);
  for (let i = 0; i < runs; i++) {
    const { ghcb, slice, epc, vcpus } = guest;
    const places = [
      slice.gpa,
      slice.gpa + slice.length - 4096,
      slice.gpa + slice.length,
      epc.first,
      epc.first + 4096 * (epc.count - 1),
      epc.first + 4096 * epc.count,
      EPC_GPA,
      EPC_GPA + 4096,
      MONITOR_GPA,
      DOORBELL_GPA,
      vcpus[0].ghcb,
      vcpus[0].caa,
      0,
      2 ** 47,
    ];
    const operand = (): bigint => {
      const kind = next();
      if (kind < 0.6) return BigInt(pick(places) + (next() < 0.2 ? Math.floor(next() * 5000) : 0));
      if (kind < 0.8) return BigInt(Math.floor(next() * 600));
      if (kind < 0.9) return pick([2n ** 64n - 1n, 2n ** 63n, 2n ** 64n - 4096n, 2n ** 52n, 2n ** 32n - 1n]);
      return BigInt(Math.floor(next() * 2 ** 32)) << BigInt(Math.floor(next() * 32));
    };
    const page = (await cvm.guest()).connection.view(slice.gpa, 8192);
    page.set(randomBytes(next, 64), 0);
    if (next() < 0.5) {
      const view = new DataView(page.buffer, page.byteOffset, 8192);
      for (let at = 0; at < 128; at += 8) view.setBigUint64(at, operand(), true);
    }
    if (next() < 0.1) ghcb.set(randomBytes(next, 1024), 0xc00);
    else {
      const protocol = pick([SGX_PROTOCOL, SGX_PROTOCOL, SGX_PROTOCOL, 0, 0, 1, 3, 0xffff_ffff]);
      const call =
        next() < 0.9
          ? pick([...Array(16).keys(), ...Array.from({ length: 16 }, (_, n) => 0x100 + n)])
          : next() * 2 ** 32;
      const rax = (BigInt(protocol) << 32n) | BigInt(Math.floor(call));
      const exit = next() < 0.95 ? 0x8000_0018n : BigInt(Math.floor(next() * 2 ** 32));
      const registers = [
        rax,
        operand(),
        operand(),
        operand(),
        operand(),
        exit,
        next() < 0.95 ? 0n : operand(),
        0n,
      ];
      fillGhcb(ghcb, registers);
    }
    if (await guest.ring(300)) {
      const rax = new DataView(ghcb.buffer, ghcb.byteOffset).getBigUint64(0x1f8, true).toString(16);
      const kind = rax.length > 8 ? 'unchanged' : rax;
      results[kind] = (results[kind] ?? 0) + 1;
    } else {
      // Its vCPU is moved or gone, by its own request: it begins anew.
      unanswered++;
      guest.control.close();
      await sleep(5);
      guest = await attachRaw();
    }
    if (i % 500 === 0) await unharmed(`run ${i}`);
  }
  t.diagnostic(`${runs} requests, ${unanswered} lost vCPUs, ${Object.keys(results).length} kinds of answers`);
  guest.control.close();
  await unharmed();
  await descriptorsReturn(baseline);
});

const HOST = fileURLToPath(new URL('./second-host.js', import.meta.url));

test('two hosts of one machine: neither can name the other’s enclaves, and one’s end is not the other’s', async (t) => {
  const host = spawn(process.execPath, [HOST, path], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => host.kill('SIGKILL'));
  const line = await new Promise<string>((resolve) =>
    host.stdout.once('data', (data) => resolve(String(data))),
  );
  const theirs = JSON.parse(line) as { epc: number };
  assert.equal((await cvm.ps()).length, 2);
  const { connection } = await cvm.guest();
  const used = Array.from({ length: 200 }, (_, i) => theirs.epc + i * 4096);
  const block = connection.memory.alloc(4096, { alignment: 4096, zero: true });
  for (const gpa of used) {
    // EREMOVE, EEXTEND, EINIT, EADD, EBLOCK, status, quote, kick of pages of the other host.
    for (const [call, rcx, rdx, r8] of [
      [3, 0, gpa, 0],
      [6, gpa, gpa, 0],
      [2, block.gpa, gpa, block.gpa],
      [1, block.gpa, gpa, 0],
      [9, 0, gpa, 0],
      [0x106, gpa, 0, 0],
      [0x105, gpa, 0, 0],
      [0x102, gpa, block.gpa, 1],
      [0x107, gpa, 0, 0],
    ]) {
      const answer = connection.vcpu.call(SGX_PROTOCOL, call, rcx, rdx, r8);
      assert.notEqual(answer.rax, 0, `call 0x${call.toString(16)} on a foreign page was executed`);
    }
  }
  connection.memory.free(block);
  host.stdin.write('again\n');
  const said = await new Promise<string>((resolve) =>
    host.stdout.once('data', (data) => resolve(String(data))),
  );
  assert.equal(said.trim(), '5');
  await unharmedWith(2);
  host.kill('SIGKILL');
  assert.notEqual(await until(async () => (await cvm.ps()).length === 1, 2000), null);
  await unharmed();
});

async function unharmedWith(enclaves: number): Promise<void> {
  assert.equal(victim.ecalls.add(2, 3), 5);
  assert.equal((await cvm.ps()).length, enclaves);
}

test('noise in the gates of a running enclave ends at most that enclave, and closing it takes no time', async (t) => {
  t.diagnostic(`seed ${SEED}`);
  const next = random(SEED + 7);
  const { connection } = await cvm.guest();
  const codes: Record<string, number> = {};
  for (let round = 0; round < Math.max(4, FUZZ_RUNS / 20); round++) {
    const blocks: Uint8Array[] = [];
    const alloc = connection.memory.alloc.bind(connection.memory);
    connection.memory.alloc = (length, options) => {
      const block = alloc(length, options);
      if (length === 4 * 4096) blocks.push(block.bytes);
      return block;
    };
    const e = await load(cvm);
    connection.memory.alloc = alloc;
    assert.ok(blocks.length > 0);
    const calls = Array.from({ length: 8 }, (_, i) => codeOf(() => e.async.spin(BigInt(i) * 30_000_000n)));
    const steering = round % 2 === 0;
    for (let i = 0; i < 400; i++) {
      const at = Math.floor(next() * 4096) * 4;
      if (!steering && [0, 64, 128].includes(at & 0xfff)) continue;
      blocks[0][at] = next() * 256;
      if (i % 50 === 0) await sleep(1);
    }
    await Promise.race([Promise.all(calls), sleep(100)]);
    const start = performance.now();
    await e.close();
    assert.ok(performance.now() - start < 5000, `${performance.now() - start} ms`);
    const late = new AbortController();
    const patience = setTimeout(3000, ['unanswered'], { signal: late.signal }).catch(() => []);
    const said = await Promise.race([Promise.all(calls), patience]);
    late.abort();
    for (const code of said) {
      assert.doesNotMatch(code, /^untyped/);
      codes[code] = (codes[code] ?? 0) + 1;
    }
    await unharmed(`round ${round}`);
  }
  t.diagnostic(JSON.stringify(codes));
});
