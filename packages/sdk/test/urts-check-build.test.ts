/** Images that no processor runs, or not in this way, are refused with the status of Intel's loader. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SignedSo } from '@nestedsgx/image';
import { refuseUnrunnable } from '../src/urts/check-build.js';
import { sgxStatus, statusOfLoadError } from '../src/urts/sgx-status.js';

const ENCLU = [0x90, 0x0f, 0x01, 0xd7, 0x90];

function status(code: readonly number[], flags: { simulation?: boolean; encrypted?: boolean }, key = false) {
  const segment = { fileOffset: 0, fileSize: code.length, rva: 0, memorySize: code.length, flags: 5 };
  const source = {
    simulation: false,
    encrypted: false,
    elf: { segments: [segment] },
    patched: Uint8Array.from(code),
    ...flags,
  } as unknown as SignedSo;
  try {
    refuseUnrunnable({ source }, key);
    return null;
  } catch (error) {
    const number = statusOfLoadError(error);
    return number === undefined ? undefined : sgxStatus(number).name;
  }
}

test('simulation, code without ENCLU, and encryption without its key or the reverse', () => {
  assert.equal(status(ENCLU, {}), null);
  assert.equal(status(ENCLU, { encrypted: true }, true), null);
  assert.equal(status(ENCLU, { simulation: true }), 'SGX_ERROR_MODE_INCOMPATIBLE');
  assert.equal(status([0x0f, 0x05, 0xd7], {}), 'SGX_ERROR_INVALID_ENCLAVE');
  assert.equal(status(ENCLU, { encrypted: true }), 'SGX_ERROR_PCL_ENCRYPTED');
  assert.equal(status(ENCLU, {}, true), 'SGX_ERROR_PCL_NOT_ENCRYPTED');
});
