import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import {
  type Collateral,
  collateralFromFiles,
  DCAP_SGX_CHECKS,
  DCAP_TDX_CHECKS,
  decodeEvidence,
  formatVerdict,
  type PolicyDocument,
  type Verdict,
  verify,
} from '../src/index.js';

const vector = (name: string) =>
  new Uint8Array(readFileSync(new URL(`../../vectors/dcap/${name}`, import.meta.url)));
const text = (value: string) => new TextEncoder().encode(value);

/** The collateral of the vectors, as the files of a collateral directory. */
function collateral(name: string, edit: (files: Record<string, string>) => void = () => {}): Collateral {
  const files = JSON.parse(new TextDecoder().decode(vector(name))) as Record<string, string>;
  edit(files);
  return collateralFromFiles([
    ['root-crl.der', new Uint8Array(Buffer.from(files['root_ca_crl']!, 'hex'))],
    ['pck-crl.der', new Uint8Array(Buffer.from(files['pck_crl']!, 'hex'))],
    ['tcb-signing.pem', text(files['tcb_info_issuer_chain']!)],
    [
      'tcb-info.json',
      text(`{"tcbInfo":${files['tcb_info']!},"signature":"${files['tcb_info_signature']!}"}`),
    ],
    [
      'qe-identity.json',
      text(`{"enclaveIdentity":${files['qe_identity']!},"signature":"${files['qe_identity_signature']!}"}`),
    ],
  ]);
}

const failures = (verdict: Verdict) =>
  verdict.checks.filter((check) => check.status === 'failed').map((check) => check.id);
const detailOf = (verdict: Verdict, id: string) =>
  verdict.checks.find((check) => check.id === id)?.detail ?? '';

async function appraise(
  quote: string | Uint8Array,
  given: Collateral,
  time: string,
  dcap: PolicyDocument['dcap'] = {},
) {
  const bytes = typeof quote === 'string' ? vector(quote) : quote;
  const any = { allowAnyMeasurement: true };
  return verify(bytes, { policy: { version: 1, dcap: { ...any, ...dcap } }, collateral: given, time });
}

const SGX = 'sgx_quote_collateral.json';
const TDX = 'tdx_quote_collateral.json';
const TIME = '2025-07-01T00:00:00Z';
const ACCEPT = { acceptStatus: ['ConfigurationAndSWHardeningNeeded' as const] };

describe('genuine DCAP quotes', () => {
  test('SGX, version 3: the status decides', async () => {
    const verdict = await appraise('sgx_quote', collateral(SGX), TIME);
    assert.deepEqual(failures(verdict), ['dcap.tcb-status'], formatVerdict(verdict));
    assert.deepEqual(
      verdict.checks.map((check) => check.id),
      DCAP_SGX_CHECKS,
    );
    assert.equal(verdict.claims['tcbStatus'], 'ConfigurationAndSWHardeningNeeded');
    assert.deepEqual(verdict.claims['advisories'], ['INTEL-SA-00289', 'INTEL-SA-00615']);
    assert.equal(verdict.claims['fmspc'], '00a067110000');
    assert.equal((await appraise('sgx_quote', collateral(SGX), TIME, ACCEPT)).verdict, 'accepted');
    const named = { ...ACCEPT, acceptAdvisories: ['INTEL-SA-00289', 'INTEL-SA-00615'] };
    assert.equal((await appraise('sgx_quote', collateral(SGX), TIME, named)).verdict, 'accepted');
    const fewer = { ...ACCEPT, acceptAdvisories: ['INTEL-SA-00289'] };
    assert.match(
      detailOf(await appraise('sgx_quote', collateral(SGX), TIME, fewer), 'dcap.tcb-status'),
      /INTEL-SA-00615 apply/,
    );
    assert.deepEqual(
      failures(
        await appraise('sgx_quote', collateral(SGX), TIME, { ...ACCEPT, mrenclave: ['00'.repeat(32)] }),
      ),
      ['enclave.mrenclave'],
    );
  });

  test('TDX, version 4: up to date', async () => {
    const verdict = await appraise('tdx_quote', collateral(TDX), TIME);
    assert.equal(verdict.verdict, 'accepted', formatVerdict(verdict));
    assert.deepEqual(
      verdict.checks.map((check) => check.id),
      DCAP_TDX_CHECKS,
    );
    assert.equal(verdict.claims['tcbStatus'], 'UpToDate');
    assert.deepEqual(
      failures(await appraise('tdx_quote', collateral(TDX), TIME, { mrtd: ['00'.repeat(48)] })),
      ['td.mrtd'],
    );
  });

  test('TDX, version 5, that no TCB level covers, is refused whatever the policy accepts', async () => {
    const everything = {
      acceptStatus: ['OutOfDate' as const, 'Revoked' as const, 'OutOfDateConfigurationNeeded' as const],
    };
    const verdict = await appraise(
      'tdx_quote_outdated',
      collateral('tdx_quote_outdated_collateral.json'),
      '2026-03-01T00:00:00Z',
      everything,
    );
    assert.deepEqual(failures(verdict), ['dcap.tcb-status'], formatVerdict(verdict));
    assert.match(detailOf(verdict, 'dcap.tcb-status'), /no TCB level/);
  });

  test('collateral outside its dates is refused', async () => {
    for (const [time, id] of [
      ['2025-06-19T10:23:00Z', 'dcap.revocation'],
      ['2025-06-19T10:56:10Z', 'dcap.tcb-info'],
      ['2025-07-19T10:01:19Z', 'dcap.qe-identity'],
      ['2025-07-19T10:23:19Z', 'dcap.revocation'],
      ['2033-01-01T00:00:00Z', 'dcap.pck-chain'],
    ] as const) {
      const verdict = await appraise('sgx_quote', collateral(SGX), time, ACCEPT);
      assert.ok(failures(verdict).includes(id), `${time}\n${formatVerdict(verdict)}`);
      assert.equal(verdict.verdict, 'rejected');
    }
    for (const time of ['2025-06-19T10:56:11Z', '2025-07-19T10:01:17Z']) {
      assert.equal((await appraise('sgx_quote', collateral(SGX), time, ACCEPT)).verdict, 'accepted', time);
    }
  });

  test('missing, foreign or changed collateral is refused by its check', async () => {
    const cases: [Collateral, string, RegExp][] = [
      [{}, 'dcap.revocation', /no root-crl\.der/],
      [{ ...collateral(SGX), tcbInfo: undefined }, 'dcap.tcb-info', /no tcb-info\.json/],
      [{ ...collateral(SGX), qeIdentity: text('{') }, 'dcap.qe-identity', /no JSON/],
      [{ ...collateral(SGX), tcbInfo: collateral(TDX).tcbInfo! }, 'dcap.tcb-info', /is for TDX/],
      [{ ...collateral(SGX), qeIdentity: collateral(TDX).qeIdentity! }, 'dcap.qe-identity', /TD_QE/],
      [{ ...collateral(SGX), pckCrl: collateral(TDX).pckCrl! }, 'dcap.revocation', /revocation list is by/],
    ];
    const changed = (field: string, from: string, to: string) =>
      collateral(SGX, (files) => {
        assert.ok(files[field]!.includes(from));
        files[field] = files[field]!.replace(from, to);
      });
    cases.push(
      [changed('tcb_info', 'OutOfDate', 'UpToDate'), 'dcap.tcb-info', /signature/],
      [changed('tcb_info', '"version":3', '"version":2'), 'dcap.tcb-info', /known version/],
      [changed('qe_identity', '"isvprodid":1', '"isvprodid":2'), 'dcap.qe-identity', /signature/],
    );
    for (const [given, id, reason] of cases) {
      const verdict = await appraise('sgx_quote', given, TIME, ACCEPT);
      assert.ok(failures(verdict).includes(id), formatVerdict(verdict));
      assert.match(detailOf(verdict, id), reason);
      assert.equal(verdict.verdict, 'rejected');
    }
  });

  test('quotes without collateral verify up to the PCK chain and are not accepted', async () => {
    for (const name of ['fortanix_quote.bin', 'occlum_quote.dat', 'tdx_quote_4.dat', 'tdx_quote_5.dat']) {
      const verdict = await appraise(name, {}, '2024-06-01T00:00:00Z', { allowDebug: true });
      for (const id of ['quote.signature', 'dcap.qe-binding', 'dcap.pck-chain', 'dcap.qe-signature']) {
        assert.equal(
          verdict.checks.find((check) => check.id === id)?.status,
          'ok',
          `${name} ${id}\n${formatVerdict(verdict)}`,
        );
      }
      assert.deepEqual(failures(verdict), ['dcap.revocation'], name);
      assert.equal(verdict.verdict, 'rejected');
    }
    const corrupted = await appraise('fortanix_quote_corrupted.bin', {}, '2024-06-01T00:00:00Z');
    assert.ok(failures(corrupted).includes('quote.signature'), formatVerdict(corrupted));
    const unlinked = await appraise('fortanix_quote_raw_tcb.bin', {}, '2024-06-01T00:00:00Z');
    assert.match(detailOf(unlinked, 'dcap.pck-chain'), /certification data of type 3/);
    const sample = await appraise('intel_sample_quote.dat', {}, '2024-06-01T00:00:00Z');
    assert.match(detailOf(sample, 'dcap.pck-chain'), /certification data of type 1/);
  });

  test('a bit flipped in quote or chain is refused', async () => {
    for (const [name, file] of [
      ['sgx_quote', SGX],
      ['tdx_quote', TDX],
    ] as const) {
      const genuine = vector(name);
      const given = collateral(file);
      let end = genuine.length;
      while (genuine[end - 1] === 0) end--;
      for (let at = 0; at < end; at += 61) {
        const bytes = genuine.slice();
        bytes[at]! ^= 1 << (at % 8);
        const verdict = await appraise(bytes, given, TIME, ACCEPT);
        // Text between and in PEM blocks that decodes to the same certificates is not signed.
        if (verdict.verdict === 'accepted')
          assert.ok(genuine[at] === 0x0a || genuine[at] === 0x2d, `${name} byte ${at}`);
      }
    }
  });

  test('every field is named by decodeEvidence', () => {
    const sgx = decodeEvidence(vector('sgx_quote')) as Record<string, Record<string, unknown>>;
    assert.equal(sgx['format'] as unknown, 'quote');
    assert.match(sgx['body']!['mrenclave'] as string, /^[0-9a-f]{64}$/);
    assert.equal((sgx['certificates'] as unknown as unknown[]).length, 3);
    const tdx = decodeEvidence(vector('tdx_quote_5.dat')) as Record<string, Record<string, unknown>>;
    assert.equal(tdx['tee'] as unknown, 'tdx');
    assert.match(tdx['body']!['mrservicetd'] as string, /^383c87d3bbb047b2/);
  });
});
