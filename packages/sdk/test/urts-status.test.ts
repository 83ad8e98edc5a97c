/** Statuses against sgx_error.h of an installed SDK, where there is one, and against the guest's and the sdk's errors. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { NsgxError, SGX_ERROR } from '@nestedsgx/arch';
import { GUEST_ERRORS, SgxIoctlError } from '@nestedsgx/guest';
import { IMAGE_ERRORS } from '@nestedsgx/image';
import { SDK_ERRORS } from '../src/errors.js';
import { SGX_STATUS, SgxStatusError, sgxStatus, statusOfLoadError } from '../src/urts/sgx-status.js';

test('statuses have the numbers that programs for the SDK know', () => {
  const known = { SGX_SUCCESS: 0, SGX_ERROR_ENCLAVE_LOST: 4, SGX_ERROR_OUT_OF_TCS: 0x1003 };
  const more = {
    SGX_ERROR_OUT_OF_EPC: 0x2005,
    SGX_ERROR_MAC_MISMATCH: 0x3001,
    SGX_ERROR_FILE_CLOSE_FAILED: 0x7009,
  };
  for (const [name, number] of Object.entries({ ...known, ...more })) {
    assert.equal(SGX_STATUS[name as keyof typeof SGX_STATUS], number);
    assert.equal(sgxStatus(number).name, name);
  }
  const numbers = Object.values(SGX_STATUS);
  assert.equal(new Set(numbers).size, numbers.length);
  assert.equal(numbers.length, 74);
});

const header = join(process.env.SGX_SDK ?? '/opt/intel/sgxsdk', 'include/sgx_error.h');

test('every status of sgx_error.h, and no other', {
  skip: existsSync(header) ? false : 'no SDK is installed',
}, () => {
  const rows = readFileSync(header, 'utf8').matchAll(/^\s*(SGX_\w+)\s*=\s*SGX_MK_ERROR\((\w+)\)/gm);
  assert.deepEqual(
    Object.fromEntries([...rows].map(([, name, number]) => [name, Number(number)])),
    SGX_STATUS,
  );
});

test('each status says in plain words what it means and what to do', () => {
  const texts = new Set<string>();
  for (const number of Object.values(SGX_STATUS)) {
    const { meaning, advice } = sgxStatus(number);
    assert.match(meaning, /^[^A-Z].{10,}[^.]$|^EINIT|^EGETKEY/, meaning);
    assert.ok(advice.length >= 9 && !advice.endsWith('.'), advice);
    texts.add(meaning);
  }
  assert.equal(texts.size, Object.keys(SGX_STATUS).length, 'no two mean the same');
});

test('an error names the status, and numbers that enclave code made up stay numbers', () => {
  const cause = new Error('behind it');
  const error = new SgxStatusError(0x1003, 'ECALL ecall_run', { cause });
  assert.ok(error instanceof NsgxError);
  assert.equal(error.code, 'SGX_STATUS');
  assert.deepEqual([error.status, error.statusName, error.cause], [0x1003, 'SGX_ERROR_OUT_OF_TCS', cause]);
  assert.match(error.message, /^ECALL ecall_run failed with SGX_ERROR_OUT_OF_TCS, 0x1003: /);
  assert.match(error.advice ?? '', /TCSNum/);
  for (const odd of [-1, 7, 0xdeadbeef, 2 ** 31, Number.NaN]) {
    assert.equal(new SgxStatusError(odd, 'x').statusName, 'UNKNOWN');
    assert.ok(!new SgxStatusError(odd, 'x').message.includes('UNKNOWN'));
  }
  assert.match(new SgxStatusError(-1, 'x').message, /0xffffffff/);
});

const ioctl = (sgxCode?: number, errno: 'EPERM' | 'ENOMEM' | 'EACCES' | 'EIO' = 'EPERM') =>
  new SgxIoctlError(errno, 'EINIT', { sgxCode });
const coded = (code: string, message = 'x') => new NsgxError(code, message);

test('failures of loading are the statuses of Intel’s loader', () => {
  const rows: [unknown, keyof typeof SGX_STATUS][] = [
    [ioctl(SGX_ERROR.SGX_INVALID_SIGNATURE), 'SGX_ERROR_INVALID_SIGNATURE'],
    [ioctl(SGX_ERROR.SGX_INVALID_SIG_STRUCT), 'SGX_ERROR_INVALID_SIGNATURE'],
    [ioctl(SGX_ERROR.SGX_INVALID_MEASUREMENT), 'SGX_ERROR_INVALID_SIGNATURE'],
    [ioctl(SGX_ERROR.SGX_INVALID_ATTRIBUTE), 'SGX_ERROR_INVALID_ATTRIBUTE'],
    [ioctl(SGX_ERROR.SGX_INVALID_EINITTOKEN), 'SGX_ERROR_INVALID_LAUNCH_TOKEN'],
    [ioctl(SGX_ERROR.SGX_UNMASKED_EVENT), 'SGX_ERROR_DEVICE_BUSY'],
    [ioctl(SGX_ERROR.SGX_PG_INVLD), 'SGX_ERROR_UNEXPECTED'],
    [ioctl(undefined, 'ENOMEM'), 'SGX_ERROR_OUT_OF_EPC'],
    [ioctl(undefined, 'EACCES'), 'SGX_ERROR_SERVICE_INVALID_PRIVILEGE'],
    [ioctl(undefined, 'EIO'), 'SGX_ERROR_UNEXPECTED'],
    [coded('ENCLAVE_LOST'), 'SGX_ERROR_ENCLAVE_LOST'],
    [coded('EPC_EXHAUSTED'), 'SGX_ERROR_OUT_OF_EPC'],
    [coded('ENCLAVE_NOT_DEBUGGABLE'), 'SGX_ERROR_NDEBUG_ENCLAVE'],
    [coded('IMAGE_UNSUPPORTED', 'no such bits (SGX_ERROR_INVALID_MISC)'), 'SGX_ERROR_INVALID_MISC'],
    [coded('IMAGE_SIMULATION'), 'SGX_ERROR_MODE_INCOMPATIBLE'],
    [coded('IMAGE_NO_ENCLU'), 'SGX_ERROR_INVALID_ENCLAVE'],
    [coded('IMAGE_UNSUPPORTED', 'no such bits (SGX_ERROR_NONSENSE)'), 'SGX_ERROR_INVALID_ATTRIBUTE'],
    [coded('IMAGE_METADATA'), 'SGX_ERROR_INVALID_METADATA'],
    [new SgxStatusError(0x1006, 'x'), 'SGX_ERROR_ENCLAVE_CRASHED'],
    [new Error('around', { cause: ioctl(SGX_ERROR.SGX_INVALID_SIGNATURE) }), 'SGX_ERROR_INVALID_SIGNATURE'],
  ];
  for (const [error, name] of rows) assert.equal(statusOfLoadError(error), SGX_STATUS[name], String(error));
});

test('what is no failure of loading has no status', () => {
  const loop = new Error('loop');
  loop.cause = loop;
  const odd = Object.assign(new Error('x'), { code: 'toString' });
  for (const other of [undefined, null, 3, 'text', {}, new Error('x'), coded('SIGN_KEY_TYPE'), loop, odd])
    assert.equal(statusOfLoadError(other), undefined);
});

test('every code that the mapping names exists', () => {
  const all = { ...SDK_ERRORS, ...GUEST_ERRORS, ...IMAGE_ERRORS };
  const mapped = Object.keys(all).filter((code) => statusOfLoadError(coded(code)) !== undefined);
  for (const code of ['CVM_LOST', 'ELRANGE_EXHAUSTED', 'TCS_EXHAUSTED', 'IMAGE_ELF', 'LAUNCH_SIGNER_REFUSED'])
    assert.ok(mapped.includes(code), code);
  assert.equal(mapped.length, 32);
});
