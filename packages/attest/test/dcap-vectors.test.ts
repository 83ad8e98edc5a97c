/** Every genuine or sample quote that is kept here, against values that were computed with other code. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { afterEach, describe, test } from 'node:test';
import { nodeCrypto } from '../src/crypto/node.js';
import { portableCrypto } from '../src/crypto/portable.js';
import { readIdentity, readTcbInfo } from '../src/dcap/documents.js';
import { parsePckPlatform } from '../src/dcap/pck.js';
import { evaluateQe, evaluateTcb } from '../src/dcap/tcb-status.js';
import { IntelTrust } from '../src/dcap/trust.js';
import {
  type Collateral,
  forgetSignatures,
  formatVerdict,
  type PolicyDocument,
  PreparedCollateral,
  parseCertificate,
  parseDcapQuote,
  prepareCollateral,
  useCrypto,
  type Verdict,
  verify,
} from '../src/index.js';
import { INTEL_ROOT, INTEL_ROOT_FINGERPRINT } from '../src/x509/built-in-roots.js';
import { keyFingerprint } from '../src/x509/chain.js';
import { fromBase64, readCertificates } from '../src/x509/pem.js';
import { dcapCollateral } from './dcap-collateral.js';

const vector = (name: string) =>
  new Uint8Array(readFileSync(new URL(`../../vectors/dcap/${name}`, import.meta.url)));
const text = (value: string) => new TextEncoder().encode(value);
const concat = (...parts: Uint8Array[]) => new Uint8Array(Buffer.concat(parts));
const status = (verdict: Verdict, id: string) => verdict.checks.find((check) => check.id === id)?.status;
const failures = (verdict: Verdict) =>
  verdict.checks.filter((check) => check.status === 'failed').map((check) => check.id);
const detail = (verdict: Verdict, id: string) => verdict.checks.find((check) => check.id === id)!.detail;
const POLICY: PolicyDocument = {
  version: 1,
  dcap: {
    allowAnyMeasurement: true,
    allowDebug: true,
    acceptStatus: ['ConfigurationAndSWHardeningNeeded'],
  },
};

function read(name: string): Uint8Array {
  const bytes = vector(name);
  return name.endsWith('.hex')
    ? new Uint8Array(Buffer.from(new TextDecoder().decode(bytes).trim().replace(/^0x/, ''), 'hex'))
    : bytes;
}

/** Version, TEE, platform family, quoting enclave's ISVSVN, and a time at which the chain is valid. */
const QUOTES = [
  ['fortanix_quote.bin', 3, 'sgx', '00906ea10000', 2, '2024-06-01T00:00:00Z'],
  ['occlum_quote.dat', 3, 'sgx', '00606a000000', 8, '2024-06-01T00:00:00Z'],
  ['sgx_quote', 3, 'sgx', '00a067110000', 10, '2025-07-01T00:00:00Z'],
  ['tdx_quote', 4, 'tdx', 'b0c06f000000', 6, '2025-07-01T00:00:00Z'],
  ['tdx_quote_from_tappd.hex', 4, 'tdx', 'b0c06f000000', 6, '2025-07-01T00:00:00Z'],
  ['tdx-quote.hex', 4, 'tdx', 'b0c06f000000', 6, '2025-07-01T00:00:00Z'],
  ['tdx_quote_4.dat', 4, 'tdx', '50806f000000', 4, '2024-06-01T00:00:00Z'],
  ['tdx_quote_5.dat', 5, 'tdx', '90c06f000000', 6, '2024-06-01T00:00:00Z'],
  ['tdx_quote_6.dat', 4, 'tdx', '00a06d080000', 7, '2025-11-01T00:00:00Z'],
  ['tdx_quote_outdated', 5, 'tdx', '90c06f000000', 7, '2026-03-01T00:00:00Z'],
] as const;

describe('quotes of other repositories', () => {
  afterEach(() => useCrypto(null));

  test('verify up to what needs collateral, with either provider', async () => {
    for (const provider of [null, portableCrypto]) {
      useCrypto(provider);
      for (const [name, version, tee, fmspc, qeSvn, time] of QUOTES) {
        const bytes = read(name);
        const quote = parseDcapQuote(bytes);
        assert.equal(quote.header.version, version, name);
        assert.equal(quote.body.kind, tee, name);
        assert.equal(quote.qe.isvSvn, qeSvn, name);
        const verdict = await verify(bytes, { policy: POLICY, time });
        for (const id of ['quote.signature', 'dcap.qe-binding', 'dcap.pck-chain', 'dcap.qe-signature'])
          assert.equal(status(verdict, id), 'ok', `${name}\n${formatVerdict(verdict)}`);
        assert.deepEqual(failures(verdict), ['dcap.revocation'], name);
        assert.equal(verdict.claims['fmspc'], fmspc, name);
      }
    }
  });

  test('give the same verdict with either provider and however the collateral is given', async () => {
    for (const [name, file, time] of [
      ['sgx_quote', 'sgx_quote', '2025-07-01T00:00:00Z'],
      ['tdx_quote', 'tdx_quote', '2025-07-01T00:00:00Z'],
      ['tdx_quote_outdated', 'tdx_quote_outdated', '2026-03-01T00:00:00Z'],
    ] as const) {
      const collateral = dcapCollateral(file);
      const prepared = prepareCollateral(collateral);
      const expected = await verify(vector(name), { policy: POLICY, collateral, time });
      assert.equal(expected.verdict, name === 'tdx_quote_outdated' ? 'rejected' : 'accepted');
      for (let round = 0; round < 2; round++)
        assert.deepEqual(
          await verify(vector(name), { policy: POLICY, collateral: prepared, time }),
          expected,
        );
      forgetSignatures();
      assert.deepEqual(await verify(vector(name), { policy: POLICY, collateral: prepared, time }), expected);
      useCrypto(portableCrypto);
      assert.deepEqual(await verify(vector(name), { policy: POLICY, collateral, time }), expected);
      useCrypto(null);
    }
  });

  test('what is remembered saves signatures: nine from nothing, one when all authorities are known', async () => {
    const collateral = dcapCollateral('sgx_quote');
    let verified = 0;
    useCrypto({
      ...nodeCrypto,
      verifyEcdsa(...given) {
        verified++;
        return nodeCrypto.verifyEcdsa(...given);
      },
    });
    const count = async (given: Collateral | PreparedCollateral) => {
      verified = 0;
      const options = { policy: POLICY, collateral: given, time: '2025-07-01T00:00:00Z' };
      assert.equal((await verify(vector('sgx_quote'), options)).verdict, 'accepted');
      return verified;
    };
    assert.equal(await count(collateral), 9);
    assert.equal(await count(collateral), 1);
    const prepared = prepareCollateral(collateral);
    assert.equal(await count(prepared), 1);
    forgetSignatures();
    // The QE report's is no part of the collateral.
    assert.equal(await count(prepared), 2);
    assert.equal(await count(prepared), 1);
  });

  test('with prepared collateral: dates, policy and evidence are judged at each call', async () => {
    const collateral = prepareCollateral(dcapCollateral('sgx_quote'));
    const quote = vector('sgx_quote');
    const at = (time: string, policy: Parameters<typeof verify>[1] = { policy: POLICY }) =>
      verify(quote, { ...policy, collateral, time });
    assert.equal((await at('2025-07-01T00:00:00Z')).verdict, 'accepted');
    assert.deepEqual(
      failures(
        await at('2025-07-01T00:00:00Z', { policy: { version: 1, dcap: { allowAnyMeasurement: false } } }),
      ),
      ['dcap.tcb-status', 'enclave.mrenclave'],
    );
    for (const [time, id] of [
      ['2025-06-19T10:56:10Z', 'dcap.tcb-info'],
      ['2025-07-19T10:01:19Z', 'dcap.qe-identity'],
      ['2025-07-19T10:23:19Z', 'dcap.revocation'],
      ['2033-01-01T00:00:00Z', 'dcap.pck-chain'],
    ] as const)
      assert.ok(failures(await at(time)).includes(id), time);
    assert.equal((await at('2025-07-01T00:00:00Z')).verdict, 'accepted');
    const changed = quote.slice();
    changed[100]! ^= 1;
    const forged = await verify(changed, { policy: POLICY, collateral, time: '2025-07-01T00:00:00Z' });
    assert.deepEqual(failures(forged), ['quote.signature']);
    const tdx = await verify(vector('tdx_quote'), {
      policy: POLICY,
      collateral,
      time: '2025-07-01T00:00:00Z',
    });
    assert.deepEqual(failures(tdx), ['dcap.revocation'], "the SGX platform's list is of the processor CA");
  });
});

describe('natural negatives and samples', () => {
  test('a corrupted quote fails in its signature, a corrupted identity in its own', async () => {
    const corrupted = await verify(vector('fortanix_quote_corrupted.bin'), {
      policy: POLICY,
      time: '2024-06-01T00:00:00Z',
    });
    assert.deepEqual(failures(corrupted), ['quote.signature', 'dcap.revocation'], formatVerdict(corrupted));
    const { tcbSigning } = dcapCollateral('sgx_quote');
    const genuine = new IntelTrust({ tcbSigning, qeIdentity: vector('fortanix_qe3_identity.json') });
    assert.equal(genuine.identity().levels[0]!.isvSvn, 5);
    const qe = parseDcapQuote(vector('fortanix_quote.bin')).qe;
    assert.equal(evaluateQe(genuine.identity(), qe).status, 'OutOfDate');
    const edited = vector('fortanix_qe3_identity_corrupt.json');
    assert.equal(readIdentity(edited).value.levels[0]!.isvSvn, 2);
    assert.throws(() => new IntelTrust({ tcbSigning, qeIdentity: edited }).identity(), /signature/);
  });

  test('the rating of a platform by its own TCB info', () => {
    const { tcbSigning } = dcapCollateral('tdx_quote');
    const [tcbInfo, qeIdentity] = [vector('tdx_quote_6_tcb_info.json'), vector('tdx_quote_6_identity.json')];
    const trust = new IntelTrust({ tcbSigning, tcbInfo, qeIdentity });
    const quote = parseDcapQuote(vector('tdx_quote_6.dat'));
    assert.ok(quote.body.kind === 'tdx');
    const platform = trust.pck(quote).platform;
    assert.equal(platform.sgxType, 'scalable-with-integrity');
    const qe = evaluateQe(trust.identity(), quote.qe);
    assert.equal(qe.status, 'UpToDate');
    // PCESVN 11 is below the 13 of the first level; the second begins at 5.
    assert.equal(evaluateTcb(trust.tcbInfo(), platform, qe, quote.body.tdx).status, 'OutOfDate');
    assert.equal(readTcbInfo(tcbInfo).value.levels.length, 2);
  });

  test('an encrypted PPID is told from others, and its PCK is taken from the collateral', async () => {
    const quote = parseDcapQuote(vector('fortanix_quote_raw_tcb.bin'));
    assert.ok(quote.certification.kind === 'ppid');
    assert.equal(quote.certification.encryption, 'RSA-3072-OAEP');
    const [leaf] = readCertificates(vector('fortanix_pck.pem'), 'the PCK');
    const chain = parseDcapQuote(vector('fortanix_quote.bin')).certification;
    assert.ok(chain.kind === 'pck-chain');
    assert.equal(Buffer.from(parsePckPlatform(leaf!).fmspc).toString('hex'), '00906ea10000');
    const verdict = await verify(vector('fortanix_quote_raw_tcb.bin'), {
      policy: POLICY,
      time: '2024-06-01T00:00:00Z',
      collateral: { pck: chain.data },
    });
    // The PCK given is of the newer quote's platform.
    assert.deepEqual(failures(verdict), ['dcap.pck-chain'], formatVerdict(verdict));
  });

  test("Intel's samples end in a root that is not Intel's, and hold under that root", async () => {
    for (const [kind, time] of [
      ['sgx', '2025-01-01T00:00:00Z'],
      ['tdx', '2025-01-01T00:00:00Z'],
    ] as const) {
      const file = (name: string) => vector(`intel_sample_${kind}/${name}`);
      const quote = kind === 'sgx' ? vector('intel_sample_quote.dat') : file('quote.dat');
      const collateral: Collateral = {
        pck: concat(file('pckCert.pem'), text('\n'), file('pckSignChain.pem')),
        rootCrl: file('rootCaCrl.der'),
        pckCrl: file('intermediateCaCrl.der'),
        tcbSigning: file('tcbSignChain.pem'),
        tcbInfo: file('tcbInfo.json'),
        qeIdentity: file('qeIdentity.json'),
      };
      const options = { policy: POLICY, time };
      const real = await verify(quote, { ...options, collateral });
      assert.deepEqual(failures(real).slice(0, 1), ['dcap.pck-chain'], formatVerdict(real));
      assert.match(detail(real, 'dcap.pck-chain'), /key fingerprint/);
      const prepared = new PreparedCollateral(collateral);
      const root = readCertificates(file('trustedRootCaCert.pem'), 'the root')[0]!;
      Object.assign(prepared, { intel: new IntelTrust(prepared.files, root) });
      const sample = await verify(quote, { ...options, collateral: prepared });
      for (const id of [
        'quote.signature',
        'dcap.qe-binding',
        'dcap.pck-chain',
        'dcap.qe-signature',
        'dcap.revocation',
      ])
        assert.equal(status(sample, id), 'ok', formatVerdict(sample));
      // The TCB info of one is of version 2, the other's SVNs do not fit a byte.
      assert.match(detail(sample, 'dcap.tcb-info'), /not of the known version/);
    }
  });

  test('the root that is built in has the fingerprint that is documented', () => {
    assert.equal(keyFingerprint(parseCertificate(fromBase64(INTEL_ROOT)!)), INTEL_ROOT_FINGERPRINT);
  });
});
