/** What a `.signed.so` was built for: found in the file, and only where it counts. */
import assert from 'node:assert/strict';
import test from 'node:test';
import {
  containsEnclu,
  elfSymbols,
  enclaveConfig,
  loadSignedSo,
  type SignedSo,
  trustedRuntimeVersion,
} from '../src/index.js';
import { signSharedObject } from '../src/node/index.js';
import { TEST_DATE, TEST_KEY } from './signed-so-expected.js';
import { ENTRY, GLOBAL_DATA_FILE, unsignedSo } from './unsigned-so-samples.js';

const ENCLU = Buffer.from([0x0f, 0x01, 0xd7]);
const SYMBOLS = ['enclave_entry', 'g_global_data', 'optional~'];

function source(symbols: readonly string[], change: (file: Buffer) => void = () => undefined): SignedSo {
  const file = unsignedSo({ symbols });
  change(file);
  return loadSignedSo(signSharedObject(file, enclaveConfig({}), TEST_KEY, { date: TEST_DATE })).source;
}

test('an enclave built for simulation exports the symbol of its runtime', () => {
  assert.equal(source(SYMBOLS).simulation, false);
  assert.equal(source([...SYMBOLS, 'g_global_data_sim']).simulation, true);
  assert.equal(source([...SYMBOLS, 'g_global_data_sim~']).simulation, false, 'merely referred to');
  assert.equal(source([...SYMBOLS, 'g_global_data_simulated']).simulation, false, 'another name');
});

test('an image encrypted for the protected code loader has its table as a section', () => {
  const encrypted = (sections: readonly string[]) =>
    loadSignedSo(
      signSharedObject(unsignedSo({ symbols: SYMBOLS, sections }), enclaveConfig({}), TEST_KEY, {
        date: TEST_DATE,
      }),
    ).source.encrypted;
  assert.equal(encrypted([]), false);
  assert.equal(encrypted(['.pcltbl']), true);
  assert.equal(encrypted(['.pcltbl2']), false);
});

test('symbols are those that the file defines, with their places', () => {
  const symbols = [...elfSymbols(unsignedSo({ symbols: SYMBOLS }), 'dynsym')];
  assert.deepEqual(
    symbols.map(({ name }) => name),
    ['enclave_entry', 'g_global_data'],
  );
  assert.equal(symbols[0]?.address, BigInt(ENTRY));
  assert.deepEqual([...elfSymbols(unsignedSo({ symbols: SYMBOLS }), 'symtab')], []);
});

test('ENCLU counts in executable segments only, also at their very end', () => {
  assert.equal(containsEnclu(source(SYMBOLS)), false);
  const at = (offset: number) => source(SYMBOLS, (file) => ENCLU.copy(file, offset));
  assert.equal(containsEnclu(at(ENTRY)), true);
  assert.equal(containsEnclu(at(0x1800 - 3)), true);
  assert.equal(containsEnclu(at(0x1800 - 2)), false, 'it would reach over the end of the segment');
  assert.equal(containsEnclu(at(GLOBAL_DATA_FILE + 0x800)), false, 'data');
});

test("the runtime's release is read from the text that its libraries carry", () => {
  const version = (text: string) =>
    trustedRuntimeVersion(source(SYMBOLS, (file) => void file.write(text, 0x1000, 'latin1')));
  assert.equal(version(''), null);
  assert.equal(version('SGX_TRTS_VERSION_2.26.100.0\0'), '2.26.100.0');
  assert.equal(version('SGX_TSTDC_VERSION_2.12.100.3\0SGX_TRTS_VERSION_1.9.100.39124\0'), '1.9.100.39124');
  assert.equal(version('SGX_TSTDC_VERSION_2.12.100.3\0'), '2.12.100.3');
  assert.equal(version('SGX_TRTS_VERSION_none'), null);
});
