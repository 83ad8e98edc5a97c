/** The contract of the command line: help with examples, one JSON document, exit codes, errors in two sentences. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { sampleImage } from '../../src/index.js';
import { until } from './observe.js';

const NSGX = fileURLToPath(new URL('../../../bin/nsgx.mjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'nsgx-cli-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const calc = sampleImage('calc');

interface Outcome {
  status: number | null;
  stdout: string;
  stderr: string;
}

function nsgx(...args: string[]): Promise<Outcome> {
  const child = spawn(process.execPath, [NSGX, ...args], {
    cwd: folder,
    env: { ...process.env, NSGX_HOME: join(folder, 'home'), NO_COLOR: '1' },
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

/** The one JSON document that a command printed. */
async function json(
  ...args: string[]
): Promise<{ status: number | null; document: Record<string, unknown> }> {
  const { status, stdout, stderr } = await nsgx(...args, '--json');
  try {
    return { status, document: JSON.parse(stdout) };
  } catch {
    throw new Error(`nsgx ${args.join(' ')} printed ${JSON.stringify(stdout)} (${stderr})`);
  }
}

test('every command has help with an example', async () => {
  const { status, stdout } = await nsgx('--help');
  assert.equal(status, 0);
  const list = stdout.slice(stdout.indexOf('Commands:'), stdout.indexOf('Examples:'));
  const commands = [...list.matchAll(/^ {2}(\w+) /gm)]
    .map((match) => match[1])
    .filter((name) => name !== 'help');
  assert.ok(commands.length >= 13, commands.join());
  for (const name of [
    'demo',
    'doctor',
    'new',
    'build',
    'sign',
    'inspect',
    'measure',
    'run',
    'attest',
    'verify',
  ])
    assert.ok(commands.includes(name), name);
  for (const command of [...commands.map((name) => [name]), ['cvm', 'start']]) {
    const help = await nsgx(...command, '--help');
    assert.equal(help.status, 0, command.join(' '));
    assert.match(help.stdout, /Usage: nsgx/);
    assert.match(help.stdout, new RegExp(`Examples?:\\n[\\s\\S]*\\$ nsgx ${command[0]}`), command.join(' '));
    assert.equal(help.stderr, '');
  }
});

test('measure, inspect, sign: fields that scripts lean on', async () => {
  const hex = (bytes: number) => new RegExp(`^[0-9a-f]{${bytes * 2}}$`);
  const image = await json('measure', calc);
  assert.equal(image.status, 0);
  assert.match(String(image.document.mrenclave), hex(32));
  const machine = await json('measure', '--cvm');
  assert.match(String(machine.document.launchDigest), hex(48));
  for (const component of machine.document.components as { name: string; sha384: string }[]) {
    assert.equal(typeof component.name, 'string');
    assert.match(component.sha384, hex(48));
  }
  const inspected = await json('inspect', calc);
  assert.equal(inspected.status, 0);
  const { format, mrenclave, mrsigner, isvProdId, isvSvn, attributes, miscselect, size, tcs } =
    inspected.document;
  assert.equal(format, 'sgxs');
  assert.equal(mrenclave, image.document.mrenclave);
  assert.match(String(mrsigner), hex(32));
  assert.match(String(attributes), hex(16));
  for (const number of [isvProdId, isvSvn, miscselect, size, tcs]) assert.equal(typeof number, 'number');
  assert.equal((await json('inspect', calc.replace(/sgxs$/, 'sig'))).document.format, 'sigstruct');
});

test('run, attest, verify: a machine in one command, and the exit code of a rejection', async () => {
  const run = await json('run', calc, 'add', '2', '3', '--fresh');
  assert.deepEqual([run.status, run.document.result], [0, 5]);
  const human = await nsgx('run', calc, 'greet', '--ocall', 'host_name=shell', '--fresh');
  assert.equal(human.status, 0, human.stderr);
  assert.match(human.stdout, /shell/);
  const attest = await json('attest', calc, '--report-data', '0102', '--policy-out', 'p.json', '--fresh');
  assert.equal(attest.status, 0);
  const inspected = await json('inspect', 'evidence.bin');
  assert.match(String(inspected.document.format), /^(quote|evidence)$/);
  const accepted = await json('verify', 'evidence.bin', '--policy', 'p.json', '--report-data', '0102');
  assert.deepEqual([accepted.status, accepted.document.verdict], [0, 'accepted']);
  const checks = accepted.document.checks as { id: string; status: string; detail: string }[];
  for (const id of [
    'quote.signature',
    'snp.signature',
    'snp.launch-digest',
    'enclave.mrenclave',
    'report-data',
  ])
    assert.equal(checks.find((check) => check.id === id)?.status, 'ok', id);
  assert.equal(typeof accepted.document.claims, 'object');
  const wrong = await json('verify', 'evidence.bin', '--policy', 'p.json', '--report-data', '0103');
  assert.deepEqual([wrong.status, wrong.document.verdict], [1, 'rejected']);
  const unpinned = await json('verify', 'evidence.bin');
  assert.deepEqual([unpinned.status, unpinned.document.verdict], [1, 'rejected']);
  const bytes = readFileSync(join(folder, 'evidence.bin'));
  bytes[500] ^= 1;
  writeFileSync(join(folder, 'changed.bin'), bytes);
  assert.equal(
    (await nsgx('verify', 'changed.bin', '--policy', 'p.json', '--report-data', '0102')).status,
    1,
  );
});

test('errors: exit code 1 or 2, nothing on stdout, a sentence with its code on stderr, no stack', async () => {
  writeFileSync(join(folder, 'garbage.sgxs'), 'not an enclave');
  writeFileSync(join(folder, 'garbage.json'), '{"version":1,"nested":{"unknown":1}}');
  writeFileSync(join(folder, 'garbage.bin'), Buffer.alloc(3000, 7));
  const failures: [number, string[]][] = [
    [1, ['run', 'garbage.sgxs', 'add', '--fresh']],
    [1, ['run', '/nowhere.sgxs', 'add', '--fresh']],
    [1, ['measure', 'garbage.sgxs']],
    [1, ['inspect', '/nowhere']],
    [1, ['inspect', 'garbage.bin']],
    [1, ['verify', '/nowhere']],
    [1, ['verify', 'garbage.bin', '--policy', 'garbage.json']],
    [1, ['cvm', 'info', '--socket', join(folder, 'nobody.sock')]],
    [1, ['sign', calc, '--key', '/nowhere.pem']],
    [2, ['run', calc, 'no_such_function', '--fresh']],
    [2, ['run', calc, 'add', '2', '--fresh']],
    [2, ['run', calc, 'add', '2', 'three', '--fresh']],
    [2, ['run']],
    [2, ['no-such-command']],
    [2, ['measure', '--no-such-option']],
    [2, ['measure']],
    [2, ['cvm', 'start', '--ram', 'much']],
    [2, ['measure', '--cvm', '--isolation', 'none']],
    [2, ['verify', 'garbage.bin', '--time', 'yesterday']],
    [2, ['attack', 'no-such-attack']],
    [2, ['bench', 'no-such-bench']],
  ];
  for (const [status, args] of failures) {
    const said = await nsgx(...args);
    const all = `nsgx ${args.join(' ')}: ${JSON.stringify(said)}`;
    assert.equal(said.status, status, all);
    assert.equal(said.stdout, '', all);
    assert.ok(said.stderr.length > 10 && said.stderr.length < 2000, all);
    assert.doesNotMatch(said.stderr, /^\s+at .*:\d+:\d+/m, all);
  }
  const verbose = await nsgx('run', '/nowhere.sgxs', 'add', '--fresh', '--verbose');
  assert.match(verbose.stderr, /^\s+at /m);
});

test('cvm start, info, ps, stop: a machine that outlives the command', async () => {
  const socket = join(folder, 'm.sock');
  const started = await json('cvm', 'start', '--socket', socket, '--ram', '128', '--epc', '64');
  assert.equal(started.status, 0);
  try {
    const info = await json('cvm', 'info', '--socket', socket);
    assert.equal(info.document.launchDigest, started.document.launchDigest);
    assert.match(String(info.document.rootFingerprint), /^[0-9a-f]{64}$/);
    assert.deepEqual((await json('cvm', 'ps', '--socket', socket)).document.enclaves, []);
    const run = await json('run', calc, 'add', '2', '3', '--socket', socket);
    assert.deepEqual([run.status, run.document.result], [0, 5]);
    assert.deepEqual((await json('cvm', 'ps', '--socket', socket)).document.enclaves, []);
    const second = await nsgx('cvm', 'start', '--socket', socket);
    assert.equal(second.status, 1, 'the socket is taken');
    assert.equal(second.stdout, '');
  } finally {
    assert.equal((await json('cvm', 'stop', '--socket', socket)).status, 0);
  }
  assert.notEqual(
    await until(async () => (await nsgx('cvm', 'info', '--socket', socket)).status === 1, 3000),
    null,
  );
});
