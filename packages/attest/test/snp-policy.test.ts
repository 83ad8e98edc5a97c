/** Every field of the policy's section `snp`, against reports that differ in just what it asks for. */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { type Collateral, formatVerdict, type PolicyDocument, type Verdict, verify } from '../src/index.js';
import {
  type EvidenceOptions,
  hex,
  type MachineOptions,
  makeReport,
  REPORT_DATA,
  TestMachine,
} from './producer.js';

const TIME = '2026-11-01T00:00:00Z';

let machine: TestMachine;

async function appraise(
  options: EvidenceOptions,
  snp: PolicyDocument['snp'] = {},
  on: TestMachine = machine,
  collateral: Collateral = {},
): Promise<Verdict> {
  const report = await makeReport(on, REPORT_DATA, options);
  const [leaf, ask, ark] = on.certificates as [Uint8Array, Uint8Array, Uint8Array];
  const role = ((report[0x48]! >> 2) & 7) === 1 ? 'vlek' : 'vcek';
  return verify(report, {
    policy: {
      version: 1,
      nested: { softwareRoots: [on.rootFingerprint] },
      snp: { allowAnyMeasurement: true, ...snp },
    },
    collateral: { [role]: leaf, ask, ark, ...collateral },
    time: TIME,
  });
}

/** Expects exactly these checks to fail. */
async function expectFailures(
  failures: string[],
  options: EvidenceOptions,
  snp?: PolicyDocument['snp'],
  on?: TestMachine,
  collateral?: Collateral,
): Promise<string> {
  const verdict = await appraise(options, snp, on, collateral);
  const failed = verdict.checks.filter((check) => check.status === 'failed').map((check) => check.id);
  assert.deepEqual(failed, failures, formatVerdict(verdict));
  assert.equal(verdict.verdict, failures.length === 0 ? 'accepted' : 'rejected', formatVerdict(verdict));
  return formatVerdict(verdict);
}

const at = (offset: number, ...bytes: number[]): EvidenceOptions => ({
  editReport: (report) => report.set(bytes, offset),
});
const guestPolicy = (bits: number): EvidenceOptions => ({ policy: BigInt(0x2_0000 | bits) });
const platform = (...bits: number[]) => at(0x40, ...bits);
const cpu = (report: Uint8Array, version: number, family = 0x19, model = 1) => {
  report[0] = version;
  report.set([family, model, 1], 0x188);
};
const version = (value: number): EvidenceOptions => ({ editReport: (report) => cpu(report, value) });

before(async () => {
  machine = await TestMachine.make();
});

describe('the guest policy', () => {
  test('what is dangerous is refused unless accepted', async () => {
    for (const [bit, allow] of [
      [19, 'allowDebug'],
      [18, 'allowMigrationAgent'],
      [21, 'allowCxl'],
    ] as const) {
      const told = await expectFailures(['snp.policy'], guestPolicy(1 << bit));
      assert.match(told, new RegExp(`bit ${bit}.*snp\\.${allow}`));
      await expectFailures([], guestPolicy(1 << bit), { [allow]: true });
    }
  });

  test('what is asked for must be there', async () => {
    for (const [bit, require] of [
      [20, 'requireSingleSocket'],
      [22, 'requireAes256Xts'],
      [23, 'requireRaplDisabled'],
      [24, 'requireCiphertextHiding'],
      [25, 'requirePageSwapDisabled'],
    ] as const) {
      const told = await expectFailures(['snp.policy'], guestPolicy(0), { [require]: true });
      assert.match(told, new RegExp(`bit ${bit}.*snp\\.${require}`));
      await expectFailures([], guestPolicy(1 << bit), { [require]: true });
      await expectFailures([], guestPolicy(1 << bit));
    }
    await expectFailures([], guestPolicy(1 << 16));
    await expectFailures(['snp.policy'], guestPolicy(1 << 16), { refuseSmt: true });
    await expectFailures([], guestPolicy(0), { refuseSmt: true });
    await expectFailures([], guestPolicy(0x011f), { minAbi: '1.31' });
    await expectFailures([], guestPolicy(0x0200), { minAbi: '1.31' });
    await expectFailures(['snp.policy'], guestPolicy(0x011e), { minAbi: '1.31' });
  });

  test('reserved bits must be as defined', async () => {
    await expectFailures(['snp.policy'], { policy: 0x1_0000n });
    for (let bit = 26n; bit < 64n; bit++)
      await expectFailures(['snp.policy'], { policy: 0x3_0000n | (1n << bit) });
  });
});

test('the platform', async () => {
  for (const [bits, refuse] of [
    [0x01, 'refuseSmt'],
    [0x02, 'refuseTsme'],
    [0x80, 'refuseTio'],
  ] as const) {
    await expectFailures([], platform(bits));
    await expectFailures(['snp.platform-info'], platform(bits), { platform: { [refuse]: true } });
    await expectFailures([], platform(0), { platform: { [refuse]: true } });
  }
  for (const [bits, require] of [
    [0x04, 'requireEcc'],
    [0x08, 'requireRaplDisabled'],
    [0x10, 'requireCiphertextHiding'],
    [0x20, 'requireAliasCheck'],
  ] as const) {
    await expectFailures([], platform(bits), { platform: { [require]: true } });
    const told = await expectFailures(['snp.platform-info'], platform(0), { platform: { [require]: true } });
    assert.match(told, new RegExp(`snp\\.platform\\.${require}`));
  }
  // Bit 6 is unnamed, and set by genuine Turins.
  await expectFailures([], platform(0x40));
  for (let bit = 8; bit < 64; bit++) {
    const bytes = new Uint8Array(8);
    bytes[bit >> 3] = 1 << (bit & 7);
    await expectFailures(['snp.platform-info'], platform(...bytes));
  }
});

test('TCB and firmware: minima, order, and what is not committed', async () => {
  const minima = { minTcb: 0x180, minCommittedTcb: 0x1e0, minCurrentTcb: 0x38, minLaunchTcb: 0x1f0 } as const;
  for (const field of Object.keys(minima) as (keyof typeof minima)[]) {
    for (const component of ['bootloader', 'tee', 'snp', 'microcode'] as const) {
      const level = { bootloader: 3, tee: 0, snp: 24, microcode: 219 }[component];
      await expectFailures([], {}, { [field]: { [component]: level } });
      const told = await expectFailures(['snp.tcb'], {}, { [field]: { [component]: level + 1 } });
      assert.match(told, new RegExp(`${component} ${level}, .*snp\\.${field}`));
    }
    await expectFailures(['snp.tcb'], {}, { [field]: { fmc: 0 } });
  }
  await expectFailures(['snp.tcb'], at(0x1e0, 4), {});
  await expectFailures(['snp.tcb'], at(0x38, 2), {});
  await expectFailures([], at(0x38, 4), {});
  await expectFailures(['snp.tcb'], at(0x38, 4), { refuseProvisionalFirmware: true });
  const firmware = (current: number[], committed: number[]): EvidenceOptions => ({
    editReport(report) {
      report.set(current, 0x1e8);
      report.set(committed, 0x1ec);
    },
  });
  const older = firmware([30, 55, 1], [29, 55, 1]);
  await expectFailures([], older);
  await expectFailures([], older, { minFirmware: '1.55.30', minCommittedFirmware: '1.55' });
  await expectFailures(['snp.firmware'], older, { minFirmware: '1.55.31' });
  await expectFailures(['snp.firmware'], older, { minCommittedFirmware: '1.55.30' });
  await expectFailures(['snp.firmware'], older, { minFirmware: '2.0' });
  await expectFailures(['snp.firmware'], older, { refuseProvisionalFirmware: true });
  await expectFailures(['snp.firmware'], firmware([29, 55, 1], [30, 55, 1]));
});

test('mitigations exist from version 5 on', async () => {
  const five: EvidenceOptions = {
    editReport(report) {
      cpu(report, 5);
      report.set([3], 0x1f8);
      report.set([1], 0x200);
    },
  };
  await expectFailures([], five);
  await expectFailures([], five, {
    launchMitigations: '0000000000000003',
    currentMitigations: `${'0'.repeat(15)}1`,
  });
  await expectFailures(['snp.mitigations'], five, { currentMitigations: '0000000000000002' });
  await expectFailures(['snp.mitigations'], version(3), { launchMitigations: '0000000000000001' });
  const early: EvidenceOptions = {
    editReport(report) {
      cpu(report, 3);
      report.set([1], 0x1f8);
    },
  };
  await expectFailures(['evidence.format'], early);
});

test('versions, VMPLs and identities', async () => {
  await expectFailures([], version(3), { minReportVersion: 3 });
  await expectFailures(['snp.version'], {}, { minReportVersion: 3 });
  for (const bad of [0, 1, 4, 6]) await expectFailures(['evidence.format'], at(0, bad));
  await expectFailures(['snp.vmpl'], { vmpl: 1 });
  await expectFailures([], { vmpl: 1 }, { vmpl: 1 });
  await expectFailures(['snp.vmpl'], { vmpl: 0xffff_ffff });
  await expectFailures(['evidence.format'], { vmpl: 4 });
  const lists = [
    ['familyId', 0x10, 16, 'snp.ids'],
    ['imageId', 0x20, 16, 'snp.ids'],
    ['hostData', 0xc0, 32, 'snp.host-data'],
    ['launchDigest', 0x90, 48, 'snp.launch-digest'],
    ['idKeyDigest', 0xe0, 48, 'snp.id-block'],
    ['reportId', 0x140, 32, 'snp.ids'],
    ['reportIdMa', 0x160, 32, 'snp.ids'],
  ] as const;
  for (const [field, offset, length, check] of lists) {
    const value = new Uint8Array(length).fill(0x5a);
    const [one, other] = [hex(value), '00'.repeat(length)];
    await expectFailures([], at(offset, ...value), { [field]: [other, one] });
    const told = await expectFailures([check], at(offset, ...value), { [field]: [other] });
    assert.match(told, new RegExp(`${one}.*snp\\.${field}`));
  }
  const author = (enabled: number): EvidenceOptions => ({
    editReport(report) {
      report[0x48] = enabled;
      report.fill(7, 0x110, 0x140);
    },
  });
  await expectFailures([], author(1), { authorKeyDigest: ['07'.repeat(48)], requireAuthorKey: true });
  await expectFailures([], author(1), { requireAuthorKey: true });
  await expectFailures(['snp.id-block'], author(1), { authorKeyDigest: ['08'.repeat(48)] });
  await expectFailures(['snp.id-block'], author(0), { authorKeyDigest: ['07'.repeat(48)] });
  await expectFailures(['snp.id-block'], author(0), { requireAuthorKey: true });
  await expectFailures([], at(4, 5), { minGuestSvn: 5 });
  await expectFailures(['snp.guest-svn'], at(4, 4), { minGuestSvn: 5 });
});

describe('signing keys and chips', () => {
  const withLeaf = (leaf: MachineOptions['leaf'], more: MachineOptions = {}) =>
    TestMachine.make({ leaf, ...more });

  test('a VLEK is of a provider, not of a chip', async () => {
    const fleet = await withLeaf({ cspId: 'cloud.example' });
    const vlek: EvidenceOptions = { reportChipId: new Uint8Array(64).fill(1), ...at(0x48, 4) };
    await expectFailures([], vlek, {}, fleet);
    await expectFailures([], vlek, { cspId: ['cloud.example'], signingKeys: ['VLEK'] }, fleet);
    assert.match(
      await expectFailures(['snp.signing-key'], vlek, { cspId: ['other.example'] }, fleet),
      /of 'cloud\.example', the policy names other\.example/,
    );
    await expectFailures(['snp.signing-key'], vlek, { signingKeys: ['VCEK'] }, fleet);
    await expectFailures(['snp.signing-key'], {}, { cspId: ['cloud.example'] });
    await expectFailures(['snp.signing-key'], {}, { signingKeys: ['VLEK'] });
    await expectFailures(['snp.signing-key'], at(0x48, 2));
    await expectFailures(['snp.signature', 'snp.signing-key'], at(0x48, 0x1c));
    await expectFailures([], {}, { chipId: [hex(machine.chipId)] });
    await expectFailures(['snp.chip-id'], {}, { chipId: ['01'.repeat(64)] });
    for (const flags of [0x20, 0x08]) await expectFailures(['evidence.format'], at(0x48, flags));
  });

  test('a Turin has its own TCB layout and short chip ids', async () => {
    const turin = await withLeaf({ fmc: 1, product: 'Turin' }, { chipId: new Uint8Array(8).fill(9) });
    const report: EvidenceOptions = { editReport: (bytes) => cpu(bytes, 5, 0x1a, 2) };
    await expectFailures([], report, { minTcb: { fmc: 1, snp: 24 } }, turin);
    await expectFailures(['snp.tcb'], report, { minTcb: { fmc: 2 } }, turin);
    await expectFailures(['snp.chip-id'], { ...report, reportChipId: new Uint8Array(64).fill(9) }, {}, turin);
    const higher = turin.tcb.slice();
    higher[0] = 2;
    await expectFailures(['snp.certificate-tcb'], { ...report, reportTcb: higher }, {}, turin);
    // Byte 4 is reserved in this layout, byte 2 in the other.
    const edit = (offset: number, family: number): EvidenceOptions => ({
      editReport(bytes) {
        cpu(bytes, 3, family, family === 0x1a ? 2 : 1);
        bytes[offset] = 1;
      },
    });
    for (const tcb of [0x38, 0x180, 0x1e0, 0x1f0]) {
      await expectFailures(['evidence.format'], edit(tcb + 4, 0x1a), {}, turin);
      await expectFailures(['evidence.format'], edit(tcb + 2, 0x19));
    }
  });

  test('leaves that lack or contradict AMD’s extensions are refused', async () => {
    const leafChecks = [
      'snp.signature',
      'snp.product',
      'snp.signing-key',
      'snp.chip-id',
      'snp.certificate-tcb',
    ];
    for (const leaf of [{ structVersion: null }, { reserved: 1 }, { cspId: 'x', both: true }])
      await expectFailures(leafChecks, {}, {}, await withLeaf(leaf));
    await expectFailures([], {}, {}, await withLeaf({ structVersion: 1, reserved: 0 }));
    await expectFailures(leafChecks, {}, {}, await withLeaf({}, { chipId: new Uint8Array(9) }));
    const high = { bootloader: 3, tee: 0, snp: 128, microcode: 219 };
    await expectFailures(leafChecks, {}, {}, await withLeaf({}, { tcb: high }));
  });
});

test('revocation lists', async () => {
  const on = machine;
  const withList = (crl: Uint8Array, failures: string[]) => expectFailures(failures, {}, {}, on, { crl });
  assert.match(await withList(await on.revocationList([]), []), /'SEV-Software' is not on the list/);
  await withList(await on.revocationList([77]), []);
  assert.match(
    await withList(await on.revocationList([7, 2]), ['snp.revocation']),
    /'SEV-Software'.*is revoked/,
  );
  await withList(await on.revocationList([1]), ['snp.revocation']);
  const stale = { thisUpdate: '2026-01-01T00:00:00Z', nextUpdate: '2026-02-01T00:00:00Z' };
  await withList(await on.revocationList([], stale), ['snp.revocation']);
  const early = { thisUpdate: '2026-11-02T00:00:00Z', nextUpdate: '2026-12-01T00:00:00Z' };
  await withList(await on.revocationList([], early), ['snp.revocation']);
  const other = await TestMachine.make();
  assert.match(await withList(await other.revocationList([]), ['snp.revocation']), /not by the key/);
  const damaged = await on.revocationList([]);
  damaged[damaged.length - 3]! ^= 1;
  await withList(damaged, ['snp.revocation']);
  await withList(Uint8Array.of(0x30, 0), ['snp.revocation']);
  // Somebody else's list says nothing of this machine.
  await withList(await on.revocationList([2], undefined, 'ARK-Milan'), []);
});
