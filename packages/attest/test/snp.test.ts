import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import {
  type Collateral,
  collateralFromFiles,
  formatVerdict,
  type PolicyDocument,
  parseSnpReport,
  RAW_SNP_CHECKS,
  type Verdict,
  verify,
} from '../src/index.js';
import { hex } from './producer.js';

const vector = (name: string) =>
  new Uint8Array(readFileSync(new URL(`../../vectors/snp/${name}`, import.meta.url)));
const TIME = '2025-06-01T00:00:00Z';

function genoa(): { report: Uint8Array; vcek: Uint8Array } {
  const tsm = JSON.parse(new TextDecoder().decode(vector('genoa-v3.tsm.json'))) as {
    outblob: string;
    auxblob: string;
  };
  const aux = new Uint8Array(Buffer.from(tsm.auxblob, 'base64url'));
  // A table of {GUID, offset u32, length u32}; the VCEK's GUID is 63da758d-e664-4564-adc5-f4b93be8accd.
  const view = new DataView(aux.buffer, aux.byteOffset);
  for (let at = 0; at < aux.length; at += 24) {
    if (hex(aux.subarray(at, at + 16)) === '63da758de6644564adc5f4b93be8accd') {
      const [offset, length] = [view.getUint32(at + 16, true), view.getUint32(at + 20, true)];
      const report = new Uint8Array(Buffer.from(tsm.outblob, 'base64url'));
      return { report: report.subarray(0, 1184), vcek: aux.slice(offset, offset + length) };
    }
  }
  throw new Error('no VCEK in the auxiliary blob');
}

const statusOf = (verdict: Verdict, id: string) => verdict.checks.find((check) => check.id === id)?.status;
const failures = (verdict: Verdict) =>
  verdict.checks.filter((check) => check.status === 'failed').map((check) => check.id);

async function appraise(
  report: Uint8Array,
  collateral: Collateral,
  snp: PolicyDocument['snp'] = {},
  time = TIME,
): Promise<Verdict> {
  return verify(report, { policy: { version: 1, snp }, collateral, time });
}

const milan = () => vector('milan-v2.report.bin');
const milanVcek = () => vector('milan-v2.vcek.der');

describe('genuine SNP reports', () => {
  test('Milan, version 2, with the built-in authorities or with given ones', async () => {
    const verdict = await appraise(milan(), { vcek: milanVcek() });
    assert.equal(verdict.verdict, 'accepted', formatVerdict(verdict));
    assert.deepEqual(
      verdict.checks.map((check) => check.id),
      RAW_SNP_CHECKS,
    );
    assert.equal(verdict.claims['isolation'], 'sev-snp');
    assert.equal((verdict.claims['root'] as { product: string }).product, 'Milan');
    assert.match(verdict.claims['launchDigest'] as string, /^a1f3930413247bb38cfc171579ea3c12/);
    const given = collateralFromFiles([
      ['vcek.der', milanVcek()],
      ['ask.pem', vector('milan.ask.der')],
      ['ark.pem', vector('milan.ark.der')],
      ['README', new Uint8Array(3)],
    ]);
    assert.equal((await appraise(milan(), given)).verdict, 'accepted');
    const digest =
      'a1f3930413247bb38cfc171579ea3c12d5fe4901f0c792f63fd75d98f1ef827c23500644e0e692e6be917f9050d3d38c';
    const strict = { products: ['Milan' as const], minTcb: { microcode: 115 }, launchDigest: [digest] };
    assert.equal((await appraise(milan(), given, strict)).verdict, 'accepted');
    assert.deepEqual(failures(await appraise(milan(), given, { ...strict, products: ['Genoa'] })), [
      'snp.product',
    ]);
    assert.deepEqual(failures(await appraise(milan(), given, { minTcb: { microcode: 116 } })), ['snp.tcb']);
    assert.deepEqual(failures(await appraise(milan(), given, { launchDigest: ['00'.repeat(48)] })), [
      'snp.launch-digest',
    ]);
    assert.deepEqual(failures(await appraise(milan(), given, { requireRevocationList: true })), [
      'snp.revocation',
    ]);
  });

  test('a second Milan report', async () => {
    const report = new Uint8Array(
      Buffer.from(new TextDecoder().decode(vector('milan-v2-virtee.report.hex')).trim(), 'hex'),
    );
    const verdict = await appraise(report, { vcek: vector('milan-v2-virtee.vcek.der') });
    assert.equal(verdict.verdict, 'accepted', formatVerdict(verdict));
  });

  test('Milan, version 3, VLEK, asked for at VMPL 1, expired leaf', async () => {
    const report = vector('milan-v3-vlek.report.bin');
    const vlek = vector('milan-v3-vlek.vlek.der');
    const verdict = await appraise(report, { vlek }, { vmpl: 1 });
    assert.equal(verdict.verdict, 'accepted', formatVerdict(verdict));
    assert.deepEqual(failures(await appraise(report, { vlek })), ['snp.vmpl']);
    assert.deepEqual(failures(await appraise(report, { vlek }, { vmpl: 1 }, '2026-01-01T00:00:00Z')), [
      'snp.chain',
    ]);
    assert.deepEqual(failures(await appraise(report, { vcek: vlek }, { vmpl: 1 })), [
      'snp.signature',
      'snp.chain',
    ]);
  });

  test('Genoa, version 3, from a TSM blob', async () => {
    const { report, vcek } = genoa();
    const verdict = await appraise(report, { vcek });
    assert.equal(verdict.verdict, 'accepted', formatVerdict(verdict));
    assert.equal((verdict.claims['root'] as { product: string }).product, 'Genoa');
    assert.equal(parseSnpReport(report).product, 'Genoa');
  });

  test('a guest that may be debugged is refused unless the policy accepts it', async () => {
    const report = vector('milan-v2-debug.report.bin');
    const vcek = vector('milan-v2-debug.vcek.der');
    assert.deepEqual(failures(await appraise(report, { vcek })), ['snp.policy']);
    assert.equal((await appraise(report, { vcek }, { allowDebug: true })).verdict, 'accepted');
  });

  test('certificates of another chip or TCB are refused', async () => {
    for (const name of ['milan-v2.vcek-other-chip.der', 'milan-v2.vcek-other-tcb.der', 'turin.vcek.der']) {
      const verdict = await appraise(milan(), { vcek: vector(name) });
      assert.deepEqual(failures(verdict), ['snp.signature', 'snp.chain'], formatVerdict(verdict));
    }
  });

  test('without a leaf the report is refused and the cure is named', async () => {
    const verdict = await appraise(milan(), {});
    assert.deepEqual(failures(verdict), ['snp.signature', 'snp.chain']);
    assert.match(formatVerdict(verdict), /no VCEK was given: put it into the collateral as vcek\.der/);
  });

  test('report data are compared when given', async () => {
    const collateral = { vcek: milanVcek() };
    const reportData = hex(parseSnpReport(milan()).reportData);
    assert.equal(
      statusOf(await verify(milan(), { collateral, reportData, time: TIME }), 'report-data'),
      'ok',
    );
    const wrong = await verify(milan(), { collateral, reportData: '00', time: TIME });
    assert.deepEqual(failures(wrong), ['report-data']);
  });

  test('every byte of report and certificate with a bit flipped is refused', async () => {
    const stride = process.env['NSGX_FUZZ_RUNS'] === undefined ? 9 : 1;
    const report = milan();
    const vcek = milanVcek();
    for (let at = 0; at < report.length; at += stride) {
      const bad = report.slice();
      bad[at]! ^= 1 << (at % 8);
      assert.equal((await appraise(bad, { vcek })).verdict, 'rejected', `report byte ${at}`);
    }
    for (let at = 0; at < vcek.length; at += stride) {
      const bad = vcek.slice();
      bad[at]! ^= 1 << (at % 8);
      assert.equal((await appraise(report, { vcek: bad })).verdict, 'rejected', `certificate byte ${at}`);
    }
  });
});
