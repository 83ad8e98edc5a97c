import assert from 'node:assert/strict';
import { constants, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { afterEach, describe, test } from 'node:test';
import { nodeCrypto } from '../src/crypto/node.js';
import { portableCrypto } from '../src/crypto/portable.js';
import { type CryptoProvider, crypto, type EcKey, useCrypto } from '../src/crypto/provider.js';
import { digest, parsePublicKey, verifyEcdsa } from '../src/x509/keys.js';
import { fromBase64 } from '../src/x509/pem.js';
import { forgetSignatures, verifyAuthorityP256 } from '../src/x509/remembered.js';

const PROVIDERS: readonly CryptoProvider[] = [nodeCrypto, portableCrypto];
const concat = (...parts: Uint8Array[]) => new Uint8Array(Buffer.concat(parts));
const spki = (key: KeyObject) => new Uint8Array(key.export({ type: 'spki', format: 'der' }));
const CURVES = [
  ['P-256', 'SHA-256', 'sha256'],
  ['P-384', 'SHA-384', 'sha384'],
  ['P-256', 'SHA-384', 'sha384'],
] as const;

describe('crypto providers', () => {
  afterEach(() => useCrypto(null));

  test("Node's own is the default here, and another can be put in its place", () => {
    assert.equal(crypto().name, 'node');
    useCrypto(portableCrypto);
    assert.equal(crypto().name, 'portable');
    assert.equal(Buffer.from(digest('SHA-384', new Uint8Array(3))).length, 48);
    useCrypto(null);
    assert.equal(crypto().name, 'node');
  });

  test('both take ECDSA signatures that OpenSSL made, with high s and low s, and nothing else', () => {
    for (const [curve, hash, name] of CURVES) {
      const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: curve });
      const key = parsePublicKey(spki(publicKey));
      assert.ok(key.kind === 'ec');
      const size = (key.point.length - 1) / 2;
      const other: EcKey = { curve, point: key.point.slice() };
      other.point[size]! ^= 1;
      const seen = new Set<boolean>();
      for (let i = 0; i < 12; i++) {
        const data = new Uint8Array(randomBytes(100));
        const signature = new Uint8Array(sign(name, data, { key: privateKey, dsaEncoding: 'ieee-p1363' }));
        seen.add(signature[size]! >= 0x80);
        for (const provider of PROVIDERS) {
          assert.equal(provider.verifyEcdsa(key, hash, signature, data), true, `${provider.name} ${curve}`);
          const bad = signature.slice();
          bad[i]! ^= 1;
          assert.equal(provider.verifyEcdsa(key, hash, bad, data), false);
          assert.equal(provider.verifyEcdsa(key, hash, signature, data.subarray(1)), false);
          assert.equal(provider.verifyEcdsa(other, hash, signature, data), false, 'off the curve');
          for (const fill of [0, 0xff])
            assert.equal(provider.verifyEcdsa(key, hash, new Uint8Array(2 * size).fill(fill), data), false);
          assert.equal(provider.verifyEcdsa(key, hash, signature.subarray(1), data), false);
          assert.equal(verifyEcdsa(key, hash, signature.subarray(2), data), false);
        }
      }
      assert.equal(seen.size, 2, 'both halves of the range were tried');
    }
  });

  test('both take RSA-PSS with SHA-384 and a salt of 48 bytes, at sizes that end inside a byte too', () => {
    for (const modulusLength of [2048, 3072, 4096, 2049, 2056]) {
      const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength });
      const jwk = publicKey.export({ format: 'jwk' });
      const key = {
        modulus: new Uint8Array(Buffer.from(jwk.n!, 'base64url')),
        exponent: new Uint8Array(Buffer.from(jwk.e!, 'base64url')),
      };
      const data = new Uint8Array(randomBytes(1000));
      const made = (hash: string, saltLength: number) =>
        new Uint8Array(
          sign(hash, data, { key: privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength }),
        );
      const good = made('sha384', 48);
      for (const provider of PROVIDERS) {
        const label = `${provider.name} ${modulusLength}`;
        assert.equal(provider.verifyRsaPss(key, good, data), true, label);
        assert.equal(provider.verifyRsaPss(key, made('sha384', 32), data), false, `${label}: short salt`);
        assert.equal(provider.verifyRsaPss(key, made('sha256', 48), data), false, `${label}: other hash`);
        assert.equal(provider.verifyRsaPss(key, good, data.subarray(1)), false, label);
        assert.equal(provider.verifyRsaPss(key, good.subarray(1), data), false, label);
        assert.equal(provider.verifyRsaPss(key, new Uint8Array(good.length).fill(0xff), data), false, label);
        assert.equal(provider.verifyRsaPss(key, new Uint8Array(good.length), data), false, label);
        for (let at = 0; at < good.length; at += 37) {
          const bad = good.slice();
          bad[at]! ^= 0x10;
          assert.equal(provider.verifyRsaPss(key, bad, data), false, `${label}, byte ${at}`);
        }
      }
    }
  });

  test('good signatures of authorities are remembered, bad ones and other providers are not', () => {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const key = parsePublicKey(spki(publicKey));
    const data = new Uint8Array(randomBytes(64));
    const signature = new Uint8Array(sign('sha256', data, { key: privateKey, dsaEncoding: 'ieee-p1363' }));
    let verified = 0;
    const counting = (): CryptoProvider => ({
      ...nodeCrypto,
      verifyEcdsa(...given) {
        verified++;
        return nodeCrypto.verifyEcdsa(...given);
      },
    });
    useCrypto(counting());
    const check = (change = (_: Uint8Array[]) => {}) => {
      const parts = [signature.slice(), data.slice()];
      change(parts);
      verified = 0;
      return [verifyAuthorityP256(key, parts[0]!, parts[1]!), verified];
    };
    assert.deepEqual(check(), [true, 1]);
    assert.deepEqual(check(), [true, 0]);
    for (let i = 0; i < 2; i++) {
      assert.deepEqual(
        check(([value]) => {
          value![5]! ^= 1;
        }),
        [false, 1],
      );
      assert.deepEqual(
        check(([, value]) => {
          value![5]! ^= 1;
        }),
        [false, 1],
      );
      // The same bytes, with the border between signature and data elsewhere.
      assert.equal(verifyAuthorityP256(key, concat(signature, data.subarray(0, 1)), data.subarray(1)), false);
    }
    forgetSignatures();
    assert.deepEqual(check(), [true, 1]);
    useCrypto(counting());
    assert.deepEqual(check(), [true, 1]);
    const other = parsePublicKey(spki(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey));
    assert.equal(verifyAuthorityP256(other, signature, data), false);
  });

  test('base64 is the standard one, whole and canonical', () => {
    for (let length = 0; length < 70; length++) {
      const bytes = randomBytes(length);
      const text = bytes.toString('base64');
      assert.deepEqual(Buffer.from(fromBase64(text)!), bytes);
      assert.deepEqual(Buffer.from(fromBase64(` ${text.replaceAll(/(.{7})/g, '$1\r\n')}\t`)!), bytes);
      if (length > 0) assert.equal(fromBase64(text.slice(0, -1)), null);
    }
    for (const text of [
      'AA',
      'AAA',
      'A===',
      'AB==',
      'AAB=',
      'AA=A',
      'AA==AAAA',
      'AA-_',
      'AAA\u0100',
      '====',
      'AAAA=',
    ]) {
      assert.equal(fromBase64(text), null, text);
    }
  });
});
