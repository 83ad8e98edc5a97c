import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import {
  AttestError,
  type Collateral,
  collateralFromFiles,
  decodeEvidence,
  formatVerdict,
  type PolicyDocument,
  parseCertificate,
  parseCertificateTable,
  parsePolicy,
  parseSnpReport,
  RAW_SNP_CHECKS,
  readSnpEvidence,
  snpChain,
  snpKeyDigest,
  type Verdict,
  verify,
} from '../src/index.js';
import { amdCertificates, readLeaf, verifyEndorsement } from '../src/snp/endorsement.js';
import { derBlocks } from '../src/x509/pem.js';
import { hex } from './producer.js';

const vector = (name: string) =>
  new Uint8Array(readFileSync(new URL(`../../vectors/snp/${name}`, import.meta.url)));
const TIME = '2025-06-01T00:00:00Z';
const V5_TIME = '2026-06-01T00:00:00Z';

const TSM = ['genoa-v3.tsm.json', 'genoa-v3.tsm.cbor'];

/** Report and certificate table of the TSM report, taken apart without the package's help. */
function genoa(): { report: Uint8Array; table: Uint8Array } {
  const tsm = JSON.parse(new TextDecoder().decode(vector('genoa-v3.tsm.json'))) as Record<string, string>;
  const blob = (name: string) => new Uint8Array(Buffer.from(tsm[name] ?? '', 'base64url'));
  return { report: blob('outblob'), table: blob('auxblob') };
}

const ANY: PolicyDocument = { version: 1, snp: { allowAnyMeasurement: true } };
const statusOf = (verdict: Verdict, id: string) => verdict.checks.find((check) => check.id === id)?.status;
const failures = (verdict: Verdict) =>
  verdict.checks.filter((check) => check.status === 'failed').map((check) => check.id);

async function appraise(
  report: Uint8Array,
  collateral: Collateral,
  snp: PolicyDocument['snp'] = {},
  time = TIME,
): Promise<Verdict> {
  return verify(report, {
    policy: { version: 1, snp: { allowAnyMeasurement: true, ...snp } },
    collateral,
    time,
  });
}

/** Checks that cannot be made without a leaf, or fail with any that is not the report's. */
const LEAF_CHECKS = ['snp.signing-key', 'snp.chip-id', 'snp.certificate-tcb'];
const pemToDer = (file: Uint8Array) => derBlocks(file, 'CERTIFICATE', 'the leaf')[0]!;
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
      ...LEAF_CHECKS,
    ]);
    assert.equal((verdict.claims['snp'] as { cspId: string }).cspId, 'CN=cc-us-east-2.amazonaws.com');
    const cspId = ['CN=cc-us-east-2.amazonaws.com'];
    assert.equal((await appraise(report, { vlek }, { vmpl: 1, cspId })).verdict, 'accepted');
    assert.deepEqual(failures(await appraise(report, { vlek }, { vmpl: 1, cspId: ['CN=x'] })), [
      'snp.signing-key',
    ]);
  });

  test('Genoa, version 3, as a TSM report with its certificates', async () => {
    for (const name of TSM) {
      const verdict = await appraise(vector(name), {});
      assert.equal(verdict.verdict, 'accepted', formatVerdict(verdict));
      assert.equal((verdict.claims['root'] as { product: string }).product, 'Genoa');
      const { report, certificates } = readSnpEvidence(vector(name));
      assert.equal(report.product, 'Genoa');
      assert.deepEqual(Object.keys(certificates).sort(), ['ark', 'ask', 'others', 'vcek']);
      const decoded = decodeEvidence(vector(name)) as unknown as {
        certificates: { vcek: { subject: string } };
      };
      assert.match(decoded.certificates.vcek.subject, /CN=SEV-VCEK/);
    }
  });

  test('a report followed by its certificate table', async () => {
    const { report, table } = genoa();
    const extended = new Uint8Array(report.length + table.length + 100);
    extended.set(report);
    extended.set(table, report.length);
    const verdict = await appraise(extended, {});
    assert.equal(verdict.verdict, 'accepted', formatVerdict(verdict));
    // Without the table the leaf is missing; what the caller gives goes before what the evidence has.
    assert.deepEqual(failures(await appraise(report, {})), ['snp.signature', 'snp.chain', ...LEAF_CHECKS]);
    assert.equal((await appraise(extended, { vcek: milanVcek() })).verdict, 'rejected');
    const { vcek } = parseCertificateTable(table);
    assert.equal((await appraise(report, { vcek: vcek! })).verdict, 'accepted');
    // The table may also lie beside the report.
    const beside = collateralFromFiles([['auxblob.bin', table]]);
    assert.equal((await appraise(report, beside)).verdict, 'accepted');
    const lies = await appraise(report, { auxblob: table.subarray(0, 100) });
    assert.deepEqual(failures(lies), ['snp.signature', 'snp.chain', ...LEAF_CHECKS]);
    assert.match(formatVerdict(lies), /certificate table/);
  });

  test('Genoa and Turin, version 5, with mitigation vectors', async () => {
    for (const [name, product, tcb] of [
      ['genoa', 'Genoa', { fmc: null, bootloader: 10, tee: 0, snp: 27, microcode: 88 }],
      ['turin', 'Turin', { fmc: 0, bootloader: 1, tee: 0, snp: 2, microcode: 71 }],
    ] as const) {
      const vcek = vector(`${name}-v5.chain.pem`);
      const verdict = await appraise(vector(`${name}-v5.report.bin`), { vcek }, {}, V5_TIME);
      assert.equal(verdict.verdict, 'accepted', formatVerdict(verdict));
      assert.equal((verdict.claims['root'] as { product: string }).product, product);
      const snp = verdict.claims['snp'] as Record<string, unknown>;
      assert.deepEqual([snp['reportVersion'], snp['reportedTcb']], [5, tcb]);
      assert.match(String(snp['launchMitigations']), /^[0-9a-f]{16}$/);
    }
    const turin = { vcek: vector('turin-v5.chain.pem') };
    const judge = async (snp: PolicyDocument['snp']) =>
      failures(await appraise(vector('turin-v5.report.bin'), turin, snp, V5_TIME));
    assert.deepEqual(await judge({ minTcb: { fmc: 1 } }), ['snp.tcb']);
    assert.deepEqual(await judge({ products: ['Turin'], minFirmware: '1.55.61' }), []);
    assert.deepEqual(await judge({ minFirmware: '1.55.62' }), ['snp.firmware']);
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
      const named = name.includes('turin') ? ['snp.signature'] : ['snp.signature', 'snp.chain'];
      assert.deepEqual(
        failures(verdict).filter((id) => id !== 'snp.product'),
        [...named, 'snp.chip-id', 'snp.certificate-tcb'],
        formatVerdict(verdict),
      );
    }
  });

  test('without a pin any guest would do: refused where the policy insists', async () => {
    const judge = async (snp: PolicyDocument['snp']) =>
      failures(
        await verify(milan(), {
          policy: { version: 1, snp: { allowAnyMeasurement: false, ...snp } },
          collateral: { vcek: milanVcek() },
          time: TIME,
        }),
      );
    const { idKeyDigest, measurement } = parseSnpReport(milan());
    assert.deepEqual(await judge({}), ['snp.launch-digest']);
    assert.deepEqual(await judge({ hostData: ['00'.repeat(32)] }), ['snp.launch-digest']);
    assert.deepEqual(await judge({ idKeyDigest: [hex(idKeyDigest)] }), []);
    assert.deepEqual(await judge({ idKeyDigest: ['00'.repeat(48)] }), ['snp.id-block']);
    assert.deepEqual(await judge({ launchDigest: [hex(measurement)] }), []);
    assert.deepEqual(await judge({ launchDigest: ['00'.repeat(48)], allowAnyMeasurement: true }), [
      'snp.launch-digest',
    ]);
  });

  test('without a leaf the report is refused and the cure is named', async () => {
    const verdict = await appraise(milan(), {});
    assert.deepEqual(failures(verdict), ['snp.signature', 'snp.chain', ...LEAF_CHECKS]);
    assert.match(formatVerdict(verdict), /no VCEK was given: put it into the collateral as vcek\.der/);
  });

  test('report data are compared when given', async () => {
    const collateral = { vcek: milanVcek() };
    const reportData = hex(parseSnpReport(milan()).reportData);
    assert.equal(
      statusOf(await verify(milan(), { collateral, reportData, time: TIME, policy: ANY }), 'report-data'),
      'ok',
    );
    const wrong = await verify(milan(), { collateral, reportData: '00', time: TIME, policy: ANY });
    assert.deepEqual(failures(wrong), ['report-data']);
  });

  test('every certificate of AMD’s is built in, and a Turin’s VCEK leads to its root', () => {
    const roots = amdCertificates();
    assert.deepEqual(
      roots.map((certificate) => certificate.subject.commonName).sort(),
      ['Genoa', 'Milan', 'Turin']
        .flatMap((name) => [`ARK-${name}`, `SEV-${name}`, `SEV-VLEK-${name}`])
        .sort(),
    );
    const policy = parsePolicy({ version: 1 });
    const { root } = verifyEndorsement([vector('turin.vcek.der')], false, policy, Date.parse(TIME));
    assert.deepEqual([root.kind, root.kind === 'amd' && root.product], ['amd', 'Turin']);
    const { leaf } = readLeaf(vector('turin.vcek.der'));
    assert.equal(leaf.hwid?.length, 8);
    assert.equal(leaf.productName, 'Turin');
    assert.deepEqual(leaf.tcb, { fmc: 0, bootloader: 0, tee: 0, snp: 0, microcode: 9 });
  });

  test('strict parsing: sizes, versions, reserved bytes, undefined values', () => {
    const reports: [Uint8Array, [number, number][]][] = [
      [
        milan(),
        [
          [0x4c, 0x50],
          [0x188, 0x1a0],
          [0x1eb, 0x1ec],
          [0x1ef, 0x1f0],
          [0x1f8, 0x2a0],
          [0x2d0, 0x2e8],
          [0x318, 0x4a0],
        ],
      ],
      [
        genoa().report,
        [
          [0x4c, 0x50],
          [0x18b, 0x1a0],
          [0x1eb, 0x1ec],
          [0x1f8, 0x2a0],
          [0x3a, 0x3e],
          [0x1e2, 0x1e6],
        ],
      ],
    ];
    for (const [report, ranges] of reports) {
      for (const [from, to] of ranges) {
        for (let at = from; at < to; at++) {
          const bad = report.slice();
          bad[at] = 1;
          assert.throws(() => parseSnpReport(bad), AttestError, `0x${at.toString(16)}`);
        }
      }
    }
    for (const version of [0, 1, 4, 6, 0x10002]) {
      const bad = milan();
      new DataView(bad.buffer).setUint32(0, version, true);
      assert.throws(() => parseSnpReport(bad), AttestError);
    }
    for (const size of [0, 1183, 1185])
      assert.throws(() => parseSnpReport(new Uint8Array(size)), AttestError);
  });

  test('certificate tables that lie are refused', async () => {
    const { report, table } = genoa();
    const entry = (i: number, offset: number, length: number): Uint8Array => {
      const bad = table.slice();
      const view = new DataView(bad.buffer);
      view.setUint32(24 * i + 16, offset, true);
      view.setUint32(24 * i + 20, length, true);
      return bad;
    };
    const twice = table.slice();
    twice.copyWithin(0, 24, 40);
    for (const bad of [
      entry(0, 0, 10),
      entry(0, 95, 10),
      entry(1, 96, 0),
      entry(1, 96, table.length),
      entry(2, 0xffff_ffff, 0xffff_ffff),
      entry(3, 96, 10),
      twice,
      table.subarray(0, 72),
      table.subarray(0, 100),
      new Uint8Array(10),
      new Uint8Array(24 * 40).fill(1),
    ]) {
      assert.throws(() => parseCertificateTable(bad), AttestError);
      const evidence = new Uint8Array([...report, ...bad]);
      assert.deepEqual(failures(await appraise(evidence, {})), ['evidence.format']);
    }
    assert.deepEqual(parseCertificateTable(new Uint8Array(24)), { others: [] });
    const unknown = table.slice();
    unknown[0]! ^= 1;
    assert.deepEqual(parseCertificateTable(unknown).others, ['c1b406a4-a803-4952-9743-3fb6014cd0ae']);
  });

  test('TSM reports that are none are refused', async () => {
    const { report, table } = genoa();
    const json = (fields: object) => new TextEncoder().encode(JSON.stringify(fields));
    const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
    const good = { provider: 'sev_guest', outblob: text(report), auxblob: text(table) };
    assert.equal((await appraise(json(good), {})).verdict, 'accepted');
    const cbor = vector('genoa-v3.tsm.cbor');
    for (const bad of [
      json({ ...good, provider: 'tdx_guest' }),
      json({ ...good, outblob: 1 }),
      json({ ...good, outblob: '!' }),
      json({ ...good, outblob: undefined }),
      json({ ...good, outblob: text(new Uint8Array([...report, 1])) }),
      json({ ...good, extra: '' }),
      json([]),
      new TextEncoder().encode('{'),
      Uint8Array.of(0x7b, 0xff),
      cbor.subarray(0, cbor.length - 1),
      new Uint8Array([...cbor, 0]),
      Uint8Array.of(0xa1, 0x1b, 0),
      Uint8Array.of(0xa0, 0),
      Uint8Array.of(0xa1, 0x61, 0x61, 0x18, 0x17),
    ])
      assert.deepEqual(failures(await appraise(bad, {})), ['evidence.format']);
  });
});

test('chains are completed with AMD’s authorities', () => {
  const names = (role: 'vcek' | 'vlek', report: Uint8Array, leaf: Uint8Array) =>
    snpChain(parseSnpReport(report), { others: [] }, { [role]: leaf }).map(
      (der) => parseCertificate(der).subject.commonName,
    );
  const vlek = vector('milan-v3-vlek.vlek.der');
  assert.deepEqual(names('vcek', milan(), milanVcek()), ['SEV-VCEK', 'SEV-Milan', 'ARK-Milan']);
  assert.deepEqual(names('vlek', vector('milan-v3-vlek.report.bin'), vlek), [
    'SEV-VLEK',
    'SEV-VLEK-Milan',
    'ARK-Milan',
  ]);
  assert.throws(() => snpChain(parseSnpReport(milan()), { others: [] }, { vlek }), AttestError);
});

test('digests of ID and author keys', () => {
  // Public keys and digests of virtee/sev-snp-measure (Apache-2.0), tests/test_id_block.py.
  for (const [spki, digest] of [
    [
      'MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEsg/RocK9K2UYOnbiOQrIBfbY5eKvcl5ajpPPh+wCn51F6zJrBLkr63FOFPqYb4qaLJSguKswzHY1JnWUSHaJHpVP9u9YJqYjG6bW1/br+2jOMw4eWTlO+3CAiD3caTZL',
      'hwt+NcU/inLQ0yL3WrKvgmJ5Kq9leWIs5BMcPyHyied8sFYKXjuQs5MuZ07HCcsU',
    ],
    [
      'MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEBoEfxiQJvy2a5RwHQjJU2JPGwj+/FkrzODsPgTpifmFo2QZ6f0vZeZBYjBhBEhCgMrQgoiZW0nHc/U4lZoxy/Vi7X2hR/kcvnRYPiAsU30w2IwaJYs3k1gjnNzQtqRLJ',
      'YxEcNLv8Ckk4+aAJvQdJgNgXIyPmFZnJ/TNtqGcySOHcqY0L6PdjdqEGuK/UwKBX',
    ],
  ] as const) {
    const key = new Uint8Array(Buffer.from(spki, 'base64'));
    assert.equal(snpKeyDigest(key), Buffer.from(digest, 'base64').toString('hex'));
    assert.throws(() => snpKeyDigest(key.subarray(1)), AttestError);
  }
});

describe('every single bit', () => {
  const all = process.env['NSGX_SOAK'] !== undefined;
  const subjects: [string, () => Uint8Array, Collateral, NonNullable<PolicyDocument['snp']>][] = [
    ['Milan', milan, { vcek: milanVcek() }, {}],
    [
      'Milan with a VLEK',
      () => vector('milan-v3-vlek.report.bin'),
      { vlek: vector('milan-v3-vlek.vlek.der') },
      { vmpl: 1 },
    ],
    [
      'Milan with debugging',
      () => vector('milan-v2-debug.report.bin'),
      { vcek: vector('milan-v2-debug.vcek.der') },
      { allowDebug: true },
    ],
    ['Genoa', () => genoa().report, { vcek: pemToDer(parseCertificateTable(genoa().table).vcek!) }, {}],
    ['Turin', () => vector('turin-v5.report.bin'), { vcek: pemToDer(vector('turin-v5.chain.pem')) }, {}],
  ];
  // One report and its leaf take about ten seconds; the others wait for the soak run.
  for (const [name, make, collateral, snp] of all ? subjects : subjects.slice(0, 1)) {
    test(`of a genuine report and of its leaf is needed: ${name}`, async () => {
      const [[role, leaf]] = Object.entries(collateral) as [[string, Uint8Array]];
      const report = make();
      const accepted = async (bytes: Uint8Array, given: Uint8Array) =>
        (await appraise(bytes, { [role]: given }, snp, name === 'Turin' ? V5_TIME : TIME)).verdict ===
        'accepted';
      assert.ok(await accepted(report, leaf), name);
      const survivors: string[] = [];
      for (const [what, bytes] of [
        ['report', report],
        ['leaf', leaf],
      ] as const) {
        for (let bit = 0; bit < 8 * bytes.length; bit++) {
          const bad = bytes.slice();
          bad[bit >> 3]! ^= 1 << (bit & 7);
          if (await accepted(what === 'report' ? bad : report, what === 'leaf' ? bad : leaf))
            survivors.push(`${what} bit ${bit}`);
        }
      }
      assert.deepEqual(survivors, []);
    });
  }
});
