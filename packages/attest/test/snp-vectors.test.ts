/** Every genuine SNP report that is kept here, against fields and verdicts that were computed with other code. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { afterEach, describe, test } from 'node:test';
import { portableCrypto } from '../src/crypto/portable.js';
import {
  type Claims,
  forgetSignatures,
  formatVerdict,
  parseSnpLeaf,
  readCertificates,
  readSnpEvidence,
  useCrypto,
  verify,
} from '../src/index.js';
import { hex } from './producer.js';

interface Tcb {
  bootloader: number;
  tee: number;
  snp: number;
  microcode: number;
}

interface Expected {
  name: string;
  report_file: string;
  leaf_file: string | null;
  leaf_role: 'vcek' | 'vlek';
  time: string;
  signature_valid: boolean;
  chain_valid: boolean;
  chain: [name: string, sha256: string][];
  tcb_match: Record<string, boolean>;
  hwid_match: boolean | null;
  report: Record<string, string | number> & Record<`${string}_tcb`, Tcb>;
  leaf: Record<string, string | number | null>;
}

const vector = (name: string) =>
  new Uint8Array(readFileSync(new URL(`../../vectors/snp/${name}`, import.meta.url)));
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const EXPECTED = JSON.parse(text(vector('EXPECTED.json'))) as Expected[];

function evidence({ report_file }: Expected): Uint8Array {
  const bytes = vector(report_file);
  return report_file.endsWith('.hex') ? new Uint8Array(Buffer.from(text(bytes).trim(), 'hex')) : bytes;
}

function leafOf(expected: Expected): Uint8Array {
  return expected.leaf_file === null
    ? readSnpEvidence(evidence(expected)).certificates.vcek!
    : vector(expected.leaf_file);
}

afterEach(() => useCrypto(null));

describe('SNP reports against independent values', () => {
  test('the vectors are there', () => {
    assert.equal(EXPECTED.length, 7);
    assert.equal(EXPECTED.filter(({ chain_valid }) => chain_valid).length, 5);
  });

  for (const expected of EXPECTED) {
    test(`${expected.name}: every field`, () => {
      const { report } = readSnpEvidence(evidence(expected));
      const want = expected.report;
      const firmware = ({ major, minor, build }: { major: number; minor: number; build: number }) =>
        `${major}.${minor}.${build}`;
      const tcb = (name: 'current' | 'reported' | 'committed' | 'launch') => {
        const { fmc, ...levels } = report[`${name}Tcb`];
        assert.equal(fmc, null);
        const { bootloader, tee, snp, microcode } = want[`${name}_tcb`];
        assert.deepEqual(levels, { bootloader, tee, snp, microcode }, name);
      };
      for (const name of ['current', 'reported', 'committed', 'launch'] as const) tcb(name);
      const fields = {
        version: report.version,
        guest_svn: report.guestSvn,
        policy: `0x${report.policy.raw.toString(16)}`,
        family_id: hex(report.familyId),
        image_id: hex(report.imageId),
        vmpl: report.vmpl,
        signature_algo: report.signatureAlgorithm,
        platform_info: `0x${report.platformInfo.raw.toString(16)}`,
        author_key_en: Number(report.authorKeyEnabled),
        mask_chip_key: Number(report.maskChipKey),
        signing_key: report.signingKey,
        report_data: hex(report.reportData),
        measurement: hex(report.measurement),
        host_data: hex(report.hostData),
        id_key_digest: hex(report.idKeyDigest),
        author_key_digest: hex(report.authorKeyDigest),
        report_id: hex(report.reportId),
        report_id_ma: hex(report.reportIdMa),
        chip_id: hex(report.chipId),
        current_version: firmware(report.currentFirmware),
        committed_version: firmware(report.committedFirmware),
        ...(report.cpu === null
          ? {}
          : {
              cpuid_fam_id: report.cpu.family,
              cpuid_mod_id: report.cpu.model,
              cpuid_step: report.cpu.stepping,
            }),
      };
      for (const [name, value] of Object.entries(fields)) assert.equal(value, want[name], name);
    });

    test(`${expected.name}: the leaf`, () => {
      const [certificate] = readCertificates(leafOf(expected), 'The leaf');
      const leaf = parseSnpLeaf(certificate!);
      const want = expected.leaf;
      assert.equal(leaf.productName, want['product_name']);
      assert.equal(leaf.hwid === null ? null : hex(leaf.hwid), want['hwid']);
      assert.equal(leaf.cspId, want['csp_id']);
      assert.equal(leaf.kind, want['hwid'] === null ? 'VLEK' : 'VCEK');
      for (const level of ['fmc', 'bootloader', 'tee', 'snp', 'microcode'] as const)
        assert.equal(leaf.tcb[level], want[`spl_${level}`], level);
      const iso = (time: number) => new Date(time).toISOString().replace('.000Z', '+00:00');
      assert.equal(iso(certificate!.notBefore), want['not_before']);
      assert.equal(iso(certificate!.notAfter), want['not_after']);
    });

    for (const provider of [null, portableCrypto]) {
      test(`${expected.name}: the verdict, with ${provider?.name ?? 'the own'} crypto`, async () => {
        useCrypto(provider);
        forgetSignatures();
        const verdict = await verify(evidence(expected), {
          policy: {
            version: 1,
            snp: {
              allowAnyMeasurement: true,
              vmpl: expected.report['vmpl'] as number,
              allowDebug: expected.name === 'go-sev-guest',
            },
          },
          collateral: { [expected.leaf_role]: leafOf(expected) },
          time: expected.time,
        });
        const good = (id: string) => verdict.checks.find((check) => check.id === id)?.status === 'ok';
        const told = formatVerdict(verdict);
        assert.equal(good('snp.signature'), expected.signature_valid, told);
        assert.equal(good('snp.chain'), expected.chain_valid, told);
        assert.equal(good('snp.certificate-tcb'), Object.values(expected.tcb_match).every(Boolean), told);
        if (expected.hwid_match !== null) assert.equal(good('snp.chip-id'), expected.hwid_match, told);
        const right = expected.signature_valid && expected.chain_valid;
        assert.equal(verdict.verdict, right ? 'accepted' : 'rejected', told);
        const { root } = verdict.claims as Claims & { root: { product: string } | null };
        if (right) assert.equal(`ARK-${root?.product}`, expected.chain[1]![0]);
      });
    }
  }
});
