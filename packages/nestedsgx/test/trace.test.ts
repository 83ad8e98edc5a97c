/** nsgx trace and nsgx top: a scripted guest gives exactly the expected lines, filters, exit codes and counts. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Cvm, launchCvm } from '@nestedsgx/sdk';
import { sampleImage } from '../src/index.js';
import { parseSample, rates } from '../src/top/sample.js';
import { traceLine } from '../src/trace/line.js';
import { describe, TRACE_NAMES } from '../src/trace/names.js';
import { parseMessage, type TraceRecord } from '../src/trace/record.js';
import { Summary, summaryCells } from '../src/trace/summary.js';

const NSGX = fileURLToPath(new URL('../../bin/nsgx.mjs', import.meta.url));
const SDK = fileURLToPath(import.meta.resolve('@nestedsgx/sdk'));
const ARCH = fileURLToPath(import.meta.resolve('@nestedsgx/arch'));
const ENCLAVE = fileURLToPath(import.meta.resolve('@nestedsgx/enclave'));
const folder = mkdtempSync(join(tmpdir(), 'nsgx-trace-test-'));
after(() => rmSync(folder, { recursive: true, force: true }));

interface Outcome {
  status: number | null;
  stdout: string;
  stderr: string;
}

function nsgx(...args: string[]): Promise<Outcome> {
  return nsgxAs(undefined, ...args);
}

function nsgxAs(uid: number | undefined, ...args: string[]): Promise<Outcome> {
  const child = spawn(process.execPath, [NSGX, ...args], {
    cwd: folder,
    uid,
    env: { ...process.env, NSGX_HOME: join(folder, 'home'), NO_COLOR: '1', TERM: 'dumb' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const outcome: Outcome = { status: null, stdout: '', stderr: '' };
  child.stdout.on('data', (data) => {
    outcome.stdout += String(data);
  });
  child.stderr.on('data', (data) => {
    outcome.stderr += String(data);
  });
  return new Promise((resolve) => child.on('close', (status) => resolve({ ...outcome, status })));
}

/** A guest that executes leaves with operands of its choice, and says where its memory lies. */
const SCRIPT = join(folder, 'guest.mjs');
writeFileSync(
  SCRIPT,
  `
import { Cvm } from ${JSON.stringify(SDK)};
import { ENCLS, SGX_CALL, SVSM_PROTOCOL_SGX } from ${JSON.stringify(ARCH)};
const cvm = await Cvm.launch({ stateDir: null, ramBytes: 128 * 2 ** 20, epcBytes: 16 * 2 ** 20 });
const { connection } = await cvm.guest();
const block = connection.memory.alloc(4096, { zero: true });
const gpa = block.address - connection.ramBase;
const epc = connection.epc.take(1).gpa;
const call = (...args) => connection.vcpu.call(SVSM_PROTOCOL_SGX, ...args);
call(ENCLS.EREMOVE, 0, epc + 1, 0);
call(ENCLS.EINIT, gpa, gpa, gpa + 64);
call(ENCLS.EEXTEND, epc, epc + 256, 0);
call(SGX_CALL.REMOVE_RANGE, epc, 0, 0);
call(SGX_CALL.QUERY, 0, 0, 0);
call(SGX_CALL.BIND_GATES, epc, gpa, 1);
call(0xfff, 1, 2, 3);
console.log(JSON.stringify({ gpa, epc }));
await cvm.close();
process.exit(3);
`,
);

/** The lines that the script must give. */
function expected({ gpa, epc }: { gpa: number; epc: number }): string[] {
  const hex = (value: number) => `0x${value.toString(16)}`;
  return [
    `guest 1: EREMOVE(EPC page=${hex(epc + 1)}) = #GP(0); refused by EREMOVE.page-aligned: RCX is 4096-byte aligned (SDM Vol. 3D, 41.3, EREMOVE)`,
    `guest 1: EINIT(SIGSTRUCT=${hex(gpa)}, SECS=${hex(gpa)}, EINITTOKEN=${hex(gpa + 64)}) = #GP(0); refused by`,
    `guest 1: EEXTEND(SECS=${hex(epc)}, 256-byte chunk of an EPC page=${hex(epc + 256)}) = #PF(error code 0x8001, address ${hex(epc + 256)}); refused by EEXTEND.page-valid: EPCM(RCX).VALID = 1 (SDM Vol. 3D, 41.3, EEXTEND)`,
    `guest 1: REMOVE_RANGE(first EPC page=${hex(epc)}, pages=0) = REFUSED, 0 bytes done; refused by REMOVE_RANGE.count:`,
    'guest 1: QUERY() = ok',
    `guest 1: BIND_GATES(SECS=${hex(epc)}, gates=${hex(gpa)}, pages=1) = SVSM_INVALID_PARAMETER`,
    'guest 1: call 4095(RCX=0x1, RDX=0x2, R8=0x3) = SVSM_UNSUPPORTED_CALL',
  ];
}

function matches(lines: readonly string[], wanted: readonly string[]): void {
  assert.equal(lines.length, wanted.length, lines.join('\n'));
  wanted.forEach((want, i) => {
    if (/(refused by|:)$/.test(want)) assert.ok(lines[i]?.startsWith(want), `${lines[i]}\n${want}`);
    else assert.equal(lines[i], want);
  });
}

test('a scripted run gives exactly the expected lines, and its exit code', async () => {
  const { status, stdout, stderr } = await nsgx('trace', '--', process.execPath, SCRIPT);
  assert.equal(status, 3, stderr);
  matches(stderr.trimEnd().split('\n'), expected(JSON.parse(stdout)));
});

test('filters, limit, times and a file', async () => {
  const leaves = ['--leaf', 'eextend', '--leaf', 'QUERY', '--out', 'lines.txt'];
  const chosen = await nsgx('trace', ...leaves, '--', process.execPath, SCRIPT);
  const lines = readFileSync(join(folder, 'lines.txt'), 'utf8').trimEnd().split('\n');
  const all = expected(JSON.parse(chosen.stdout));
  matches(lines, [all[2] as string, all[4] as string]);
  assert.equal(chosen.stderr, '');
  const failed = await nsgx('trace', '--failed', '--limit', '2', '--times', '--', process.execPath, SCRIPT);
  const timed = failed.stderr.trimEnd().split('\n');
  assert.equal(timed.length, 2);
  for (const line of timed) assert.match(line, /^\d+\.\d{6} guest 1: E.* <\d+\.\d µs>$/);
});

test('one JSON document, and a summary', async () => {
  const { stdout, status } = await nsgx('trace', '--json', '--', process.execPath, SCRIPT);
  assert.equal(status, 3);
  const document = JSON.parse(stdout) as { records: TraceRecord[]; lost: number; complete: boolean };
  assert.deepEqual([document.records.length, document.lost, document.complete], [7, 0, true]);
  const [first, , third] = document.records;
  assert.deepEqual([first?.kind, first?.name, first?.check], ['encls', 'EREMOVE', 'EREMOVE.page-aligned']);
  assert.equal(third?.fault?.vector, 14);
  const summed = await nsgx('trace', '--json', '--summary', '--', process.execPath, SCRIPT);
  const { summary } = JSON.parse(summed.stdout) as {
    summary: { name: string; calls: number; refused: number }[];
  };
  const counts = new Map(summary.map(({ name, calls, refused }) => [name, [calls, refused]]));
  assert.deepEqual(counts.get('EREMOVE'), [1, 1]);
  assert.deepEqual(counts.get('QUERY'), [1, 0]);
  assert.equal(counts.size, 7);
});

test('wrong usage and machines that are not there', async () => {
  for (const args of [
    ['trace', '--leaf', 'NOTHING', '--', 'true'],
    ['trace', '--limit', '0', '--', 'true'],
    ['trace', '--seconds', '5', '--', 'true'],
    ['trace', '--summary', '--out', 'x', '--', 'true'],
    ['top', '--interval', '0'],
  ]) {
    const { status, stdout } = await nsgx(...args);
    assert.deepEqual([status, stdout], [2, ''], args.join(' '));
  }
  for (const args of [
    ['trace', '--socket', join(folder, 'nobody.sock')],
    ['trace', '--', '/no/such/program'],
    ['top', '--once', '--socket', join(folder, 'nobody.sock')],
  ]) {
    const { status, stdout, stderr } = await nsgx(...args);
    assert.deepEqual([status, stdout], [1, ''], args.join(' '));
    assert.match(stderr, /\[(CVM_LOST|TRACE_COMMAND)\]/);
  }
  const { stderr, status } = await nsgx('trace', '--', process.execPath, '-e', '0');
  assert.equal(status, 0);
  assert.match(stderr, /launched no confidential VM/);
});

test('a machine that runs is traced through its socket, and top counts what was done', async () => {
  const socket = join(folder, 'm.sock');
  assert.equal((await nsgx('cvm', 'start', '--socket', socket, '--ram', '128', '--epc', '64')).status, 0);
  try {
    const traced = nsgx('trace', '--socket', socket, '--leaf', 'EINIT', '--limit', '1');
    const host = join(folder, 'host.mjs');
    writeFileSync(
      host,
      `
import { Cvm } from ${JSON.stringify(SDK)};
import { samplesBuildDirectory } from ${JSON.stringify(ENCLAVE)};
const cvm = await Cvm.connect(${JSON.stringify(socket)});
const enclave = await cvm.load(samplesBuildDirectory() + '/calc/calc.sgxs', { ocalls: { host_name: () => 'x' } });
for (let i = 0; i < 100; i++) enclave.ecalls.add(2, 3);
enclave.ecalls.greet();
enclave.ecalls.divide_or(1, 0, 9);
console.log(JSON.stringify(enclave.stats()));
process.stdin.resume();
process.stdin.on('end', async () => { await enclave.close(); await cvm.close(); });
`,
    );
    // Enclaves are loaded until the tracer is there; the last one stays.
    let ended = false;
    void traced.then(() => {
      ended = true;
    });
    let child = spawn(process.execPath, [host], { stdio: ['pipe', 'pipe', 'inherit'] });
    const line = () =>
      new Promise<string>((resolve) => child.stdout?.once('data', (data) => resolve(String(data))));
    let stats = JSON.parse(await line());
    while (!ended) {
      child.stdin?.end();
      await new Promise((resolve) => child.once('close', resolve));
      child = spawn(process.execPath, [host], { stdio: ['pipe', 'pipe', 'inherit'] });
      stats = JSON.parse(await line());
    }
    assert.match(
      (await traced).stdout,
      /^guest \d+, enclave \d+: EINIT\(SIGSTRUCT=0x\w+, SECS=0x\w+, EINITTOKEN=0x\w+\) = ok\n$/,
    );
    const top = await nsgx('top', '--once', '--json', '--interval', '0.1', '--socket', socket);
    const document = JSON.parse(top.stdout);
    assert.equal(document.enclaves.length, 1);
    const [enclave] = document.enclaves;
    assert.equal(enclave.pages, stats.pages);
    assert.equal(enclave.threads, stats.threads);
    assert.equal(enclave.state, 'running');
    assert.deepEqual([stats.ecalls, stats.ocalls, stats.aex], [102, 1, { '#DE': 1 }]);
    // Beside the ECALLs: the runtime's initialisation, the return from the OCALL, the exception offered.
    assert.deepEqual(enclave.counts.transitions, {
      eenter: 105,
      eexit: 105,
      eresume: 1,
      aex: { '#DE': 1 },
    });
    assert.deepEqual(enclave.counts.paging, { evicted: 0, loaded: 0, augmented: 0 });
    assert.equal(enclave.counts.leaves.EINIT.executed, 1);
    assert.equal(enclave.counts.leaves.ECREATE.executed, 1);
    const table = await nsgx('top', '--once', '--interval', '0.1', '--socket', socket);
    assert.match(table.stdout, /^EPC \d+ of 16384 pages, 1 enclaves, \d+ calls\nid +MRENCLAVE/);
    assert.ok(table.stdout.includes(enclave.mrenclave.slice(0, 12)));
    child.stdin?.end();
    await new Promise((resolve) => child.once('close', resolve));
  } finally {
    assert.equal((await nsgx('cvm', 'stop', '--socket', socket)).status, 0);
  }
});

test('another account sees nothing of what this one does', async (context) => {
  if (process.getuid?.() !== 0) return context.skip('only root can be two accounts');
  const nobody = 65_534;
  const socket = join(folder, 'shared.sock');
  chmodSync(folder, 0o755);
  const machine = await launchCvm({
    lifetime: 'service',
    stateDir: null,
    ramBytes: 128 * 2 ** 20,
    epcBytes: 64 * 2 ** 20,
    listen: { path: socket, mode: 0o666 },
  });
  const cvm = await Cvm.connect(socket);
  try {
    const watching = ['trace', '--json', '--socket', socket, '--seconds'];
    const traces = [nsgxAs(nobody, ...watching, '4'), nsgx(...watching, '4')];
    const end = Promise.all(traces);
    let ended = false;
    void end.then(() => {
      ended = true;
    });
    const { connection } = await cvm.guest();
    while (!ended) {
      connection.vcpu.call(0, 6);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const [theirs, ours] = (await end).map(({ stdout }) => JSON.parse(stdout).records.length);
    assert.equal(theirs, 0);
    assert.ok(ours > 0);
    await using enclave = await cvm.load(sampleImage('calc'), { ocalls: {} as never });
    const looking = ['top', '--once', '--json', '--interval', '0.1', '--socket', socket];
    const seen = async (uid?: number) => JSON.parse((await nsgxAs(uid, ...looking)).stdout).enclaves.length;
    assert.deepEqual([await seen(nobody), await seen()], [0, 1]);
    assert.ok(enclave.stats().pages > 0);
  } finally {
    await cvm.stop();
    machine.control.close();
  }
});

const record = (fields: Partial<TraceRecord> = {}): TraceRecord => ({
  at: 2_000_000,
  kind: 'enclu',
  name: 'EGETKEY',
  owner: 1,
  enclave: 2,
  thread: 3,
  operands: [4096, '0xffffffffffffffff', 0],
  result: 'ok',
  microseconds: 1.25,
  ...fields,
});

test('lines of enclave threads, unknown leaves, gaps and checks that are not the manual’s', () => {
  assert.equal(
    traceLine(record()),
    'enclave 2, thread 3: EGETKEY(KEYREQUEST=0x1000, OUTPUTDATA=0xffffffffffffffff) = ok',
  );
  assert.equal(
    traceLine(
      record({ name: 'leaf 99', result: '#GP(0)', check: 'ENCLU.leaf-supported', requires: 'it exists' }),
    ),
    'enclave 2, thread 3: leaf 99(RBX=0x1000, RCX=0xffffffffffffffff, RDX=0x0) = #GP(0); refused by ENCLU.leaf-supported: it exists',
  );
  assert.match(
    traceLine(record({ result: 'REFUSED', check: 'EADD.page-owned', requires: 'x', deviation: true })),
    /refused by EADD\.page-owned: x \(a check of this platform, not the manual's\)$/,
  );
  assert.equal(traceLine({ lost: 7 }, { pid: 12 }), 'pid 12 7 records lost: the tracer was too slow');
  assert.match(traceLine(record(), { times: { from: 1_000_000 } }), /^1\.000000 enclave .* <1\.3 µs>$/);
});

test('every leaf and call has names for its operands', () => {
  assert.ok(TRACE_NAMES.length > 25);
  assert.deepEqual(describe('encls', 'EADD').operands, ['PAGEINFO', 'EPC page', undefined]);
  assert.deepEqual(describe('svsm', 'EVICT').operands, ['SECS', 'list', 'count']);
});

test('records and figures of a stranger are refused, not shown', () => {
  const message = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  assert.throws(() => parseMessage(new Uint8Array([1, 2])), { code: 'TRACE_RECORD' });
  const bad = { ...record(), name: '\u001b[2J' };
  assert.throws(() => parseMessage(message({ op: 'trace', records: [bad] })), { code: 'TRACE_RECORD' });
  assert.deepEqual(parseMessage(message({ op: 'trace', records: [record(), { lost: 1 }] })), {
    op: 'trace',
    records: [record(), { lost: 1 }],
  });
  assert.throws(() => parseSample({ clock: 1 }), { code: 'STATS_UNREADABLE', message: /machine/ });
});

test('sums and rates', () => {
  const summary = new Summary();
  summary.add(record({ microseconds: 10 }));
  summary.add(record({ microseconds: 30, result: '#GP(0)' }));
  summary.add(record({ name: 'EREPORT', microseconds: 60 }));
  const rows = summary.rows(2e9);
  assert.deepEqual(rows[1], { name: 'EGETKEY', calls: 2, refused: 1, microseconds: 40, cycles: 40_000 });
  assert.deepEqual(summaryCells(rows)[0], ['60.0 %', '60.0', '120,000', '1', '', 'EREPORT']);
  const machine = { epc: { frames: 10, used: 5 }, calls: 9, leaves: {} };
  const enclave = (eenter: number, pf: number) => ({
    id: 1,
    owner: 1,
    state: 'running',
    pid: 1,
    pages: 4,
    threads: 1,
    mrenclave: 'ab',
    transitions: { eenter, eresume: 0, eexit: 0, aex: pf === 0 ? {} : { '#PF': pf } },
    leaves: {},
    paging: { evicted: 2 * pf, loaded: pf },
  });
  const before = parseSample({ clock: 1000, machine, enclaves: [enclave(10, 0)] });
  const now = parseSample({ clock: 3000, machine, enclaves: [enclave(30, 4)] });
  const [rate] = rates(before, now);
  assert.deepEqual([rate?.entries, rate?.aex, rate?.epcFaults, rate?.evicted], [10, { '#PF': 2 }, 2, 4]);
  assert.equal(rates({ ...before, enclaves: [] }, now)[0]?.entries, 15);
});
