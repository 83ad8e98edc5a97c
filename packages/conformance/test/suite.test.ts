import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ALL_CASES,
  CONFORMANCE_ERRORS,
  type ConformanceCase,
  conformanceDocument,
  LinuxPlatform,
  type Platform,
  runSuite,
} from '../src/index.js';

const bare = (name: string): Platform => ({
  name,
  features: new Set(),
  allocate: (bytes) => ({ address: 0, bytes: new Uint8Array(bytes) }),
  open: () => assert.fail('no case of this test opens an enclave'),
  close: async () => undefined,
});
const one = (more: Partial<ConformanceCase>): ConformanceCase => ({
  leaf: 'EENTER',
  id: 'x',
  title: 'x',
  run: () => undefined,
  ...more,
});
const verdicts = async (name: string, cases: ConformanceCase[]) =>
  (await runSuite(bare(name), { cases })).map(({ verdict }) => verdict);

test('a case fails by throwing, and is skipped where a feature is missing', async () => {
  const fails = one({ run: () => assert.fail('no') });
  assert.deepEqual(await verdicts('other', [one({}), fails, one({ needs: ['sgx2'] })]), [
    'passed',
    'failed',
    'skipped',
  ]);
});

test('a deviation counts on the software machine only, and only while it is one', async () => {
  const deviation = 'native-instructions';
  const cases = [one({ deviation, run: () => assert.fail('no') }), one({ deviation })];
  assert.deepEqual(await verdicts('software', cases), ['deviation', 'failed']);
  assert.deepEqual(await verdicts('/dev/sgx_enclave', cases), ['failed', 'passed']);
});

test('what a case opened is closed, also when it fails', async () => {
  let closed = 0;
  const run: ConformanceCase['run'] = (c) => {
    c.closing({ close: () => closed++ });
    c.closing({ close: () => closed++ });
    assert.fail('no');
  };
  await verdicts('other', [one({ run })]);
  assert.equal(closed, 2);
});

test('hardware that is not there is a typed error', () => {
  assert.throws(
    () => new LinuxPlatform('/dev/no-such-sgx-device'),
    (error: unknown) => (error as { code: string }).code in CONFORMANCE_ERRORS,
  );
});

test('the document names every case', () => {
  const text = conformanceDocument(ALL_CASES);
  for (const { title } of ALL_CASES) assert.ok(text.includes(title), title);
});
