import assert from 'node:assert/strict';
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';
import test from 'node:test';
import {
  NsgxError as Base,
  type NsgxError,
  SIGSTRUCT,
  sigstructSigningData,
  verifySigstruct,
} from '@nestedsgx/arch';
import { nobleHash } from '@nestedsgx/arch/noble';
import { nodeHash } from '@nestedsgx/arch/node';
import fc from 'fast-check';
import { attachSignature, readSgxs, signingDigest, sigstructDate } from '../src/index.js';
import { generateKey, loadPublicModulus, loadSigningKey, signImage } from '../src/node/index.js';
import { plainSgxs, sampleRuns } from './samples.js';

const sample = plainSgxs(0x10000, 1, sampleRuns());
const image = readSgxs(sample.bytes);
const key = await generateKey();
const passphraseKey = createPrivateKey(key.privateKeyPem).export({
  type: 'pkcs8',
  format: 'pem',
  cipher: 'aes-256-cbc',
  passphrase: 'secret',
}) as string;
const pkcs1 = createPrivateKey(key.privateKeyPem).export({ type: 'pkcs1', format: 'pem' }) as string;
const pkcs1Encrypted = createPrivateKey(key.privateKeyPem).export({
  type: 'pkcs1',
  format: 'pem',
  cipher: 'aes-128-cbc',
  passphrase: 'secret',
}) as string;
const hex = (b: Uint8Array) => Buffer.from(b).toString('hex');

function refuses(f: () => unknown, code: string, message?: RegExp): void {
  assert.throws(f, (e) => {
    assert.ok(e instanceof Base, String(e));
    assert.equal((e as NsgxError).code, code, e.message);
    if (message !== undefined) assert.match(e.message, message);
    return true;
  });
}

test('a signed image has the fields asked for, and an independent verifier agrees', () => {
  const bytes = signImage(image, key.privateKeyPem, {
    isvProdId: 11,
    isvSvn: 12,
    date: '20260131',
    vendor: 0,
    swdefined: 0xdeadbeef,
    miscselect: 1,
    miscmask: 0xfffffffe,
    attributes: { FLAGS: 0x4n | 0x80n, XFRM: 7n },
    attributesMask: { FLAGS: 0xfdn, XFRM: 3n },
    isvFamilyId: new Uint8Array(16).fill(1),
    isvExtProdId: new Uint8Array(16).fill(2),
  });
  const s = SIGSTRUCT.decode(bytes);
  assert.equal(hex(s.ENCLAVEHASH), sample.mrenclave);
  assert.deepEqual(
    [s.ISVPRODID, s.ISVSVN, s.DATE, s.SWDEFINED, s.MISCSELECT, s.MISCMASK],
    [11, 12, 0x20260131, 0xdeadbeef, 1, 0xfffffffe],
  );
  assert.deepEqual(s.ATTRIBUTES, { FLAGS: 0x84n, XFRM: 7n });
  assert.deepEqual(s.ATTRIBUTEMASK, { FLAGS: 0xfdn, XFRM: 3n });
  assert.equal(s.ISVFAMILYID[0], 1);
  assert.equal(s.ISVEXTPRODID[0], 2);
  assert.ok(
    verify(
      'sha256',
      sigstructSigningData(bytes),
      createPublicKey(key.publicKeyPem),
      Buffer.from(s.SIGNATURE).reverse(),
    ),
  );
  verifySigstruct(nobleHash, bytes);
});

test('defaults: 64-bit, x87 and SSE, DEBUG and AVX left to the loader', () => {
  const s = SIGSTRUCT.decode(signImage(image, loadSigningKey(key.privateKeyPem)));
  assert.deepEqual(s.ATTRIBUTES, { FLAGS: 4n, XFRM: 3n });
  assert.equal(s.ATTRIBUTEMASK.FLAGS & 2n, 0n);
  assert.equal(s.ATTRIBUTEMASK.FLAGS, 0xffff_ffff_ffff_fffdn);
  assert.equal(s.ATTRIBUTEMASK.XFRM, 0xffff_ffff_ffff_ff1bn);
  assert.equal(s.DATE, sigstructDate(new Date()));
  const signed = readSgxs(sample.bytes, {
    sigstruct: signImage(image, key.privateKeyPem, { miscselect: 1 }),
  });
  assert.equal(signed.miscselect, 1);
  assert.deepEqual(signed.attributes, { FLAGS: 4n, XFRM: 3n });
});

test('two steps with a key kept elsewhere give the same SIGSTRUCT as one', () => {
  const options = { isvSvn: 3, date: '20260201' };
  const request = signingDigest(nodeHash, image, options);
  assert.equal(request.data.length, 256);
  assert.equal(hex(request.digest), createHash('sha256').update(request.data).digest('hex'));
  assert.equal(hex(request.mrenclave), sample.mrenclave);
  const signature = sign('sha256', request.data, createPrivateKey(key.privateKeyPem));
  const modulus = loadPublicModulus(key.publicKeyPem);
  const twoSteps = attachSignature(nodeHash, request.unsigned, modulus, signature);
  assert.equal(hex(twoSteps), hex(signImage(image, key.privateKeyPem, options)));
  const other = signingDigest(nodeHash, image, { ...options, isvSvn: 4 });
  refuses(() => attachSignature(nodeHash, other.unsigned, modulus, signature), 'SIGN_RESULT');
  refuses(() => attachSignature(nodeHash, request.unsigned, modulus, signature.subarray(1)), 'SIGSTRUCT_KEY');
});

test('options out of range are refused by name', () => {
  const bad = (options: object, message: RegExp) =>
    refuses(() => signingDigest(nodeHash, image, options), 'SIGN_OPTION', message);
  bad({ isvProdId: 65536 }, /isvProdId 65536/);
  bad({ isvSvn: -1 }, /isvSvn -1/);
  bad({ isvSvn: 1.5 }, /isvSvn/);
  bad({ swdefined: 2 ** 32 }, /swdefined/);
  bad({ miscselect: Number.NaN }, /miscselect/);
  bad({ vendor: 1 }, /vendor 0x1/);
  bad({ date: '2026-01-31' }, /date/);
  bad({ date: '20260231' }, /date/);
  bad({ date: new Date(Number.NaN) }, /date/);
  bad({ isvFamilyId: new Uint8Array(15) }, /isvFamilyId/);
  bad({ isvFamilyId: new Uint8Array(16), attributes: { FLAGS: 4n, XFRM: 3n } }, /KSS/);
  bad({ attributes: { FLAGS: 0n, XFRM: 3n } }, /MODE64BIT/);
  bad({ attributes: { FLAGS: 5n, XFRM: 3n } }, /INIT/);
  bad({ attributes: { FLAGS: 4n, XFRM: 1n } }, /XFRM/);
});

test('keys in every PEM form open to the same modulus', () => {
  const { modulus } = loadSigningKey(key.privateKeyPem);
  assert.equal(loadSigningKey(pkcs1).modulus, modulus);
  assert.equal(loadSigningKey(Buffer.from(passphraseKey), 'secret').modulus, modulus);
  assert.equal(loadSigningKey(pkcs1Encrypted, () => 'secret').modulus, modulus);
  assert.equal(loadPublicModulus(key.publicKeyPem), modulus);
  assert.equal(loadPublicModulus(key.privateKeyPem), modulus);
  let asked = 0;
  loadSigningKey(pkcs1, () => {
    asked++;
    return '';
  });
  assert.equal(asked, 0, 'a plain key asks for no passphrase');
});

test('unusable keys say what is wrong with them', async () => {
  const pem = (pair: { privateKey: KeyObject }) =>
    pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
  const short = pem(generateKeyPairSync('rsa', { modulusLength: 2048, publicExponent: 3 }));
  const exponent = pem(generateKeyPairSync('rsa', { modulusLength: 3072 }));
  const curve = pem(generateKeyPairSync('ec', { namedCurve: 'P-256' }));
  refuses(() => loadSigningKey(short), 'SIGN_KEY_SIZE', /2048 bits/);
  refuses(() => loadSigningKey(exponent), 'SIGN_KEY_EXPONENT', /65537/);
  refuses(() => loadSigningKey(curve), 'SIGN_KEY_TYPE', /ec/);
  refuses(() => loadSigningKey(key.publicKeyPem), 'SIGN_KEY_PUBLIC');
  refuses(() => loadSigningKey('no key'), 'SIGN_KEY_MALFORMED');
  refuses(
    () => loadSigningKey('-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n'),
    'SIGN_KEY_MALFORMED',
  );
  refuses(
    () => loadSigningKey(`-----BEGIN PRIVATE KEY-----${'A'.repeat(100_000)}`),
    'SIGN_KEY_MALFORMED',
    /bytes/,
  );
  refuses(() => loadSigningKey(passphraseKey), 'SIGN_KEY_PASSPHRASE', /no passphrase/);
  refuses(() => loadSigningKey(passphraseKey, 'wrong'), 'SIGN_KEY_PASSPHRASE', /does not open/);
  refuses(() => loadSigningKey(pkcs1Encrypted, 'wrong'), 'SIGN_KEY_PASSPHRASE');
  refuses(
    () => loadPublicModulus('-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n'),
    'SIGN_KEY_MALFORMED',
  );
  const locked = await generateKey({ passphrase: 'p' });
  assert.match(locked.privateKeyPem, /ENCRYPTED/);
  loadSigningKey(locked.privateKeyPem, 'p');
});

test('errors never carry the key or the passphrase', () => {
  try {
    loadSigningKey(passphraseKey, 'hunter2hunter2');
    assert.fail('the key opened');
  } catch (e) {
    const shown = `${(e as Error).message} ${(e as NsgxError).advice} ${String((e as Error).cause)}`;
    assert.doesNotMatch(shown, /hunter2|MII/);
  }
});

test('fuzz: damaged keys end in typed errors', () => {
  fc.assert(
    fc.property(fc.nat(pkcs1.length - 1), fc.nat(127), fc.nat(pkcs1.length), (at, v, cut) => {
      for (const text of [
        pkcs1.slice(0, at) + String.fromCharCode(v) + pkcs1.slice(at + 1),
        pkcs1.slice(0, cut),
      ]) {
        try {
          loadSigningKey(text, 'x');
        } catch (e) {
          assert.ok(e instanceof Base, String(e));
        }
      }
    }),
    { numRuns: Number(process.env['NSGX_FUZZ_RUNS'] ?? 60), seed: 20260111 },
  );
});
