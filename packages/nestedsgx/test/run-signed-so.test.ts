/** `nsgx run` with a `.signed.so` and its EDL file. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { buildSmallEnclave, EDL, type SmallEnclave, withDynamicSymbol } from './small-enclave.js';

const NSGX = fileURLToPath(new URL('../../bin/nsgx.mjs', import.meta.url));
let small: SmallEnclave;
before(async () => {
  small = await buildSmallEnclave();
});
after(() => small.remove());

function run(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [NSGX, 'run', '--fresh', ...args], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  return { status, stdout, stderr };
}

function answer(...args: string[]): unknown {
  const { status, stdout, stderr } = run('--json', small.file, ...args);
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout);
}

test('arguments are JSON, results are told as JSON and to people', () => {
  assert.deepEqual(answer('ecall_add', '2', '3'), { result: 5 });
  assert.deepEqual(answer('ecall_reverse', '010203', '3'), { result: null, out: { bytes: '030201' } });
  assert.deepEqual(answer('ecall_reverse', '{"base64": "AQID"}', '3'), {
    result: null,
    out: { bytes: '030201' },
  });
  assert.deepEqual(answer('ecall_sum', '[1, 2, 0x]'.replace('0x', '39'), '3'), { result: 42 });
  assert.deepEqual(answer('ecall_square', '9'), { result: 1, out: { square: 81 } });
  assert.deepEqual(answer('ecall_square', '9', '-'), { result: 1, out: { square: 81 } });
  assert.deepEqual(answer('ecall_peek', '{"hex": "0a0b0c"}', '3'), { result: 12 });
  assert.deepEqual(answer('ecall_swap', '{"first": 5, "second": "6"}'), { result: { first: 6, second: 5 } });
  const { stdout } = run(small.file, '--edl', small.edl, 'ecall_square', '9');
  assert.equal(stdout, '1\nsquare: 81\n');
});

test('an OCALL that prints prints; others are told, and want a value by --ocall', () => {
  const said = run(small.file, 'ecall_say', 'hello');
  assert.deepEqual([said.status, said.stdout], [0, 'hello\n']);
  const json = run('--json', small.file, 'ecall_say', 'hello');
  assert.deepEqual([json.stdout, json.stderr], ['{"result":null}\n', 'hello']);
  const asked = run(small.file, '--ocall', 'ocall_ask=41', 'ecall_ask', '7');
  assert.deepEqual([asked.status, asked.stdout, asked.stderr], [0, '41\n', 'ocall ocall_ask(7)\n']);
  const without = run(small.file, 'ecall_ask', '7');
  assert.equal(without.stdout, '-2\n');
  assert.match(without.stderr, /--ocall ocall_ask=VALUE/);
});

test('wrong usage is refused before anything is loaded, with exit code 2', () => {
  for (const [args, message] of [
    [['ecall_none'], /has no function "ecall_none"; it has ecall_add/],
    [['ecall_add', '1'], /argument b is missing: ecall_add\(a, b\)/],
    [['ecall_add', '1', '2', '3'], /too many arguments/],
    [['ecall_add', '1', 'two'], /argument b must be an integer, not "two"/],
    [['ecall_sum', '[1,', '2'], /argument values is not JSON/],
    [['--ocall', 'ocall_none=1', 'ecall_add', '1', '2'], /has no OCALL "ocall_none"/],
    [['--ocall', 'ocall_ask=x', 'ecall_add', '1', '2'], /the result of ocall_ask must be an integer/],
  ] as const) {
    const { status, stderr, stdout } = run(small.file, ...args);
    assert.deepEqual([status, stdout], [2, ''], stderr);
    assert.match(stderr, message);
  }
});

test('without an EDL file beside it, --edl is asked for; Enclave.edl and folders of imports are found', () => {
  const other = join(small.folder, 'other');
  mkdirSync(join(other, 'include'), { recursive: true });
  const file = join(other, 'a.signed.so');
  writeFileSync(file, readFileSync(small.file));
  const { status, stderr } = run(file, 'ecall_add', '1', '2');
  assert.equal(status, 2);
  assert.match(stderr, /there is no EDL file beside .*--edl FILE/);
  writeFileSync(join(other, 'include', 'part.edl'), EDL);
  writeFileSync(join(other, 'Enclave.edl'), 'enclave { from "part.edl" import *; };');
  assert.equal(run(file, '--edl-path', join(other, 'include'), 'ecall_add', '1', '2').stdout, '3\n');
});

test('errors have their status of the SDK by name', () => {
  const refused = run(small.file, 'ecall_private');
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /SGX_ERROR_ECALL_NOT_ALLOWED/);
  const crashed = run(small.file, 'ecall_crash');
  assert.match(crashed.stderr, /sgx_status_t: SGX_ERROR_ENCLAVE_CRASHED\n.*#UD.*\[ENCLAVE_FAULT\]/);
  const simulated = join(small.folder, 'simulated.signed.so');
  writeFileSync(simulated, withDynamicSymbol(readFileSync(small.file), 'g_global_data_sim'));
  const { status, stderr } = run(simulated, '--edl', small.edl, 'ecall_add', '1', '2');
  assert.equal(status, 1);
  assert.match(stderr, /SGX_ERROR_MODE_INCOMPATIBLE.*\[IMAGE_SIMULATION\]\n.*SGX_MODE=HW/);
});
