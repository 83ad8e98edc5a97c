import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { readIdentity, readTcbInfo } from '../src/dcap/documents.js';
import { converge, relaunch } from '../src/dcap/tcb-status.js';
import {
  AttestError,
  type Collateral,
  DCAP_SGX_CHECKS,
  DCAP_TDX_CHECKS,
  formatVerdict,
  type PolicyDocument,
  parseDcapQuote,
  type Verdict,
  verify,
} from '../src/index.js';
import { certify, PLATFORM, pem, type QuoteFields, TestIntel, TIME } from './intel.js';
import { concat, le } from './producer.js';

const intel = new TestIntel();
const text = (value: string) => new TextEncoder().encode(value);
const ANY = { allowAnyMeasurement: true } as const;
const SGX_QUOTE: QuoteFields = { version: 3, kind: 'sgx' };
const TDX_QUOTE: QuoteFields = { version: 4, kind: 'tdx' };
const TD15: QuoteFields = { version: 5, kind: 'tdx', bodyType: 3 };

async function appraise(
  fields: QuoteFields,
  change: Collateral = {},
  dcap: PolicyDocument['dcap'] = ANY,
  issuer = intel,
  time = TIME,
): Promise<Verdict> {
  const collateral = issuer.prepare(issuer.collateral(fields.kind, change));
  return verify(issuer.quote(fields), { policy: { version: 1, dcap }, collateral, time });
}

const failures = (verdict: Verdict) =>
  verdict.checks.filter((check) => check.status === 'failed').map((check) => check.id);
const detail = (verdict: Verdict, id: string) => verdict.checks.find((check) => check.id === id)!.detail;

async function accepted(fields: QuoteFields, change: Collateral = {}, dcap: PolicyDocument['dcap'] = ANY) {
  const verdict = await appraise(fields, change, dcap);
  assert.equal(verdict.verdict, 'accepted', formatVerdict(verdict));
  return verdict;
}

async function refused(
  fields: QuoteFields,
  change: Collateral,
  id: string,
  reason: RegExp,
  dcap: PolicyDocument['dcap'] = ANY,
) {
  const verdict = await appraise(fields, change, dcap);
  assert.deepEqual(failures(verdict), [id], formatVerdict(verdict));
  assert.match(detail(verdict, id), reason);
  assert.equal(verdict.verdict, 'rejected');
}

const tcbInfo = (id: 'SGX' | 'TDX', change: Record<string, unknown>): Collateral => ({
  tcbInfo: intel.document('tcbInfo', intel.tcbInfo(id, change)),
});
const identity = (id: 'QE' | 'TD_QE', change: Record<string, unknown>): Collateral => ({
  qeIdentity: intel.document('enclaveIdentity', intel.identity(id, change)),
});

describe('quotes of every version and body', () => {
  test('are accepted', async () => {
    const sgx = await accepted(SGX_QUOTE);
    assert.deepEqual(
      sgx.checks.map((check) => check.id),
      DCAP_SGX_CHECKS,
    );
    await accepted({ version: 4, kind: 'sgx' });
    await accepted({ version: 5, kind: 'sgx' });
    const tdx = await accepted(TDX_QUOTE);
    assert.deepEqual(
      tdx.checks.map((check) => check.id),
      DCAP_TDX_CHECKS,
    );
    for (const bodyType of [2, 3, 4]) await accepted({ version: 5, kind: 'tdx', bodyType });
    assert.equal(tdx.claims['tcbEvaluationNumber'], 19);
    assert.equal(tdx.claims['tcbDate'], '2025-06-01T00:00:00Z');
  });

  test('with a body that does not belong are malformed', () => {
    const typed = (verb: (quote: Uint8Array) => void) => {
      const quote = intel.quote(TD15);
      verb(quote);
      assert.throws(() => parseDcapQuote(quote), AttestError);
    };
    typed((quote) => quote.set([2], 48));
    typed((quote) => quote.set([1], 48));
    typed((quote) => quote.set([5], 48));
    typed((quote) => quote.set([0], 4));
    typed((quote) => quote.set([3], 0));
    typed((quote) => quote.set([6], 0));
    typed((quote) => quote.set([3], 2));
    typed((quote) => quote.set([0], 12));
    assert.throws(() => parseDcapQuote(intel.quote({ ...TDX_QUOTE, version: 3 })), /TEE type/);
    assert.throws(() => parseDcapQuote(concat(intel.quote(TDX_QUOTE), Uint8Array.of(1))), /not zero/);
  });
});

describe('certification data', () => {
  const leaf = text(pem(intel.pck.der));
  const pck = text(pem(intel.pck.der) + pem(intel.authority.der));
  const ids = (ppid: Uint8Array, pceSvn = 13, pceId = 0) =>
    concat(ppid, new Uint8Array(16), le(pceSvn, 2), le(pceId, 2));

  test('of type 4 needs the authority, of types 1, 2, 3 and 7 the PCK too, from the collateral', async () => {
    for (const certificationData of [leaf, intel.pck.der]) {
      const fields = { ...SGX_QUOTE, certificationType: 4, certificationData };
      await accepted(fields, { pck });
      await accepted(fields, { pck: text(pem(intel.authority.der)) });
      await refused(fields, {}, 'dcap.pck-chain', /issuer of 'Intel SGX PCK Certificate', is given/);
    }
    for (const [type, data] of [
      [1, ids(PLATFORM.ppid)],
      [2, ids(new Uint8Array(256))],
      [3, ids(new Uint8Array(384))],
      [7, new Uint8Array(100)],
    ] as const) {
      for (const base of [SGX_QUOTE, TDX_QUOTE, TD15]) {
        const fields = { ...base, certificationType: type, certificationData: data };
        await accepted(fields, { pck });
        await refused(fields, {}, 'dcap.pck-chain', new RegExp(`data of type ${type}.*as pck.pem`));
      }
    }
    const other = { ...SGX_QUOTE, certificationType: 1 };
    const data = (certificationData: Uint8Array) => ({ ...other, certificationData });
    await refused(data(ids(new Uint8Array(16))), { pck }, 'dcap.pck-chain', /PPID/);
    await refused(data(ids(PLATFORM.ppid, 12)), { pck }, 'dcap.pck-chain', /PCESVN/);
    await refused(data(ids(PLATFORM.ppid, 13, 1)), { pck }, 'dcap.pck-chain', /PCE/);
  });

  test('of other types or sizes is malformed', async () => {
    for (const [certificationType, certificationData] of [
      [0, leaf],
      [6, leaf],
      [8, leaf],
      [1, ids(new Uint8Array(15))],
      [2, ids(PLATFORM.ppid)],
      [3, concat(ids(new Uint8Array(384)), Uint8Array.of(1))],
    ] as const) {
      const verdict = await appraise({ ...SGX_QUOTE, certificationType, certificationData });
      assert.deepEqual(failures(verdict), ['evidence.format'], formatVerdict(verdict));
    }
  });

  test('with the chain in any order, and nothing besides', async () => {
    const [a, b, c] = [intel.pck.der, intel.authority.der, intel.root.der].map((der) => pem(der));
    for (const order of [
      [a, b, c],
      [a, c, b],
      [c, b, a],
      [b, c, a],
      [a, b],
    ])
      await accepted({ ...SGX_QUOTE, certificationData: text(order.join('')) });
    for (const order of [[a], [b, c], [a, b, c, pem(intel.signer.der)]]) {
      const fields = { ...SGX_QUOTE, certificationData: text(order.join('')) };
      assert.deepEqual(failures(await appraise(fields)), ['dcap.pck-chain']);
    }
    const stranger = new TestIntel();
    const foreign = { ...SGX_QUOTE, certificationData: text(stranger.chain()) };
    await refused(foreign, {}, 'dcap.pck-chain', /key fingerprint/);
  });
});

describe('revocation', () => {
  test('of PCK, authority or signer is found', async () => {
    const revoked = /is revoked/;
    await refused(
      SGX_QUOTE,
      { pckCrl: intel.list(intel.authority, [intel.pck]) },
      'dcap.revocation',
      revoked,
    );
    await refused(
      SGX_QUOTE,
      { rootCrl: intel.list(intel.root, [intel.authority]) },
      'dcap.revocation',
      revoked,
    );
    const signer = await appraise(SGX_QUOTE, { rootCrl: intel.list(intel.root, [intel.signer]) });
    assert.deepEqual(failures(signer), ['dcap.tcb-info', 'dcap.qe-identity']);
    assert.match(detail(signer, 'dcap.tcb-info'), revoked);
    await accepted(SGX_QUOTE, { pckCrl: intel.list(intel.authority, [intel.signer]) });
  });

  test('lists of both authorities may be given, and the right one is taken', async () => {
    const processor = new TestIntel(PLATFORM, 'Intel SGX PCK Processor CA');
    const given = {
      pckCrl: undefined,
      pckCrlProcessor: processor.list(processor.authority),
      pckCrlPlatform: intel.list(intel.authority),
    };
    assert.equal((await appraise(SGX_QUOTE, given, ANY, processor)).verdict, 'accepted');
    await accepted(SGX_QUOTE, given);
    const both = [given.pckCrlProcessor, given.pckCrlPlatform].map((der) => pem(der, 'X509 CRL')).join('');
    await accepted(SGX_QUOTE, { pckCrl: text(both) });
    await refused(SGX_QUOTE, { pckCrl: given.pckCrlProcessor }, 'dcap.revocation', /list is by/);
    const revoked = { ...given, pckCrlPlatform: intel.list(intel.authority, [intel.pck]) };
    await refused(SGX_QUOTE, revoked, 'dcap.revocation', /is revoked/);
  });

  test('lists without number, of strangers, or forged are refused', async () => {
    const plain = intel.list(intel.authority, [], true);
    await refused(SGX_QUOTE, { pckCrl: plain }, 'dcap.revocation', /no extension 2\.5\.29\.20/);
    const stranger = new TestIntel();
    const foreign = { pckCrl: stranger.list(stranger.authority) };
    await refused(SGX_QUOTE, foreign, 'dcap.revocation', /signature on the revocation list/);
    const other = new TestIntel(PLATFORM, 'Intel SGX PCK Unknown CA');
    assert.match(detail(await appraise(SGX_QUOTE, {}, ANY, other), 'dcap.pck-chain'), /not issued by/);
  });
});

describe('TCB levels', () => {
  const withPlatform = (change: Partial<typeof PLATFORM>) => new TestIntel({ ...PLATFORM, ...change });
  const status = async (issuer: TestIntel, fields: QuoteFields, change: Collateral = {}) => {
    const verdict = await appraise(fields, change, ANY, issuer);
    return [verdict.claims['tcbStatus'], verdict.claims['advisories'], failures(verdict)];
  };

  test('are the first that every component and PCESVN reach', async () => {
    const at = 'dcap.tcb-status';
    assert.deepEqual(await status(intel, SGX_QUOTE), ['UpToDate', [], []]);
    assert.deepEqual(await status(withPlatform({ pceSvn: 12 }), SGX_QUOTE), [
      'ConfigurationNeeded',
      ['INTEL-SA-00002'],
      [at],
    ]);
    const older = withPlatform({ components: [3, 3, 2, 2, 4, 1, 0, 4, 255, 0, 0, 0, 0, 0, 0, 0] });
    assert.deepEqual(await status(older, SGX_QUOTE), ['OutOfDate', ['INTEL-SA-00003'], [at]]);
    const oldest = withPlatform({ components: [2, ...PLATFORM.components.slice(1)] });
    const none = await appraise(SGX_QUOTE, {}, ANY, oldest);
    assert.deepEqual(failures(none), [at]);
    assert.match(detail(none, at), /no TCB level/);
  });

  test('are put in order, and twice the same is refused', () => {
    const levels = intel.tcbInfo('TDX')['tcbLevels'] as unknown[];
    const read = (list: unknown[]) =>
      readTcbInfo(intel.document('tcbInfo', intel.tcbInfo('TDX', { tcbLevels: list }))).value.levels;
    assert.deepEqual(read([...levels].reverse()), read(levels));
    assert.throws(() => read([...levels, levels[1]]), /one level twice/);
  });

  test("converge with the QE's and the module's", async () => {
    const accept = { ...ANY, acceptStatus: ['OutOfDate' as const] };
    const old = { ...SGX_QUOTE, qeIsvSvn: 7 };
    const outdated = await appraise(old, {}, accept);
    assert.equal(outdated.verdict, 'accepted', formatVerdict(outdated));
    assert.deepEqual(outdated.claims['advisories'], ['INTEL-SA-00006']);
    await refused(old, {}, 'dcap.tcb-status', /OutOfDate \(INTEL-SA-00006\)/);
    await refused({ ...SGX_QUOTE, qeIsvSvn: 5 }, {}, 'dcap.tcb-status', /Revoked/, accept);
    await refused({ ...SGX_QUOTE, qeIsvSvn: 0 }, {}, 'dcap.qe-identity', /no TCB level of the QE/);
    const table: [Parameters<typeof converge>[0], Parameters<typeof converge>[1], string][] = [
      ['UpToDate', ['UpToDate', 'UpToDate'], 'UpToDate'],
      ['SWHardeningNeeded', ['UpToDate'], 'SWHardeningNeeded'],
      ['UpToDate', ['OutOfDate'], 'OutOfDate'],
      ['SWHardeningNeeded', ['UpToDate', 'OutOfDate'], 'OutOfDate'],
      ['ConfigurationNeeded', ['OutOfDate'], 'OutOfDateConfigurationNeeded'],
      ['ConfigurationAndSWHardeningNeeded', ['OutOfDate'], 'OutOfDateConfigurationNeeded'],
      ['OutOfDate', ['OutOfDate'], 'OutOfDate'],
      ['OutOfDateConfigurationNeeded', ['OutOfDate'], 'OutOfDateConfigurationNeeded'],
      ['UpToDate', ['OutOfDate', 'Revoked'], 'Revoked'],
      ['Revoked', ['UpToDate'], 'Revoked'],
    ];
    for (const [platform, parts, expected] of table) assert.equal(converge(platform, parts), expected);
  });

  test('of TDX modules: by major version, and the level skips what the module covers', async () => {
    const svn =
      (...values: number[]) =>
      (body: Uint8Array) =>
        body.set(values, 0);
    const at = 'dcap.tcb-status';
    const found = (values: number[]) => status(intel, { ...TDX_QUOTE, body: svn(...values) });
    assert.deepEqual(await found([6, 1, 3]), ['UpToDate', [], []]);
    assert.deepEqual(await found([5, 1, 3]), ['OutOfDate', ['INTEL-SA-00004'], [at]]);
    assert.deepEqual(await found([2, 1, 3]), ['Revoked', ['INTEL-SA-00005'], [at]]);
    assert.deepEqual(await found([3, 3, 3]), ['UpToDate', [], []]);
    assert.deepEqual(await found([5, 0, 3]), ['UpToDate', [], []]);
    assert.deepEqual(await found([4, 0, 3]), ['OutOfDate', ['INTEL-SA-00003'], [at]]);
    await refused({ ...TDX_QUOTE, body: svn(1, 1, 3) }, {}, at, /no TCB level of TDX module TDX_01/);
    await refused({ ...TDX_QUOTE, body: svn(6, 1, 1) }, {}, at, /no TCB level/);
    await refused({ ...TDX_QUOTE, body: svn(6, 2, 3) }, {}, 'dcap.tdx-module', /TDX_02/);
    await refused({ ...TDX_QUOTE, body: (body) => body.set([1], 64) }, {}, 'dcap.tdx-module', /MRSIGNERSEAM/);
    const attributes = { ...TDX_QUOTE, body: (body: Uint8Array) => body.set([1], 112) };
    await refused(attributes, {}, 'dcap.tdx-module', /SEAMATTRIBUTES/);
  });

  test('of TDX 1.5 are rated at launch and now', async () => {
    const two = (launch: number[], now: number[]) => (body: Uint8Array) => {
      body.set(launch, 0);
      body.set(now, 584);
    };
    const at = 'dcap.tcb-status';
    for (const bodyType of [3, 4]) {
      const found = (launch: number[], now: number[]) =>
        status(intel, { ...TD15, bodyType, body: two(launch, now) });
      assert.deepEqual(await found([5, 1, 3], [6, 1, 3]), ['TDRelaunchAdvised', ['INTEL-SA-00004'], [at]]);
      assert.deepEqual(await found([5, 1, 3], [3, 3, 3]), ['TDRelaunchAdvised', ['INTEL-SA-00004'], [at]]);
      assert.deepEqual(await found([5, 1, 3], [5, 1, 3]), ['OutOfDate', ['INTEL-SA-00004'], [at]]);
      assert.deepEqual(await found([6, 1, 3], [5, 1, 3]), ['UpToDate', [], []]);
      const unknown = await appraise({ ...TD15, bodyType, body: two([6, 1, 3], [6, 2, 3]) });
      assert.deepEqual(failures(unknown), [at]);
    }
    const configured = withPlatform({ pceSvn: 12 });
    const [name] = await status(configured, { ...TD15, body: two([5, 1, 3], [6, 1, 3]) });
    assert.equal(name, 'TDRelaunchAdvisedConfigurationNeeded');
    const accept = { ...ANY, acceptStatus: ['TDRelaunchAdvised' as const] };
    await accepted({ ...TD15, body: two([5, 1, 3], [6, 1, 3]) }, {}, accept);
    for (const now of ['OutOfDate', 'OutOfDateConfigurationNeeded', 'Revoked'] as const)
      assert.equal(relaunch('OutOfDate', now), 'OutOfDate');
    for (const launch of ['UpToDate', 'SWHardeningNeeded', 'ConfigurationNeeded', 'Revoked'] as const)
      assert.equal(relaunch(launch, 'UpToDate'), launch);
    assert.equal(relaunch('OutOfDate', 'SWHardeningNeeded'), 'TDRelaunchAdvised');
    assert.equal(
      relaunch('OutOfDate', 'ConfigurationAndSWHardeningNeeded'),
      'TDRelaunchAdvisedConfigurationNeeded',
    );
    assert.equal(
      relaunch('OutOfDateConfigurationNeeded', 'UpToDate'),
      'TDRelaunchAdvisedConfigurationNeeded',
    );
  });
});

const deep = (levels: number): unknown => (levels === 0 ? [] : [deep(levels - 1)]);

describe("Intel's documents", () => {
  test('must fit quote and platform, and be current', async () => {
    const info = 'dcap.tcb-info';
    await refused(SGX_QUOTE, tcbInfo('SGX', { fmspc: '000102030406' }), info, /is for FMSPC/);
    await refused(SGX_QUOTE, tcbInfo('SGX', { pceId: '0001' }), info, /is for FMSPC/);
    await refused(SGX_QUOTE, tcbInfo('TDX', {}), info, /is for TDX/);
    await refused(SGX_QUOTE, tcbInfo('SGX', { nextUpdate: '2026-05-31T23:59:59Z' }), info, /replaced/);
    await refused(SGX_QUOTE, tcbInfo('SGX', { issueDate: '2026-06-01T00:00:01Z' }), info, /issued/);
    const qe = 'dcap.qe-identity';
    await refused(SGX_QUOTE, identity('TD_QE', {}), qe, /TD_QE/);
    await refused(SGX_QUOTE, identity('QE', { nextUpdate: '2026-05-31T23:59:59Z' }), qe, /replaced/);
    for (const [field, value, reason] of [
      ['mrsigner', 'BB'.repeat(32), /MRSIGNER/],
      ['isvprodid', 2, /ISVPRODID/],
      ['miscselect', '00000001', /MISCSELECT/],
      ['attributes', `13${'00'.repeat(15)}`, /ATTRIBUTES/],
    ] as const)
      await refused(SGX_QUOTE, identity('QE', { [field]: value }), qe, reason);
    const debug = { ...SGX_QUOTE, qeAttributes: Uint8Array.of(0x17) };
    await refused(debug, {}, qe, /ATTRIBUTES/);
    const forged = intel.document('tcbInfo', intel.tcbInfo('SGX'), intel.pck.key);
    await refused(SGX_QUOTE, { tcbInfo: forged }, info, /signature/);
    const below = certify('Intel SGX TCB Signing', intel.authority, null);
    const chainBelow = [below.der, intel.authority.der, intel.root.der].map((der) => pem(der)).join('');
    const signedBelow = intel.document('tcbInfo', intel.tcbInfo('SGX'), below.key);
    const byAuthority = await appraise(SGX_QUOTE, { tcbSigning: text(chainBelow), tcbInfo: signedBelow });
    assert.match(detail(byAuthority, info), /not issued by Intel's root/);
    const signedByPck = { tcbSigning: text(pem(intel.pck.der) + pem(intel.authority.der)) };
    assert.match(detail(await appraise(SGX_QUOTE, signedByPck), info), /TCB Signing/);
  });

  test('verify when formatted anew, and are read strictly', async () => {
    const pretty = (file: Uint8Array) =>
      text(JSON.stringify(JSON.parse(new TextDecoder().decode(file)), null, 2));
    const { tcbInfo: info, qeIdentity } = intel.collateral('tdx') as Required<Collateral>;
    await accepted(TDX_QUOTE, { tcbInfo: pretty(info), qeIdentity: pretty(qeIdentity) });
    const reject = (change: Record<string, unknown>, reason: RegExp, id: 'SGX' | 'TDX' = 'TDX') =>
      assert.throws(() => readTcbInfo(intel.document('tcbInfo', intel.tcbInfo(id, change))), reason);
    reject({ version: 2 }, /tcbInfo\.version is not 3/);
    reject({ tcbType: 1 }, /tcbType/);
    reject({ id: 'SEV' }, /id is none of SGX, TDX/);
    reject({ fmspc: '00' }, /fmspc is no 12 hexadecimal/);
    reject({ issueDate: '2026-02-30T00:00:00Z' }, /issueDate is no date/);
    reject({ issueDate: 'yesterday' }, /issueDate is no date/);
    reject({ tcbLevels: [] }, /tcbLevels is no list of 1/);
    reject({ tdxModule: undefined }, /tdxModule/);
    reject({ tdxModule: {} }, /tdxModule/, 'SGX');
    const levels = intel.tcbInfo('TDX')['tcbLevels'] as Record<string, unknown>[];
    reject(
      { tcbLevels: [{ ...levels[0], tcbStatus: 'TDRelaunchAdvised' }] },
      /tcbLevels\[0\]\.tcbStatus is none/,
    );
    reject({ tcbLevels: [{ ...levels[0], tcbDate: undefined }] }, /tcbDate/);
    const modules = intel.tcbInfo('TDX')['tdxModuleIdentities'] as Record<string, unknown>[];
    const level = (modules[0]!['tcbLevels'] as Record<string, unknown>[])[0]!;
    const hardened = [{ ...modules[0], tcbLevels: [{ ...level, tcbStatus: 'SWHardeningNeeded' }] }];
    reject({ tdxModuleIdentities: hardened }, /tdxModuleIdentities\[0\]\.tcbLevels\[0\]\.tcbStatus/);
    for (const file of ['', '{', '[]', 'null', '{"tcbInfo":{},"signature":""}', `${'['.repeat(5000)}`])
      assert.throws(() => readTcbInfo(text(file)), AttestError);
    assert.throws(() => readIdentity(info), AttestError);
    const nested = { tcbInfo: intel.document('tcbInfo', intel.tcbInfo('SGX', { extra: deep(100) })) };
    await accepted(SGX_QUOTE, nested);
    await refused(SGX_QUOTE, { tcbInfo: pretty(nested.tcbInfo) }, 'dcap.tcb-info', /nested/);
    const deeper = new TextDecoder()
      .decode(nested.tcbInfo)
      .replace(/\[{99}\]{99}/, '['.repeat(9e4) + ']'.repeat(9e4));
    await refused(SGX_QUOTE, { tcbInfo: text(deeper) }, 'dcap.tcb-info', /nested|no JSON/);
  });
});

describe('the policy', () => {
  const mrtd = '22'.repeat(48);

  test('insists on what it pins, and on pinning where it says so', async () => {
    const insist = { allowAnyMeasurement: false };
    await accepted(SGX_QUOTE, {}, {});
    await accepted(TDX_QUOTE, {}, {});
    await refused(SGX_QUOTE, {}, 'enclave.mrenclave', /allowAnyMeasurement/, insist);
    await refused(TDX_QUOTE, {}, 'td.mrtd', /allowAnyMeasurement/, insist);
    await accepted(SGX_QUOTE, {}, { mrenclave: ['11'.repeat(32)] });
    await accepted(SGX_QUOTE, {}, { mrsigner: ['00'.repeat(32)] });
    await accepted(TDX_QUOTE, {}, { mrtd: [mrtd] });
    await refused(TDX_QUOTE, {}, 'td.mrtd', /names/, { mrtd: ['00'.repeat(48)], allowAnyMeasurement: true });
    await refused(TDX_QUOTE, {}, 'td.mrtd', /pins no MRTD/, { mrenclave: ['11'.repeat(32)], ...insist });
  });

  test("pins a TD's other measurements", async () => {
    for (const [field, offset, id] of [
      ['rtmr0', 328, 'td.rtmr'],
      ['rtmr1', 376, 'td.rtmr'],
      ['rtmr2', 424, 'td.rtmr'],
      ['rtmr3', 472, 'td.rtmr'],
      ['mrConfigId', 184, 'td.owner'],
      ['mrOwner', 232, 'td.owner'],
      ['mrOwnerConfig', 280, 'td.owner'],
      ['mrSeam', 16, 'td.seam'],
      ['mrServiceTd', 600, 'td.service-td'],
    ] as const) {
      const fields = { ...TD15, body: (body: Uint8Array) => body.set(new Uint8Array(48).fill(0x44), offset) };
      await accepted(
        fields,
        {},
        { mrtd: [mrtd], [field]: ['44'.repeat(48)], mrServiceTd: ['44'.repeat(48)] },
      );
      const other = { mrtd: [mrtd], [field]: ['45'.repeat(48)] };
      await refused(fields, {}, id, new RegExp(`dcap\\.${field}`), other);
    }
    const bound = { ...TD15, body: (body: Uint8Array) => body.set([1], 600) };
    await refused(bound, {}, 'td.service-td', /pin dcap\.mrServiceTd/, {
      mrtd: [mrtd],
      allowAnyMeasurement: false,
    });
    await accepted(bound);
  });

  test('refuses debug, migratable and undefined attributes', async () => {
    const bit = (n: number): QuoteFields => ({
      ...TDX_QUOTE,
      body: (body) => {
        body[120 + (n >> 3)]! |= 1 << (n & 7);
      },
    });
    for (const n of [0, 4, 5, 6]) {
      await refused(bit(n), {}, 'td.debug', /allowDebug/);
      await accepted(bit(n), {}, { ...ANY, allowDebug: true });
    }
    await refused(bit(29), {}, 'td.attributes', /MIGRATABLE/);
    await accepted(bit(29), {}, { ...ANY, allowMigratable: true });
    for (const n of [16, 27, 30, 31, 62, 63]) await accepted(bit(n));
    for (const n of [8, 15, 17, 26, 32, 61]) await refused(bit(n), {}, 'td.attributes', /not defined/);
    const debug = { ...SGX_QUOTE, body: (body: Uint8Array) => body.set([7], 48) };
    await refused(debug, {}, 'enclave.debug', /allowDebug/);
    await accepted(debug, {}, { ...ANY, allowDebug: true });
  });

  test('judges the evaluation number and how the platform is set up', async () => {
    await accepted(SGX_QUOTE, {}, { ...ANY, minTcbEvaluationNumber: 19 });
    await refused(SGX_QUOTE, {}, 'dcap.tcb-evaluation', /is 19/, { ...ANY, minTcbEvaluationNumber: 20 });
    const flags = ['dynamicPlatform', 'cachedKeys', 'smtEnabled'] as const;
    const fields = ['refuseDynamicPlatform', 'refuseCachedKeys', 'refuseSmt'] as const;
    for (const [i, flag] of flags.entries()) {
      const policy = { ...ANY, [fields[i]!]: true };
      const verdict = (configuration: object | undefined) =>
        appraise(SGX_QUOTE, {}, policy, new TestIntel({ ...PLATFORM, configuration }));
      assert.deepEqual(failures(await verdict({ [flag]: true })), ['dcap.platform']);
      assert.deepEqual(failures(await verdict({ [flag]: false })), []);
      assert.deepEqual(failures(await verdict(undefined)), ['dcap.platform'], 'not said is not known');
    }
  });
});
