import assert from 'node:assert/strict';
import { createHash, createPublicKey, type KeyObject, sign } from 'node:crypto';
import { describe, it } from 'node:test';
import {
  ID_AUTH,
  ID_BLOCK,
  LaunchDigest,
  parseAttestationReport,
  SECRETS_PAGE,
  SNP_PAGE_TYPE,
} from '@nestedsgx/arch';
import { freshKey } from '@nestedsgx/arch/fresh-key';
import { nodeHash } from '@nestedsgx/arch/node';
import { DEFAULT_POLICY, GuestMessageChannel, MONITOR_GPA, PSP_STATUS, SoftwarePsp } from '../src/index.js';
import { fixedToLittleEndian } from '../src/psp/signature.js';

const refused = (status: number) => ({ code: 'PSP_COMMAND', status });
const PAGE = new Uint8Array(4096).fill(3);

async function started(policy?: bigint): Promise<SoftwarePsp> {
  const psp = await SoftwarePsp.open(null);
  psp.launchStart({ policy });
  return psp;
}

describe('launch', () => {
  it('measures pages as SNP_LAUNCH_UPDATE does', async () => {
    const psp = await started();
    const expected = new LaunchDigest(nodeHash);
    psp.launchUpdate(SNP_PAGE_TYPE.NORMAL, MONITOR_GPA, PAGE);
    expected.update(SNP_PAGE_TYPE.NORMAL, BigInt(MONITOR_GPA), PAGE);
    psp.launchUpdate(SNP_PAGE_TYPE.SECRETS, MONITOR_GPA + 4096, null);
    expected.update(SNP_PAGE_TYPE.SECRETS, BigInt(MONITOR_GPA + 4096), null);
    const hashed = new Uint8Array(createHash('sha384').update(PAGE).digest());
    psp.launchUpdateHashed(SNP_PAGE_TYPE.NORMAL, MONITOR_GPA + 8192, hashed);
    expected.update(SNP_PAGE_TYPE.NORMAL, BigInt(MONITOR_GPA + 8192), PAGE);
    assert.deepEqual(psp.measurement(), expected.digest);
    assert.deepEqual(psp.launchFinish(), expected.digest);
    assert.deepEqual(SECRETS_PAGE.decode(psp.secretsPage()).VMPCK0, psp.vmpck(0));
  });

  it('goes through its states in order', async () => {
    const psp = await SoftwarePsp.open(null);
    const state = refused(PSP_STATUS.INVALID_GUEST_STATE);
    assert.throws(() => psp.launchUpdate(1, 0, PAGE), state);
    assert.throws(() => psp.launchFinish(), state);
    assert.throws(() => psp.vmpck(0), state);
    psp.launchStart();
    assert.throws(() => psp.launchStart(), state);
    psp.launchFinish();
    assert.throws(() => psp.launchUpdate(1, 0, PAGE), state);
    assert.throws(() => psp.launchFinish(), state);
  });

  it('checks the policy', async () => {
    const psp = await SoftwarePsp.open(null);
    for (const [policy, status] of [
      [0x1_0000n, PSP_STATUS.INVALID_PARAM],
      [DEFAULT_POLICY | (1n << 40n), PSP_STATUS.UNSUPPORTED],
      [DEFAULT_POLICY | 0x0200n, PSP_STATUS.POLICY_FAILURE],
      [DEFAULT_POLICY | (1n << 18n), PSP_STATUS.POLICY_FAILURE],
    ] as const) {
      assert.throws(() => psp.launchStart({ policy }), refused(status));
    }
    psp.launchStart({ policy: DEFAULT_POLICY | (1n << 19n) });
  });

  it('takes only well-formed pages and host data', async () => {
    const psp = await started();
    assert.throws(() => psp.launchUpdate(9, 0, PAGE), { code: 'SNP_LAUNCH_PAGE' });
    assert.throws(() => psp.launchUpdate(1, 1, PAGE), { code: 'SNP_LAUNCH_PAGE' });
    assert.throws(() => psp.launchUpdate(1, 0, PAGE.subarray(1)), { code: 'SNP_LAUNCH_PAGE' });
    assert.throws(() => psp.launchFinish({ hostData: PAGE }), refused(PSP_STATUS.INVALID_PARAM));
  });
});

describe('ID block', () => {
  const idKey = freshKey({ curve: 'P-384' });
  const authorKey = freshKey({ curve: 'P-384' });

  function keyBytes(key: KeyObject): Uint8Array {
    const { x, y } = key.export({ format: 'jwk' });
    const out = new Uint8Array(1028);
    out[0] = 2;
    out.set(fixedToLittleEndian(Buffer.from(x as string, 'base64url')), 4);
    out.set(fixedToLittleEndian(Buffer.from(y as string, 'base64url')), 76);
    return out;
  }
  function signature(data: Uint8Array, key: KeyObject): Uint8Array {
    const rs = sign('sha384', data, { key, dsaEncoding: 'ieee-p1363' });
    const out = new Uint8Array(512);
    out.set(fixedToLittleEndian(rs.subarray(0, 48)), 0);
    out.set(fixedToLittleEndian(rs.subarray(48)), 72);
    return out;
  }
  function block(ld: Uint8Array, policy = DEFAULT_POLICY): Uint8Array {
    const fill = (b: number) => new Uint8Array(16).fill(b);
    return ID_BLOCK.encode({
      LD: ld,
      FAMILY_ID: fill(1),
      IMAGE_ID: fill(2),
      VERSION: 1,
      GUEST_SVN: 5,
      POLICY: policy,
    });
  }
  function auth(idBlock: Uint8Array, author = false): Uint8Array {
    const id = keyBytes(createPublicKey(idKey));
    return ID_AUTH.encode({
      ID_KEY_ALGO: 1,
      AUTH_KEY_ALGO: author ? 1 : 0,
      ID_BLOCK_SIG: signature(idBlock, idKey),
      ID_KEY: id,
      ...(author
        ? { ID_KEY_SIG: signature(id, authorKey), AUTHOR_KEY: keyBytes(createPublicKey(authorKey)) }
        : {}),
    });
  }

  it('shows in the report when it is authentic and fits', async () => {
    const psp = await started();
    const idBlock = block(psp.measurement());
    psp.launchFinish({ idBlock, idAuth: auth(idBlock, true) });
    const channel = new GuestMessageChannel(0, psp.vmpck(0), (m) => psp.guestRequest(m));
    const report = parseAttestationReport(channel.report(new Uint8Array(64)));
    const digest = (b: Uint8Array) => new Uint8Array(createHash('sha384').update(b).digest());
    assert.deepEqual(report.ID_KEY_DIGEST, digest(keyBytes(createPublicKey(idKey))));
    assert.deepEqual(report.AUTHOR_KEY_DIGEST, digest(keyBytes(createPublicKey(authorKey))));
    assert.equal(report.authorKeyEn, true);
    assert.equal(report.GUEST_SVN, 5);
    assert.deepEqual(report.FAMILY_ID, new Uint8Array(16).fill(1));
    channel.deriveKey({ guestSvn: 5 });
    assert.throws(() => channel.deriveKey({ guestSvn: 6 }), { code: 'PSP_RESPONSE' });
  });

  it('is refused when anything about it is wrong', async () => {
    const psp = await started();
    const good = block(psp.measurement());
    const flip = (b: Uint8Array, at: number) => b.map((v, i) => (i === at ? v ^ 1 : v));
    const { INVALID_PARAM, BAD_SIGNATURE, BAD_MEASUREMENT, POLICY_FAILURE } = PSP_STATUS;
    const other = block(new Uint8Array(48).fill(9));
    const policy = block(psp.measurement(), DEFAULT_POLICY | (1n << 19n));
    for (const [idBlock, idAuth, status] of [
      [good, undefined, INVALID_PARAM],
      [good.subarray(1), auth(good), INVALID_PARAM],
      [good, auth(good).subarray(1), INVALID_PARAM],
      [flip(good, 0x50), auth(good), INVALID_PARAM],
      [flip(good, 0x30), auth(good), BAD_SIGNATURE],
      [good, flip(auth(good), 0x40), BAD_SIGNATURE],
      [good, flip(auth(good), 0x240), BAD_SIGNATURE],
      [good, flip(auth(good), 0x250), BAD_SIGNATURE],
      [good, flip(auth(good), 0), INVALID_PARAM],
      [good, flip(auth(good, true), 0x680), BAD_SIGNATURE],
      [good, flip(auth(good), 5), INVALID_PARAM],
      [other, auth(other), BAD_MEASUREMENT],
      [policy, auth(policy), POLICY_FAILURE],
    ] as const) {
      assert.throws(() => psp.launchFinish({ idBlock, idAuth }), refused(status));
    }
    psp.launchFinish({ idBlock: good, idAuth: auth(good) });
  });
});
