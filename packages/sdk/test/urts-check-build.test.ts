/** Images that no processor runs, or not in this way, are refused with the status of Intel's loader. */
import assert from 'node:assert/strict';
import { sign } from 'node:crypto';
import { test } from 'node:test';
import { freshKey } from '@nestedsgx/arch/fresh-key';
import type { CssKey, SignedSo } from '@nestedsgx/image';
import { refuseUnrunnable } from '../src/urts/check-build.js';
import { sgxStatus, statusOfLoadError } from '../src/urts/sgx-status.js';

const ENCLU = [0x90, 0x0f, 0x01, 0xd7, 0x90];

const sigstruct = new Uint8Array(1808).fill(7);

function status(
  code: readonly number[],
  flags: { simulation?: boolean; encrypted?: boolean; chosen?: { fipsSignature: CssKey } },
  key = false,
) {
  const segment = { fileOffset: 0, fileSize: code.length, rva: 0, memorySize: code.length, flags: 5 };
  const source = {
    simulation: false,
    encrypted: false,
    chosen: { fipsSignature: null },
    elf: { segments: [segment] },
    patched: Uint8Array.from(code),
    ...flags,
  } as unknown as SignedSo;
  try {
    refuseUnrunnable({ source, sigstruct }, key);
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

test('the signature for FIPS mode must belong to the SIGSTRUCT', () => {
  const key = freshKey({ rsaBits: 3072, exponent: 65537 });
  const modulus = new Uint8Array(Buffer.from(String(key.export({ format: 'jwk' }).n), 'base64url')).reverse();
  const good: CssKey = {
    modulus,
    exponent: 65537,
    signature: new Uint8Array(sign('sha256', sigstruct, key)),
  };
  const fips = (fipsSignature: CssKey) => status(ENCLU, { chosen: { fipsSignature } });
  assert.equal(fips(good), null);
  const flipped = good.signature.slice();
  flipped[9] ^= 1;
  for (const bad of [
    { ...good, signature: flipped },
    { ...good, signature: new Uint8Array(384) },
    { ...good, modulus: new Uint8Array(384) },
    { ...good, exponent: 3 },
    { ...good, exponent: 0 },
  ])
    assert.equal(fips(bad), 'SGX_ERROR_INVALID_METADATA');
});
