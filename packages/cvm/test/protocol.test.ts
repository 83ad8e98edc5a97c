import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NsgxError } from '@nestedsgx/arch';
import fc from 'fast-check';
import { parseConfiguration } from '../src/configuration.js';
import { encodeMessage, parseRequest } from '../src/control/protocol.js';

const seed = Number(process.env.NSGX_SEED ?? 1);
const numRuns = Number(process.env.NSGX_FUZZ_RUNS ?? 500);
const text = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

test('requests are read strictly', () => {
  assert.deepEqual(parseRequest(text({ op: 'attach', slice: 0, epc: 4096 })), {
    op: 'attach',
    slice: 0,
    epc: 4096,
  });
  assert.deepEqual(parseRequest(encodeMessage({ op: 'info' })), { op: 'info' });
  assert.deepEqual(parseRequest(text({ op: 'trace', failed: true, leaves: ['EADD'], enclave: 2 })), {
    op: 'trace',
    failed: true,
    leaves: ['EADD'],
    enclave: 2,
  });
  const wrong = [
    { op: 'trace', leaves: 'EADD' },
    { op: 'trace', leaves: new Array(65).fill('EADD') },
    { op: 'trace', enclave: -1 },
    { op: 'stats', owner: 1 },
    {},
    null,
    [],
    { op: 'attach' },
    { op: 'attach', slice: -1, epc: 0 },
    { op: 'attach', slice: 1.5, epc: 0 },
    { op: 'attach', slice: 0, epc: 0, more: 1 },
    { op: 'stop', force: true },
    { op: 'toString' },
    { op: 'grants' },
    { op: 'grants', secs: -4096 },
    { op: 'grants', secs: 2 ** 60 },
  ];
  for (const value of wrong)
    assert.throws(() => parseRequest(text(value)), { code: 'CVM_REQUEST_INVALID' }, JSON.stringify(value));
});

test('random bytes and random JSON give the typed error or a valid request, never anything else', () => {
  const bytes = fc.uint8Array({ maxLength: 200 });
  const json = fc.json().map((value) => new TextEncoder().encode(value));
  fc.assert(
    fc.property(fc.oneof(bytes, json), (input) => {
      try {
        assert.ok(typeof parseRequest(input).op === 'string');
      } catch (error) {
        assert.ok(error instanceof NsgxError && error.code === 'CVM_REQUEST_INVALID');
      }
    }),
    { seed, numRuns },
  );
});

test('a configuration is refused by the field that is wrong', () => {
  const good = {
    format: 1,
    isolation: 'same-user',
    lifetime: 'host',
    ramBytes: 2 ** 30,
    ramSlot: null,
    window: null,
    epcBytes: 2 ** 30,
    stateDir: null,
    patch: true,
    launchSigners: [],
    hostDescriptors: true,
  };
  assert.deepEqual(parseConfiguration(text(good)), good);
  const field = (change: object, name: string) =>
    assert.throws(() => parseConfiguration(text({ ...good, ...change })), {
      code: 'CVM_CONFIGURATION_INVALID',
      message: new RegExp(name),
    });
  field({ isolation: 'sev-snp' }, 'isolation');
  field({ ramBytes: 4097 }, 'ramBytes');
  field({ epcBytes: -4096 }, 'epcBytes');
  field({ window: { gpa: 2 ** 27 + 4096, bytes: 2 ** 26 } }, 'window.gpa');
  field({ launchSigners: ['ab'] }, 'launchSigners.0');
  field({ launchSigners: ['b'.repeat(64), 'a'.repeat(64)] }, 'launchSigners');
  field({ launchSigners: ['a'.repeat(64), 'a'.repeat(64)] }, 'launchSigners');
  field({ surprise: 1 }, 'surprise|configuration');
});
