/** A compatibility run over a folder with enclaves of every sort: none may stop the others. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  type CompatReport,
  compatMarkdown,
  type EnclaveReport,
  isWorking,
  runCompat,
} from '../src/compat/index.js';
import {
  buildSmallEnclave,
  damagedCode,
  EDL,
  type SmallEnclave,
  withDynamicSymbol,
} from './small-enclave.js';

let small: SmallEnclave;
let root: string;
let report: CompatReport;

function place(folder: string, file: Buffer, plan?: unknown): void {
  mkdirSync(join(root, folder), { recursive: true });
  writeFileSync(join(root, folder, 'a.signed.so'), file);
  writeFileSync(join(root, folder, 'Enclave.edl'), EDL);
  if (plan !== undefined) writeFileSync(join(root, folder, 'a.compat.json'), JSON.stringify(plan));
}

const SCENARIO = `export const title = 'Two of them';
export default async function (cvm, folder, check) {
  const load = () => cvm.load(folder + '/a.signed.so', { edl: folder + '/Enclave.edl' });
  const [one, two] = [await load(), await load()];
  await check('the sum goes through both', () => {
    if (two.ecalls.ecall_add(one.ecalls.ecall_add(1, 2), 3) !== 6) throw new Error('another sum');
  });
  await check('this goes wrong', () => { throw new Error('as it should'); });
}
`;

before(async () => {
  small = await buildSmallEnclave();
  root = join(small.folder, 'all');
  const file = readFileSync(small.file);
  place('told', file, {
    title: 'Told | exactly',
    ocalls: { ocall_ask: 17 },
    calls: [
      { name: 'ecall_add', args: [2, 3], id: 'sum', expect: { result: 5 } },
      { name: 'ecall_add', args: [{ from: 'sum.result' }, 1], expect: { result: 6 } },
      { name: 'ecall_reverse', args: ['0102', 2], expect: { out: { bytes: '0201' } } },
      { name: 'ecall_say', args: ['seen'], expect: { prints: 'seen' } },
      { name: 'ecall_ask', args: [1], expect: { result: 17 } },
      { name: 'ecall_crash', expect: { error: 'SGX_ERROR_ENCLAVE_CRASHED' } },
      { name: 'ecall_add', args: [1, 1], threads: 2, expect: { result: 2 } },
    ],
  });
  place('wrong', file, { calls: [{ name: 'ecall_add', args: [2, 3], expect: { result: 6 } }] });
  place('unknown', file);
  place('damaged', damagedCode(file));
  place('simulated', withDynamicSymbol(file, 'g_global_data_sim'));
  place('text', Buffer.from('no enclave at all'));
  place('plan', file, { call: [] });
  writeFileSync(join(root, 'told', 'two.compat.mjs'), SCENARIO);
  report = await runCompat(root, { callSeconds: 2 });
});
after(() => small.remove());

function of(file: string): EnclaveReport {
  const found = report.enclaves.find((one) => one.file === file);
  assert.ok(found, file);
  return found;
}

const outcomes = ({ calls }: EnclaveReport) => calls.map(({ name, outcome }) => [name, outcome]);

test('a plan is followed: results are used, compared, and failures may be what is expected', () => {
  const told = of('told/a.signed.so');
  assert.deepEqual(
    told.calls.map(({ outcome, expected, failure }) => [outcome, expected ?? failure?.message]),
    told.calls.map(({ outcome, failure }) => ['returned', outcome && failure?.message]),
  );
  assert.equal(told.calls.length, 7);
  assert.equal(told.calls[3]?.printed, 'seen');
  assert.ok(isWorking(told));
  assert.equal(told.inspection?.matches, true);
  const wrong = of('wrong/a.signed.so');
  assert.deepEqual([wrong.calls[0]?.outcome, wrong.calls[0]?.expected], ['unexpected', 'result 6']);
  assert.ok(!isWorking(wrong));
});

test('without a plan every public ECALL is tried, also after one that hangs and one that crashes', () => {
  const unknown = of('unknown/a.signed.so');
  assert.deepEqual(outcomes(unknown), [
    ['ecall_add', 'returned'],
    ['ecall_reverse', 'returned'],
    ['ecall_swap', 'returned'],
    ['ecall_square', 'returned'],
    ['ecall_sum', 'returned'],
    ['ecall_say', 'returned'],
    ['ecall_ask', 'returned'],
    ['ecall_hang', 'hung'],
    ['ecall_crash', 'failed'],
  ]);
  assert.equal(unknown.calls[8]?.failure?.status, 'SGX_ERROR_ENCLAVE_CRASHED');
  assert.deepEqual(unknown.zeros, ['ocall_ask']);
  assert.deepEqual(unknown.leftOut, [
    { name: 'ecall_peek', why: 'at is a user_check address' },
    { name: 'ecall_private', why: 'private' },
  ]);
});

test('what cannot be loaded says why, with the status of the SDK', () => {
  const damaged = of('damaged/a.signed.so');
  assert.deepEqual([damaged.loaded, damaged.inspection?.matches], [false, false]);
  assert.deepEqual(
    [damaged.failure?.code, damaged.failure?.status],
    ['SGX_IOCTL', 'SGX_ERROR_INVALID_SIGNATURE'],
  );
  const simulated = of('simulated/a.signed.so');
  assert.deepEqual([simulated.loaded, simulated.inspection?.mode], [false, 'simulation']);
  assert.equal(simulated.failure?.status, 'SGX_ERROR_MODE_INCOMPATIBLE');
  assert.equal(of('text/a.signed.so').failure?.code, 'IMAGE_ELF');
  assert.equal(of('plan/a.signed.so').failure?.code, 'COMPAT_PLAN');
});

test('a scenario makes its steps in one machine', () => {
  const two = of('told/two.compat.mjs');
  assert.deepEqual(outcomes(two), [
    ['the sum goes through both', 'returned'],
    ['this goes wrong', 'failed'],
  ]);
  assert.equal(two.title, 'Two of them');
});

test('the document tells all of this, and nothing of this machine but its processor', () => {
  const text = compatMarkdown(report);
  assert.match(text, /^Run on \d{4}-\d\d-\d\d with version/);
  assert.match(text, /7 enclaves/);
  assert.ok(text.includes('| Told \\| exactly (`told/a.signed.so`) |'), text);
  assert.match(text, /`simulated\/a\.signed\.so` .* no: SGX_ERROR_MODE_INCOMPATIBLE/);
  assert.match(text, /`ecall_hang`: with zeros no end within 2 s/);
  assert.match(text, /expected result 6, got 5/);
  assert.ok(!text.includes(root) && !text.includes(small.folder), text);
});

test('folders without enclaves are refused', async () => {
  await assert.rejects(runCompat(join(root, 'none')), { code: 'COMPAT_FOLDER' });
  mkdirSync(join(root, 'empty'));
  await assert.rejects(runCompat(join(root, 'empty')), { code: 'COMPAT_FOLDER' });
});
