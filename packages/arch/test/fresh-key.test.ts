import assert from 'node:assert/strict';
import { createPublicKey, sign, verify } from 'node:crypto';
import { test } from 'node:test';
import { freshKey } from '../src/keys/fresh-key.js';

test('fresh keys are of the kind asked for, and new each time', () => {
  const rsa = freshKey({ rsaBits: 3072, exponent: 3 });
  assert.deepEqual(
    [rsa.type, rsa.asymmetricKeyType, rsa.asymmetricKeyDetails],
    ['private', 'rsa', { modulusLength: 3072, publicExponent: 3n }],
  );
  for (const [curve, named] of [
    ['P-256', 'prime256v1'],
    ['P-384', 'secp384r1'],
  ] as const) {
    const [one, other] = [freshKey({ curve }), freshKey({ curve })];
    assert.equal(one.asymmetricKeyDetails?.namedCurve, named);
    const message = new Uint8Array([1, 2, 3]);
    const signature = sign('sha256', message, one);
    assert.ok(verify('sha256', message, createPublicKey(one), signature));
    assert.ok(!verify('sha256', message, createPublicKey(other), signature));
  }
});
