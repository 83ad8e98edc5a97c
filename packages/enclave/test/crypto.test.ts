/** Cryptography, sealing and reports inside an enclave, with both the AES-NI and the portable code. */
import assert from 'node:assert/strict';
import { createCipheriv, createHash, createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { type BuildResult, buildEnclave, COMMAND, STATUS } from '../src/index.js';
import { Caller, Harness, PACKAGE, work } from './harness.js';

let probe: BuildResult;

async function fresh(missing = 0, signer = 1): Promise<Caller> {
  const harness = await Harness.load(probe, signer);
  await harness.send(`init 0 1 ${missing}`);
  return new Caller(harness, probe);
}

before(async () => {
  probe = await buildEnclave({ dir: join(PACKAGE, 'test/probe'), out: join(work, 'probe-crypto') });
});

const hex = (text: string) => Buffer.from(text, 'hex');

/** NIST GCM test cases 3, 4, 13, 14 and 16 ("The Galois/Counter Mode of Operation", appendix B). */
const PLAIN =
  'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39';
const AAD = 'feedfacedeadbeeffeedfacedeadbeefabaddad2';
const KEY = 'feffe9928665731c6d6a8f9467308308';
const NIST = [
  {
    key: KEY,
    iv: 'cafebabefacedbaddecaf888',
    aad: '',
    plain: `${PLAIN}1aafd255`,
    cipher:
      '42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985',
    tag: '4d5c2af327cd64a62cf35abd2ba6fab4',
  },
  {
    key: KEY,
    iv: 'cafebabefacedbaddecaf888',
    aad: AAD,
    plain: PLAIN,
    cipher:
      '42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091',
    tag: '5bc94fbc3221a5db94fae95ae7121a47',
  },
  {
    key: '00'.repeat(32),
    iv: '00'.repeat(12),
    aad: '',
    plain: '',
    cipher: '',
    tag: '530f8afbc74536b9a963b4f1c4cb738b',
  },
  {
    key: '00'.repeat(32),
    iv: '00'.repeat(12),
    aad: '',
    plain: '00'.repeat(16),
    cipher: 'cea7403d4d606b6e074ec5d3baf39d18',
    tag: 'd0d1c8a799996bf0265b98b5d48ab919',
  },
  {
    key: KEY + KEY,
    iv: 'cafebabefacedbaddecaf888',
    aad: AAD,
    plain: PLAIN,
    cipher:
      '522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662',
    tag: '76fc6ece0f4e1768cddf8853bb2d551b',
  },
];

for (const [name, missing] of [
  ['AES-NI and PCLMULQDQ', 0],
  ['portable code', 7],
] as const) {
  describe(`cryptography with ${name}`, () => {
    it("has NIST's AES-GCM results", async () => {
      const c = await fresh(missing);
      for (const test of NIST) {
        const args = [hex(test.key), hex(test.iv), hex(test.aad)];
        const sealed = (await c.call('gcm_encrypt', [...args, hex(test.plain)])) as Buffer;
        assert.equal(sealed.toString('hex'), test.cipher + test.tag);
        assert.deepEqual(await c.call('gcm_decrypt', [...args, sealed]), hex(test.plain));
        sealed[sealed.length - 1] ^= 1;
        assert.equal(await c.status('gcm_decrypt', [...args, sealed]), STATUS.FAILED + 2);
      }
      assert.equal(
        await c.status('gcm_encrypt', [Buffer.alloc(17), Buffer.alloc(12), Buffer.alloc(0), Buffer.alloc(0)]),
        STATUS.FAILED + 1,
      );
      await c.harness.close();
    });

    it('agrees with node:crypto on data of many lengths', async () => {
      const c = await fresh(missing);
      for (const length of [0, 1, 15, 16, 17, 63, 64, 65, 1000, 4097]) {
        const [key, iv, aad, data] = [
          randomBytes(32),
          randomBytes(12),
          randomBytes(length % 40),
          randomBytes(length),
        ];
        const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(aad);
        const expected = Buffer.concat([cipher.update(data), cipher.final(), cipher.getAuthTag()]);
        assert.deepEqual(await c.call('gcm_encrypt', [key, iv, aad, data]), expected, `length ${length}`);
        assert.deepEqual(await c.call('sha256', [data]), createHash('sha256').update(data).digest());
        assert.deepEqual(await c.call('hmac', [aad, data]), createHmac('sha256', aad).update(data).digest());
        assert.deepEqual(
          await c.call('hkdf', [key, aad, iv, 100]),
          Buffer.from(hkdfSync('sha256', key, aad, iv, 100)),
        );
      }
      await c.harness.close();
    });

    it("has RFC 4493's AES-CMAC results", async () => {
      const c = await fresh(missing);
      const key = hex('2b7e151628aed2a6abf7158809cf4f3c');
      const message =
        '6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710';
      const first = (await c.call('cmac', [key, hex(message.slice(0, 32))])) as Buffer;
      assert.equal(first.toString('hex'), '070a16b46b4d4144f79bdd9dd04a287c');
      const all = (await c.call('cmac', [key, hex(message)])) as Buffer;
      assert.equal(all.toString('hex'), '51f0bebf7e3b9d92fc49741779363cfe');
      await c.harness.close();
    });
  });
}

describe('sealing', () => {
  it('opens what it sealed, and nothing else', async () => {
    const c = await fresh();
    const secret = Buffer.from('a secret of any length');
    const bound = Buffer.from('bound');
    for (const policy of [1, 2]) {
      const blob = (await c.call('seal_with', [policy, secret])) as Buffer;
      assert.equal(blob.length, secret.length + 144);
      assert.equal(blob.subarray(0, 8).toString(), 'NSGXSEAL');
      assert.equal(blob.readUInt16LE(12), policy);
      assert.ok(!blob.includes(secret));
      assert.deepEqual(await c.call('unseal_with', [bound, blob]), secret);
      assert.equal(
        await c.status('unseal_with', [Buffer.from('other'), blob]),
        STATUS.FAILED + STATUS.BAD_SEAL,
      );
      for (let at = 0; at < blob.length; at++) {
        const changed = Buffer.from(blob);
        changed[at] ^= 1 << (at % 8);
        const status = await c.status('unseal_with', [bound, changed]);
        assert.ok(
          [STATUS.BAD_SEAL, STATUS.KEY_REFUSED].some((code) => status === STATUS.FAILED + code),
          `byte ${at}`,
        );
      }
      for (const length of [0, 1, 127, 143, blob.length - 1]) {
        assert.equal(
          await c.status('unseal_with', [bound, blob.subarray(0, length)]),
          STATUS.FAILED + STATUS.BAD_SEAL,
        );
      }
    }
    assert.equal(await c.status('seal_with', [3, secret]), STATUS.FAILED + STATUS.INVALID_ARGUMENT);
    const [one, two] = [await c.call('seal_with', [2, secret]), await c.call('seal_with', [2, secret])];
    assert.notDeepEqual(one, two);
    await c.harness.close();
  });

  it('survives a restart and refuses another signer', async () => {
    const a = await fresh();
    const bySigner = await a.call('seal_with', [2, Buffer.from('kept')]);
    const byEnclave = await a.call('seal_with', [1, Buffer.from('kept')]);
    await a.harness.close();
    const b = await fresh();
    const bound = Buffer.from('bound');
    assert.deepEqual(await b.call('unseal_with', [bound, bySigner as Buffer]), Buffer.from('kept'));
    await b.harness.close();
    const c = await fresh(0, 2);
    assert.equal(await c.status('unseal_with', [bound, bySigner as Buffer]), STATUS.FAILED + STATUS.BAD_SEAL);
    assert.deepEqual(await c.call('unseal_with', [bound, byEnclave as Buffer]), Buffer.from('kept'));
    await c.harness.close();
  });
});

describe('reports', () => {
  it('makes a report on command unless the author forbids it', async () => {
    const c = await fresh();
    const data = Buffer.alloc(64, 0x5a);
    const made = await c.harness.call(COMMAND.REPORT, Buffer.concat([Buffer.alloc(512), data]));
    assert.equal(made.status, STATUS.OK);
    assert.equal(made.response.length, 432);
    assert.deepEqual(made.response.subarray(320, 384), data);
    const forbidden = await c.harness.call(
      COMMAND.REPORT,
      Buffer.concat([Buffer.alloc(512), Buffer.alloc(64, 0xff)]),
    );
    assert.equal(forbidden.status, STATUS.FORBIDDEN);
    for (const length of [0, 575, 577]) {
      assert.equal(
        (await c.harness.call(COMMAND.REPORT, Buffer.alloc(length))).status,
        STATUS.INVALID_REQUEST,
      );
    }
    assert.equal(await c.call('report_checks'), 3);
    await c.harness.close();
  });

  it('gives random bytes', async () => {
    const c = await fresh();
    const [a, b] = [await c.call('random_bytes', [33]), await c.call('random_bytes', [33])];
    assert.equal((a as Buffer).length, 33);
    assert.notDeepEqual(a, b);
    await c.harness.close();
  });
});
