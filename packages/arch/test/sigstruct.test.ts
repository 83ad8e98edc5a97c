import assert from 'node:assert/strict';
import { sign } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import test from 'node:test';
import fc from 'fast-check';
import { nobleHash } from '../src/hash/noble.js';
import { nodeHash } from '../src/hash/node.js';
import {
  bigintFromLE,
  bigintToLE,
  mrsigner,
  NsgxError,
  SGX_ERROR,
  SIGSTRUCT,
  SigstructError,
  type SigstructSigner,
  signSigstruct,
  sigstructQuotients,
  verifySigstruct,
} from '../src/index.js';
import { freshKey } from '../src/keys/fresh-key.js';

const folder = new URL('../../vectors/sigstruct/', import.meta.url);
const expected = JSON.parse(readFileSync(new URL('EXPECTED.json', folder), 'utf8'));
const hex = (b: Uint8Array) => Buffer.from(b).toString('hex');

test('SIGSTRUCTs of real enclaves verify and have the expected fields', () => {
  const files = readdirSync(folder).filter((f) => f.endsWith('.bin'));
  assert.equal(files.length, 16);
  for (const file of files) {
    const bytes = readFileSync(new URL(file, folder));
    const s = verifySigstruct(file.includes('pce') ? nobleHash : nodeHash, bytes);
    const want = expected[file];
    assert.equal(hex(s.ENCLAVEHASH), want.enclavehash, file);
    assert.equal(hex(mrsigner(nodeHash, s.MODULUS)), want.mrsigner, file);
    assert.equal(`0x${s.VENDOR.toString(16)}`, want.vendor);
    assert.equal(s.DATE.toString(16), want.date);
    assert.equal(s.SWDEFINED, want.swdefined);
    assert.equal(s.MISCSELECT, want.miscselect);
    assert.equal(`0x${s.MISCMASK.toString(16)}`, want.miscmask);
    assert.equal(`0x${s.ATTRIBUTES.FLAGS.toString(16)}`, want.attributes_flags);
    assert.equal(`0x${s.ATTRIBUTES.XFRM.toString(16)}`, want.attributes_xfrm);
    assert.equal(`0x${s.ATTRIBUTEMASK.FLAGS.toString(16)}`, want.attributemask_flags);
    assert.equal(`0x${s.ATTRIBUTEMASK.XFRM.toString(16)}`, want.attributemask_xfrm);
    assert.equal(s.ISVPRODID, want.isvprodid);
    assert.equal(s.ISVSVN, want.isvsvn);
    assert.equal(hex(s.ISVFAMILYID), want.isvfamilyid);
    assert.equal(hex(s.ISVEXTPRODID), want.isvextprodid);
  }
});

const key = freshKey({ rsaBits: 3072, exponent: 3 });
const modulus = BigInt(`0x${Buffer.from(key.export({ format: 'jwk' }).n!, 'base64url').toString('hex')}`);
const signer: SigstructSigner = { modulus, sign: (data) => sign('sha256', data, key) };
const signed = signSigstruct(
  {
    DATE: 0x20260131,
    ISVPRODID: 7,
    ISVSVN: 9,
    ENCLAVEHASH: new Uint8Array(32).fill(3),
    ATTRIBUTES: { FLAGS: 4n, XFRM: 3n },
  },
  signer,
);

test('what is signed verifies and keeps its fields', () => {
  const s = verifySigstruct(nodeHash, signed);
  assert.equal(s.ISVPRODID, 7);
  assert.equal(s.ISVSVN, 9);
  assert.equal(bigintFromLE(s.MODULUS), modulus);
  assert.equal(s.ATTRIBUTES.FLAGS, 4n);
});

test('Q1 and Q2 satisfy their definition', () => {
  const S = bigintFromLE(SIGSTRUCT.decode(signed).SIGNATURE);
  const { q1, q2 } = sigstructQuotients(S, modulus);
  const r1 = S * S - q1 * modulus;
  assert.ok(r1 >= 0n && r1 < modulus);
  const r2 = S * r1 - q2 * modulus;
  assert.ok(r2 >= 0n && r2 < modulus);
  assert.equal(r2, S ** 3n % modulus);
  assert.equal(bigintFromLE(SIGSTRUCT.decode(signed).Q1), q1);
  assert.equal(bigintFromLE(SIGSTRUCT.decode(signed).Q2), q2);
});

function refusal(change: (b: Uint8Array) => void): SigstructError {
  const b = signed.slice();
  change(b);
  try {
    verifySigstruct(nodeHash, b);
  } catch (e) {
    assert.ok(e instanceof SigstructError, String(e));
    return e;
  }
  throw new assert.AssertionError({ message: 'the SIGSTRUCT was accepted' });
}

test('each check names the field it refuses', () => {
  const cases: [string, number, (b: Uint8Array) => void][] = [
    [
      'HEADER',
      SGX_ERROR.SGX_INVALID_SIG_STRUCT,
      (b) => {
        b[0] ^= 1;
      },
    ],
    [
      'VENDOR',
      SGX_ERROR.SGX_INVALID_SIG_STRUCT,
      (b) => {
        b[16] = 1;
      },
    ],
    [
      'HEADER2',
      SGX_ERROR.SGX_INVALID_SIG_STRUCT,
      (b) => {
        b[24] ^= 1;
      },
    ],
    [
      'EXPONENT',
      SGX_ERROR.SGX_INVALID_SIG_STRUCT,
      (b) => {
        b[513] = 1;
      },
    ],
    [
      'RESERVED',
      SGX_ERROR.SGX_INVALID_SIG_STRUCT,
      (b) => {
        b[44] = 1;
      },
    ],
    [
      'RESERVED',
      SGX_ERROR.SGX_INVALID_SIG_STRUCT,
      (b) => {
        b[127] = 1;
      },
    ],
    [
      'RESERVED',
      SGX_ERROR.SGX_INVALID_SIG_STRUCT,
      (b) => {
        b[910] = 1;
      },
    ],
    [
      'RESERVED',
      SGX_ERROR.SGX_INVALID_SIG_STRUCT,
      (b) => {
        b[992] = 1;
      },
    ],
    [
      'RESERVED',
      SGX_ERROR.SGX_INVALID_SIG_STRUCT,
      (b) => {
        b[1028] = 1;
      },
    ],
    [
      'CET_ATTRIBUTES',
      SGX_ERROR.SGX_INVALID_SIG_STRUCT,
      (b) => {
        b[908] = 1;
      },
    ],
    [
      'CET_ATTRIBUTES_MASK',
      SGX_ERROR.SGX_INVALID_SIG_STRUCT,
      (b) => {
        b[909] = 1;
      },
    ],
    ['MODULUS', SGX_ERROR.SGX_INVALID_SIGNATURE, (b) => b.fill(0, 128, 512)],
    ['SIGNATURE', SGX_ERROR.SGX_INVALID_SIGNATURE, (b) => b.fill(0xff, 516, 900)],
    [
      'SIGNATURE',
      SGX_ERROR.SGX_INVALID_SIGNATURE,
      (b) => {
        b[960] ^= 1;
      },
    ],
    [
      'SIGNATURE',
      SGX_ERROR.SGX_INVALID_SIGNATURE,
      (b) => {
        b[1024] ^= 1;
      },
    ],
    [
      'Q1',
      SGX_ERROR.SGX_INVALID_SIGNATURE,
      (b) => {
        b[1040] ^= 1;
      },
    ],
    [
      'Q2',
      SGX_ERROR.SGX_INVALID_SIGNATURE,
      (b) => {
        b[1424] ^= 1;
      },
    ],
  ];
  for (const [field, code, change] of cases) {
    const e = refusal(change);
    assert.equal(e.field, field);
    assert.equal(e.sgxError, code);
  }
});

test('a signature with right quotients but other padding is refused', () => {
  // Forge: an S whose cube ends in the right digest but whose padding is wrong has consistent Q1, Q2.
  const S = (modulus - 12345n) / 7n;
  const { q1, q2 } = sigstructQuotients(S, modulus);
  const e = refusal((b) =>
    SIGSTRUCT.patch({ SIGNATURE: bigintToLE(S, 384), Q1: bigintToLE(q1, 384), Q2: bigintToLE(q2, 384) }, b),
  );
  assert.equal(e.field, 'SIGNATURE');
  for (const S of [0n, 1n]) {
    const forged = refusal((b) =>
      SIGSTRUCT.patch({ SIGNATURE: bigintToLE(S, 384), Q1: new Uint8Array(384), Q2: new Uint8Array(384) }, b),
    );
    assert.equal(forged.field, 'SIGNATURE');
  }
});

test('signatures and moduli of wrong sizes are refused when signing', () => {
  const code = (f: () => unknown) =>
    assert.throws(f, (e) => e instanceof NsgxError && e.code === 'SIGSTRUCT_KEY');
  code(() => signSigstruct({}, { modulus: 1n << 2047n, sign: () => new Uint8Array(384) }));
  code(() => signSigstruct({}, { modulus, sign: () => new Uint8Array(256) }));
  code(() => signSigstruct({}, { modulus, sign: () => new Uint8Array(384).fill(0xff) }));
  code(() => mrsigner(nodeHash, new Uint8Array(383)));
});

test('fuzz: any change of one byte is refused with a typed error', () => {
  fc.assert(
    fc.property(fc.nat(1807), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const b = signed.slice();
      b[at] ^= flip;
      assert.throws(() => verifySigstruct(nodeHash, b), NsgxError);
    }),
    { numRuns: Number(process.env['NSGX_FUZZ_RUNS'] ?? 100), seed: 20260102 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), (b) => {
      assert.throws(() => verifySigstruct(nodeHash, b), NsgxError);
    }),
    { numRuns: Number(process.env['NSGX_FUZZ_RUNS'] ?? 100), seed: 20260103 },
  );
});
