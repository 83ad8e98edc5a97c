import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import test from 'node:test';
import fc from 'fast-check';
import { nobleHash } from '../src/hash/noble.js';
import { nodeHash } from '../src/hash/node.js';
import {
  ATTESTATION_REPORT,
  decodeTcbVersion,
  encodeTcbVersion,
  LaunchDigest,
  NsgxError,
  parseAttestationReport,
  reportTcbs,
  SEV_FEATURES_SNP_ACTIVE,
  SNP_PAGE_TYPE,
  SNP_VMSA_GPA,
  snpProduct,
  tcbAtLeast,
  VMSA,
} from '../src/index.js';

const vectors = new URL('../../vectors/', import.meta.url);
const read = (path: string) => new Uint8Array(readFileSync(new URL(path, vectors)));
// biome-ignore lint/suspicious/noExplicitAny: the expectations are plain JSON
const json = (path: string): Record<string, any> => JSON.parse(readFileSync(new URL(path, vectors), 'utf8'));
const hex = (b: Uint8Array) => Buffer.from(b).toString('hex');
const refuses = (f: () => unknown, code: string) =>
  assert.throws(f, (e) => e instanceof NsgxError && e.code === code);

test('real reports of Milan and Genoa, versions 2 and 3, have the expected fields', () => {
  const expected = json('snp/EXPECTED.json');
  assert.equal(Object.keys(expected).length, 5);
  for (const [file, want] of Object.entries(expected)) {
    const r = parseAttestationReport(read(`snp/${file}`));
    assert.equal(r.VERSION, want.version);
    assert.equal(r.GUEST_SVN, want.guest_svn);
    assert.equal(`0x${r.POLICY.toString(16)}`, want.policy);
    assert.equal(r.VMPL, want.vmpl);
    assert.equal(r.SIGNATURE_ALGO, want.signature_algo);
    assert.equal(`0x${r.PLATFORM_INFO.toString(16)}`, want.platform_info);
    assert.equal(r.authorKeyEn ? 1 : 0, want.author_key_en);
    assert.equal(r.maskChipKey ? 1 : 0, want.mask_chip_key);
    assert.equal(r.signingKey, want.signing_key);
    for (const [field, key] of [
      ['FAMILY_ID', 'family_id'],
      ['IMAGE_ID', 'image_id'],
      ['REPORT_DATA', 'report_data'],
      ['MEASUREMENT', 'measurement'],
      ['HOST_DATA', 'host_data'],
      ['ID_KEY_DIGEST', 'id_key_digest'],
      ['AUTHOR_KEY_DIGEST', 'author_key_digest'],
      ['REPORT_ID', 'report_id'],
      ['REPORT_ID_MA', 'report_id_ma'],
      ['CHIP_ID', 'chip_id'],
    ] as const) {
      assert.equal(hex(r[field]), want[key], `${file} ${field}`);
    }
    assert.equal(`${r.CURRENT_MAJOR}.${r.CURRENT_MINOR}.${r.CURRENT_BUILD}`, want.current_version);
    assert.equal(`${r.COMMITTED_MAJOR}.${r.COMMITTED_MINOR}.${r.COMMITTED_BUILD}`, want.committed_version);
    const tcbs = reportTcbs(r);
    for (const which of ['current', 'reported', 'committed', 'launch'] as const) {
      const t = want[`${which}_tcb`];
      assert.deepEqual(tcbs[which], {
        BOOT_LOADER: t.bootloader,
        TEE: t.tee,
        SNP: t.snp,
        MICROCODE: t.microcode,
      });
    }
    assert.equal(r.policy.debug, (BigInt(want.policy) & (1n << 19n)) !== 0n);
    if (want.cpuid_fam_id !== undefined) {
      assert.deepEqual(
        [r.CPUID_FAM_ID, r.CPUID_MOD_ID, r.CPUID_STEP],
        [want.cpuid_fam_id, want.cpuid_mod_id, want.cpuid_step],
      );
    }
    assert.equal(r.product, file.startsWith('genoa') ? 'Genoa' : r.VERSION >= 3 ? 'Milan' : undefined);
  }
});

test('version 5 has mitigation vectors, and Turin its own TCB layout', () => {
  const b = ATTESTATION_REPORT.encode({
    VERSION: 5,
    POLICY: 0x30000n,
    SIGNATURE_ALGO: 1,
    CPUID_FAM_ID: 0x1a,
    CPUID_MOD_ID: 2,
    CPUID_STEP: 1,
    LAUNCH_MIT_VECTOR: 5n,
    CURRENT_MIT_VECTOR: 7n,
    REPORTED_TCB: 0x4d00_0000_0403_0201n,
    FLAGS: 4,
  });
  const r = parseAttestationReport(b);
  assert.equal(r.product, 'Turin');
  assert.equal(r.signingKey, 'VLEK');
  assert.equal(r.LAUNCH_MIT_VECTOR, 5n);
  assert.equal(r.CURRENT_MIT_VECTOR, 7n);
  assert.deepEqual(reportTcbs(r).reported, { FMC: 1, BOOT_LOADER: 2, TEE: 3, SNP: 4, MICROCODE: 0x4d });
  b[0] = 3;
  refuses(() => parseAttestationReport(b), 'SNP_REPORT_RESERVED');
  b.fill(0, 0x1f8, 0x208);
  parseAttestationReport(b);
  b[0] = 2;
  refuses(() => parseAttestationReport(b), 'SNP_REPORT_RESERVED');
  b.fill(0, 0x188, 0x18b);
  assert.equal(parseAttestationReport(b).product, undefined);
});

test('sizes, versions, reserved bytes and undefined values are refused', () => {
  const good = read('snp/genoa-v3-veraison.bin');
  const changed = (at: number, value: number) => {
    const b = good.slice();
    b[at] = value;
    return b;
  };
  refuses(() => parseAttestationReport(good.subarray(0, 1183)), 'SNP_REPORT_SIZE');
  refuses(() => parseAttestationReport(new Uint8Array([...good, 0])), 'SNP_REPORT_SIZE');
  for (const v of [0, 1, 6, 255]) refuses(() => parseAttestationReport(changed(0, v)), 'SNP_REPORT_VERSION');
  for (const at of [0x4c, 0x18b, 0x19f, 0x1eb, 0x1ef, 0x208, 0x29f, 0x2a0 + 144, 0x49f]) {
    refuses(() => parseAttestationReport(changed(at, 1)), 'SNP_REPORT_RESERVED');
  }
  refuses(() => parseAttestationReport(changed(0x30, 4)), 'SNP_REPORT_FIELD');
  refuses(() => parseAttestationReport(changed(0x34, 2)), 'SNP_REPORT_FIELD');
  refuses(() => parseAttestationReport(changed(0x48, 2 << 2)), 'SNP_REPORT_FIELD');
  refuses(() => parseAttestationReport(changed(0x48, 0x20)), 'SNP_REPORT_RESERVED');
});

test('TCB versions', () => {
  assert.deepEqual(decodeTcbVersion(0x5417_0000_0000_000an, 'Genoa'), {
    BOOT_LOADER: 10,
    TEE: 0,
    SNP: 23,
    MICROCODE: 84,
  });
  const turin = { FMC: 1, BOOT_LOADER: 2, TEE: 3, SNP: 4, MICROCODE: 5 };
  assert.equal(encodeTcbVersion(turin, 'Turin'), 0x0500_0000_0403_0201n);
  assert.deepEqual(decodeTcbVersion(encodeTcbVersion(turin, 'Turin'), 'Turin'), turin);
  assert.ok(tcbAtLeast(turin, { SNP: 4, MICROCODE: 5 }));
  assert.ok(!tcbAtLeast(turin, { SNP: 5 }));
  assert.ok(!tcbAtLeast({ BOOT_LOADER: 9, TEE: 9, SNP: 9, MICROCODE: 9 }, { FMC: 1 }));
  assert.equal(snpProduct(0x19, 0x01), 'Milan');
  assert.equal(snpProduct(0x19, 0xa0), 'Genoa');
  assert.equal(snpProduct(0x1a, 0x02), 'Turin');
  assert.equal(snpProduct(0x17, 0x31), undefined);
});

const OVMF_HASH =
  '086e2e9149ebf45abdc3445fba5b2da8270bdbb04094d7a2c37faaa4b24af3aa16aff8c374c2a55c467a50da6d466b74';

test('launch digests of sev-snp-measure, step by step', () => {
  const expected = json('launch-digest/EXPECTED.json') as unknown as {
    name: string;
    launch_digest: string;
    page_info_updates: number;
  }[];
  const vmsas = readdirSync(new URL('launch-digest/vmsa/', vectors)).map((f) =>
    read(`launch-digest/vmsa/${f}`),
  );
  assert.equal(expected.length, 6);
  let realPages = 0;
  for (const { name, launch_digest, page_info_updates } of expected) {
    const lines = new TextDecoder()
      .decode(read(`launch-digest/traces/trace_${name}.tsv`))
      .trim()
      .split('\n')
      .slice(1);
    assert.equal(lines.length, page_info_updates);
    // One vector begins with the digest after the firmware, which the others compute in their first step.
    const start = name.includes('ovmf_hash') ? Buffer.from(OVMF_HASH, 'hex') : undefined;
    const digest = new LaunchDigest(nodeHash, start);
    for (const line of lines) {
      const [, type, gpa, contents, after] = line.split('\t');
      const page = vmsas.find((v) => hex(nodeHash.sha384().update(v).digest()) === contents);
      if (Number(type) === SNP_PAGE_TYPE.VMSA) assert.equal(BigInt(gpa), SNP_VMSA_GPA);
      if (page !== undefined) {
        realPages++;
        digest.update(Number(type), BigInt(gpa), page);
      } else {
        digest.updateHashed(Number(type), BigInt(gpa), Buffer.from(contents, 'hex'));
      }
      assert.equal(hex(digest.digest), after, `${name} at ${gpa}`);
    }
    assert.equal(hex(digest.digest), launch_digest, name);
  }
  assert.ok(realPages >= 6, 'VMSA pages were measured from their contents');
});

test('a launch without firmware starts from zero: the first pages of an SVSM', () => {
  const lines = new TextDecoder().decode(read('launch-digest/svsm-first-64.tsv')).trim().split('\n').slice(1);
  const digest = new LaunchDigest(nobleHash);
  for (const line of lines) {
    const [, type, gpa, contents, after] = line.split('\t');
    assert.equal(
      hex(digest.updateHashed(Number(type), BigInt(gpa), Buffer.from(contents, 'hex')).digest),
      after,
    );
  }
  assert.equal(lines.length, 64);
});

test('launch digest updates: what is not measured, permissions, misuse', () => {
  const d = (f: (d: LaunchDigest) => void) => {
    const x = new LaunchDigest(nobleHash);
    f(x);
    return hex(x.digest);
  };
  const page = new Uint8Array(4096).fill(1);
  assert.equal(
    d((x) => x.update(SNP_PAGE_TYPE.ZERO, 0x1000n, page)),
    d((x) => x.update(SNP_PAGE_TYPE.ZERO, 0x1000n, null)),
  );
  assert.notEqual(
    d((x) => x.update(SNP_PAGE_TYPE.ZERO, 0x1000n, null)),
    d((x) => x.update(SNP_PAGE_TYPE.SECRETS, 0x1000n, null)),
  );
  const perms = [{}, { vmpl1: 3 }, { vmpl2: 3 }, { vmpl3: 3 }, { imi: true }].map((p) =>
    d((x) => x.update(SNP_PAGE_TYPE.NORMAL, 0x1000n, page, p)),
  );
  assert.equal(new Set(perms).size, perms.length);
  const x = new LaunchDigest(nodeHash);
  refuses(() => x.update(7, 0n, null), 'SNP_LAUNCH_PAGE');
  refuses(() => x.update(1, 0x1001n, page), 'SNP_LAUNCH_PAGE');
  refuses(() => x.update(1, 0x1000n, null), 'SNP_LAUNCH_PAGE');
  refuses(() => x.update(1, 0x1000n, page.subarray(1)), 'SNP_LAUNCH_PAGE');
  refuses(() => x.updateHashed(2, 0x1000n, new Uint8Array(47)), 'SNP_LAUNCH_PAGE');
});

test('VMSA dumps decode to a processor at its reset state', () => {
  for (const file of ['snp0.bin', 'svsm0.bin']) {
    const v = VMSA.decode(read(`launch-digest/vmsa/${file}`));
    assert.equal(v.EFER, 0x1000n, 'SVME');
    assert.equal(v.CR0, file === 'snp0.bin' ? 0x10n : 0x11n);
    assert.equal(v.DR6, 0xffff_0ff0n);
    assert.equal(v.DR7, 0x400n);
    assert.equal(v.RFLAGS, 2n);
    assert.equal(v.XCR0, 1n);
    assert.equal(v.MXCSR, 0x1f80);
    assert.equal(v.X87_FCW, file === 'snp0.bin' ? 0x37f : 0);
    assert.equal(v.G_PAT, 0x0007_0406_0007_0406n);
    assert.equal(v.CS.SELECTOR, file === 'snp0.bin' ? 0xf000 : 8);
    assert.equal(v.VMPL, 0);
    assert.equal(v.SEV_FEATURES & SEV_FEATURES_SNP_ACTIVE, 1n);
  }
});

test('fuzz: reports', () => {
  const good = read('snp/milan-v3-vlek-trustee.bin');
  const runs = { numRuns: Number(process.env['NSGX_FUZZ_RUNS'] ?? 200), seed: 20260104 };
  const attempt = (b: Uint8Array) => {
    try {
      parseAttestationReport(b);
    } catch (e) {
      assert.ok(e instanceof NsgxError, String(e));
    }
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 1300 }), attempt), runs);
  fc.assert(fc.property(fc.uint8Array({ minLength: 1184, maxLength: 1184 }), attempt), runs);
  fc.assert(
    fc.property(fc.nat(1183), fc.nat(7), (at, bit) => {
      const b = good.slice();
      b[at] ^= 1 << bit;
      attempt(b);
    }),
    runs,
  );
});
