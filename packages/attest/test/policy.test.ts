import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { AttestError, parsePolicy, parsePolicyText, verify } from '../src/index.js';

/** The error of `action`, which must be an AttestError with this code. */
function refusal(action: () => unknown, code: string): string {
  try {
    action();
  } catch (error) {
    assert.ok(error instanceof AttestError, String(error));
    assert.equal(error.code, code);
    return error.message;
  }
  return assert.fail('nothing was thrown');
}

describe('policy', () => {
  test('defaults are strict', () => {
    const policy = parsePolicy({ version: 1 });
    assert.deepEqual(policy.nested, {
      mrenclave: [],
      mrsigner: [],
      allowDebug: false,
      launchDigest: [],
      softwareRoots: [],
      isolation: ['separate-user', 'sev-snp'],
    });
    assert.equal(policy.snp.vmpl, 0);
    assert.equal(policy.snp.allowDebug, false);
    assert.equal(policy.snp.allowMigrationAgent, false);
    assert.deepEqual(policy.dcap.acceptStatus, []);
    assert.equal(policy.dcap.allowDebug, false);
  });

  test('hexadecimal is normalised to lower case', () => {
    const policy = parsePolicy({ version: 1, nested: { mrenclave: ['AB'.repeat(32)] } });
    assert.deepEqual(policy.nested.mrenclave, ['ab'.repeat(32)]);
  });

  test('unknown and ill-typed fields are refused by path', () => {
    const cases: [unknown, RegExp][] = [
      [null, /^The policy is not valid/],
      [[], /^The policy is not valid/],
      [{}, /'version'/],
      [{ version: 2 }, /'version'/],
      [{ version: '1' }, /'version'/],
      [{ version: 1, nestd: {} }, /'nestd' is not known/],
      [{ version: 1, nested: { mrEnclave: [] } }, /'nested\.mrEnclave' is not known/],
      [{ version: 1, nested: { mrenclave: ['00'] } }, /'nested\.mrenclave\[0\]'.*64 hexadecimal digits/],
      [{ version: 1, nested: { mrenclave: [`0x${'00'.repeat(31)}`] } }, /'nested\.mrenclave\[0\]'/],
      [{ version: 1, nested: { mrenclave: '00'.repeat(32) } }, /'nested\.mrenclave'/],
      [{ version: 1, nested: { softwareRoots: ['*'] } }, /'nested\.softwareRoots\[0\]'/],
      [{ version: 1, nested: { isolation: ['any'] } }, /'nested\.isolation\[0\]'/],
      [{ version: 1, nested: { allowDebug: 1 } }, /'nested\.allowDebug'/],
      [{ version: 1, nested: { isvProdId: 65536 } }, /'nested\.isvProdId'/],
      [{ version: 1, nested: { minIsvSvn: 1.5 } }, /'nested\.minIsvSvn'/],
      [{ version: 1, nested: null }, /'nested'/],
      [{ version: 1, snp: { vmpl: 4 } }, /'snp\.vmpl'/],
      [{ version: 1, snp: { minTcb: { ucode: 1 } } }, /'snp\.minTcb\.ucode' is not known/],
      [{ version: 1, snp: { minTcb: { snp: 256 } } }, /'snp\.minTcb\.snp'/],
      [{ version: 1, snp: { products: ['Rome'] } }, /'snp\.products\[0\]'/],
      [{ version: 1, dcap: { acceptStatus: ['Anything'] } }, /'dcap\.acceptStatus\[0\]'/],
    ];
    for (const [document, pattern] of cases) {
      assert.match(
        refusal(() => parsePolicy(document), 'POLICY_INVALID'),
        pattern,
      );
    }
    assert.match(
      refusal(() => parsePolicyText('{'), 'POLICY_INVALID'),
      /no JSON/,
    );
  });

  test('a prototype of the document gives no fields', () => {
    const document = JSON.parse('{"version":1,"__proto__":{"nested":{"allowDebug":true}}}') as unknown;
    let allowed = false;
    try {
      allowed = parsePolicy(document).nested.allowDebug;
    } catch (error) {
      assert.ok(error instanceof AttestError);
    }
    assert.equal(allowed, false);
  });

  test('options of the wrong type are refused', async () => {
    const bytes = new Uint8Array(10);
    for (const options of [
      { reportData: 'xyz' },
      { reportData: new Uint8Array(65) },
      { time: 'yesterday' },
      { time: Number.NaN },
      { time: '2026-02-01' },
    ]) {
      await assert.rejects(
        verify(bytes, options),
        (error) => error instanceof AttestError && error.code === 'OPTIONS_INVALID',
      );
    }
    await assert.rejects(
      verify(bytes, { policy: { version: 1, extra: true } as never }),
      (error) => error instanceof AttestError && error.code === 'POLICY_INVALID',
    );
    assert.equal((await verify('text' as never)).verdict, 'rejected');
  });
});
