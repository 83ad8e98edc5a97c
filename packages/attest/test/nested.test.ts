import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';

import { formatVerdict, NESTED_CHECKS, type PolicyDocument, type Verdict, verify } from '../src/index.js';
import {
  type EvidenceOptions,
  hex,
  LAUNCH_DIGEST,
  MRENCLAVE,
  MRSIGNER,
  makeEvidence,
  REPORT_DATA,
  regions,
  TestMachine,
} from './producer.js';

const TIME = '2026-11-01T00:00:00Z';

let machine: TestMachine;
let other: TestMachine;
let evidence: Uint8Array<ArrayBuffer>;

function policy(
  nested: Partial<NonNullable<PolicyDocument['nested']>> = {},
  snp?: PolicyDocument['snp'],
): PolicyDocument {
  return {
    version: 1,
    nested: {
      mrenclave: [hex(MRENCLAVE)],
      launchDigest: [hex(LAUNCH_DIGEST)],
      softwareRoots: [machine.rootFingerprint],
      ...nested,
    },
    ...(snp === undefined ? {} : { snp }),
  };
}

const statusOf = (verdict: Verdict, id: string) => verdict.checks.find((check) => check.id === id)?.status;
const detailOf = (verdict: Verdict, id: string) =>
  verdict.checks.find((check) => check.id === id)?.detail ?? '';

/** Appraises evidence made with `options` and expects exactly these checks to fail. */
async function expectFailures(
  failures: string[],
  options: EvidenceOptions,
  use: PolicyDocument = policy(),
  more: { reportData?: Uint8Array | string; time?: string } = {},
): Promise<Verdict> {
  const bytes = await makeEvidence(machine, options);
  const verdict = await verify(bytes, { policy: use, time: TIME, ...more });
  const failed = verdict.checks.filter((check) => check.status === 'failed').map((check) => check.id);
  assert.deepEqual(failed, failures, formatVerdict(verdict));
  assert.equal(verdict.verdict, failures.length === 0 ? 'accepted' : 'rejected', formatVerdict(verdict));
  return verdict;
}

before(async () => {
  [machine, other] = await Promise.all([TestMachine.make(), TestMachine.make()]);
  evidence = await makeEvidence(machine);
});

describe('nested evidence', () => {
  test('is accepted when everything holds, with every check in order', async () => {
    const verdict = await verify(evidence, { policy: policy(), reportData: REPORT_DATA, time: TIME });
    assert.equal(verdict.verdict, 'accepted', formatVerdict(verdict));
    assert.deepEqual(
      verdict.checks.map((check) => check.id),
      NESTED_CHECKS,
    );
    assert.equal(verdict.claims['isolation'], 'separate-user');
    assert.equal(verdict.claims['mrenclave'], hex(MRENCLAVE));
    assert.equal(verdict.claims['mrsigner'], hex(MRSIGNER));
    assert.equal(verdict.claims['isvProdId'], 7);
    assert.equal(verdict.claims['launchDigest'], hex(LAUNCH_DIGEST));
    assert.deepEqual(verdict.claims['root'], { kind: 'software', fingerprint: machine.rootFingerprint });
    assert.equal(statusOf(verdict, 'report-data'), 'ok');
    assert.deepEqual(JSON.parse(JSON.stringify(verdict)), verdict);
    assert.match(formatVerdict(verdict), /^snp\.chain +ok +SEV-VCEK ← SEV-Software ← ARK-Software/m);
  });

  test('the default policy accepts nothing and says what to pin', async () => {
    const verdict = await verify(evidence, { time: TIME });
    assert.equal(verdict.verdict, 'rejected');
    assert.equal(statusOf(verdict, 'snp.chain'), 'failed');
    assert.match(detailOf(verdict, 'snp.chain'), new RegExp(machine.rootFingerprint));
    assert.match(detailOf(verdict, 'snp.launch-digest'), /pins none.*nsgx measure --cvm/);
    assert.match(detailOf(verdict, 'enclave.mrenclave'), /pins neither MRENCLAVE nor MRSIGNER/);
    assert.equal(statusOf(verdict, 'isolation'), 'skipped');
  });

  test('identity checks name what differs', async () => {
    const zeros = new Uint8Array(32);
    await expectFailures(['enclave.mrenclave'], { mrenclave: zeros });
    await expectFailures([], { mrsigner: zeros });
    await expectFailures(['enclave.mrsigner'], { mrsigner: zeros }, policy({ mrsigner: [hex(MRSIGNER)] }));
    await expectFailures([], {}, policy({ mrenclave: [], mrsigner: [hex(MRSIGNER)] }));
    await expectFailures(['enclave.mrenclave'], {}, policy({ mrenclave: [] }));
    await expectFailures(['enclave.isv-prod-id'], {}, policy({ isvProdId: 8 }));
    await expectFailures(['enclave.isv-svn'], {}, policy({ minIsvSvn: 4 }));
    await expectFailures([], {}, policy({ isvProdId: 7, minIsvSvn: 3 }));
    await expectFailures(['enclave.debug'], { attributes: 7 });
    await expectFailures([], { attributes: 7 }, policy({ allowDebug: true }));
    await expectFailures(['enclave.debug'], { attributes: 4 }, policy({ allowDebug: true }));
    await expectFailures(['report-data'], {}, policy(), { reportData: '00' });
    await expectFailures([], { reportData: new Uint8Array(64).fill(9, 0, 4) }, policy(), {
      reportData: '09090909',
    });
  });

  test('the machine checks name what differs', async () => {
    const verdict = await expectFailures(['snp.launch-digest'], { launchDigest: new Uint8Array(48) });
    assert.match(detailOf(verdict, 'snp.launch-digest'), /is 0{96}, the policy names (c3){48}/);
    await expectFailures(['snp.launch-digest'], {}, policy({ launchDigest: [] }));
    await expectFailures(['snp.vmpl'], { vmpl: 1 });
    await expectFailures(['snp.policy'], { policy: 0xb0000n });
    await expectFailures([], { policy: 0xb0000n }, policy({}, { allowDebug: true }));
    await expectFailures(['snp.policy'], { policy: 0x70000n });
    await expectFailures(['snp.policy'], { policy: 0x10000n });
    await expectFailures(['snp.policy'], { policy: 0x30000n | (1n << 40n) });
    await expectFailures(['snp.policy'], {}, policy({}, { refuseSmt: true }));
    await expectFailures(['snp.tcb'], {}, policy({}, { minTcb: { microcode: 220 } }));
    await expectFailures(['snp.tcb'], {}, policy({}, { minLaunchTcb: { fmc: 0 } }));
    await expectFailures([], {}, policy({}, { minTcb: { microcode: 219, snp: 24, bootloader: 3, tee: 0 } }));
    await expectFailures(['snp.host-data'], {}, policy({}, { hostData: ['11'.repeat(32)] }));
    await expectFailures(['snp.id-block'], {}, policy({}, { idKeyDigest: ['11'.repeat(48)] }));
    await expectFailures(['snp.guest-svn'], {}, policy({}, { minGuestSvn: 1 }));
    await expectFailures(['monitor.key-binding'], { wrongBinding: true });
    await expectFailures(['snp.chip-id'], { reportChipId: new Uint8Array(64).fill(1) });
    await expectFailures(['snp.chip-id'], { reportChipId: new Uint8Array(64) });
    await expectFailures(['snp.certificate-tcb'], {
      reportTcb: Uint8Array.from([3, 0, 0, 0, 0, 0, 24, 220]),
    });
    await expectFailures(['snp.signing-key'], { editReport: (report) => report.set([4], 0x48) });
    await expectFailures(['snp.signature'], { leafKey: other.leafKey });
  });

  test('isolation is a check of its own', async () => {
    await expectFailures(['isolation'], { isolation: 'same-user' });
    const verdict = await expectFailures(
      [],
      { isolation: 'same-user' },
      policy({ isolation: ['same-user'] }),
    );
    assert.equal(verdict.claims['isolation'], 'same-user');
    await expectFailures(['isolation'], {}, policy({ isolation: [] }));
    for (const claim of ['sev-snp', '', 'separate-user2', 'SAME-USER']) {
      const everything = policy({ isolation: ['same-user', 'separate-user', 'sev-snp'] });
      const refused = await expectFailures(['isolation'], { isolation: claim }, everything);
      assert.equal(refused.claims['isolation'], null);
    }
    await expectFailures(['isolation'], { familyId: 'something' });
  });

  test('another machine with the same launch digest is refused by its root', async () => {
    const bytes = await makeEvidence(other);
    const verdict = await verify(bytes, { policy: policy(), time: TIME });
    const failed = verdict.checks.filter((check) => check.status === 'failed').map((check) => check.id);
    assert.deepEqual(failed, ['snp.chain']);
    assert.equal(statusOf(verdict, 'snp.launch-digest'), 'ok');
    assert.match(
      detailOf(verdict, 'snp.chain'),
      new RegExp(`${other.rootFingerprint}.*${machine.rootFingerprint}`),
    );
    assert.equal(verdict.claims['root'], null);
  });

  test('certificates must be the chain, in order, no more and no less', async () => {
    const [leaf, ask, ark] = machine.certificates as [Uint8Array, Uint8Array, Uint8Array];
    const foreign = other.certificates as [Uint8Array, Uint8Array, Uint8Array];
    const cases: Uint8Array[][] = [
      [],
      [leaf],
      [leaf, ask],
      [leaf, ark, ask],
      [leaf, ask, ark, ark],
      [leaf, leaf, ask, ark],
    ];
    cases.push([leaf, foreign[1], foreign[2]], [leaf, ask, foreign[2]], [leaf, ask, ark, foreign[1]]);
    for (const certificates of cases) {
      const verdict = await verify(await makeEvidence(machine, { certificates }), {
        policy: policy(),
        time: TIME,
      });
      assert.equal(statusOf(verdict, 'snp.chain'), 'failed', formatVerdict(verdict));
      assert.equal(verdict.verdict, 'rejected');
    }
    // A leaf that its own subject signed again under the right names, but by another authority's key.
    const verdict = await verify(
      await makeEvidence(machine, {
        certificates: [foreign[0], ask, ark],
        leafKey: other.leafKey,
        reportChipId: other.chipId,
      }),
      { policy: policy(), time: TIME },
    );
    assert.equal(statusOf(verdict, 'snp.signature'), 'ok');
    assert.match(
      detailOf(verdict, 'snp.chain'),
      /the signature on 'SEV-VCEK' is not by the key of 'SEV-Software'/,
    );
  });

  test('a leaf with an unknown critical extension is refused', async () => {
    const strange = await TestMachine.make({ extraLeafExtension: true });
    const verdict = await verify(await makeEvidence(strange), {
      policy: policy({ softwareRoots: [strange.rootFingerprint] }),
      time: TIME,
    });
    assert.match(detailOf(verdict, 'snp.chain'), /critical extension 1\.2\.3\.4/);
  });

  test('validity is judged at the given time', async () => {
    for (const [time, outcome] of [
      ['2025-12-31T23:59:59Z', 'failed'],
      ['2026-01-01T00:00:00Z', 'ok'],
      ['2036-01-01T00:00:00Z', 'ok'],
      ['2036-01-01T00:00:01Z', 'failed'],
    ] as const) {
      const verdict = await verify(evidence, { policy: policy(), time });
      assert.equal(statusOf(verdict, 'snp.chain'), outcome, formatVerdict(verdict));
    }
    assert.match(
      detailOf(await verify(evidence, { policy: policy(), time: '2040-01-01T00:00:00Z' }), 'snp.chain'),
      /expired at 2036/,
    );
  });

  test('a bit flipped anywhere is found by the check of that region', async () => {
    const expected: Record<string, string[]> = {
      header: ['evidence.format', 'quote.signature'],
      body: ['quote.signature'],
      signatureLength: ['evidence.format'],
      signature: ['quote.signature'],
      attestationKey: ['quote.signature'],
      qe: ['evidence.format'],
      lengths: ['evidence.format'],
      snpReport: ['evidence.format', 'snp.signature'],
      snpSignature: ['evidence.format', 'snp.signature'],
      listLength: ['evidence.format'],
      leaf: ['snp.signature', 'snp.chain'],
      ask: ['snp.chain'],
      ark: ['snp.chain'],
    };
    const use = policy({ allowDebug: true, mrsigner: [], isolation: ['same-user', 'separate-user'] });
    for (const [region, [start, end]] of Object.entries(regions(machine))) {
      const step = Math.max(1, Math.floor((end - start) / 24));
      for (let at = start; at < end; at += step) {
        const bytes = evidence.slice();
        bytes[at]! ^= 1 << (at % 8);
        const verdict = await verify(bytes, { policy: use, time: TIME });
        const failed = verdict.checks.filter((check) => check.status === 'failed').map((check) => check.id);
        assert.equal(verdict.verdict, 'rejected', `${region} at ${at}`);
        const found = failed.some((id) => expected[region]!.includes(id));
        assert.ok(found, `${region} at ${at}\n${formatVerdict(verdict)}`);
        if (region === 'attestationKey') assert.equal(statusOf(verdict, 'monitor.key-binding'), 'failed');
      }
    }
  });

  test('truncated or extended evidence is refused as a format', async () => {
    for (let length = 0; length < evidence.length; length += 13) {
      const verdict = await verify(evidence.slice(0, length), { policy: policy(), time: TIME });
      assert.equal(verdict.verdict, 'rejected');
      assert.equal(verdict.checks[0]!.id, 'evidence.format');
      assert.equal(verdict.checks[0]!.status, 'failed');
    }
    for (const extra of [1, 4, 4096]) {
      const longer = new Uint8Array(evidence.length + extra);
      longer.set(evidence);
      assert.equal(
        statusOf(await verify(longer, { policy: policy(), time: TIME }), 'evidence.format'),
        'failed',
      );
    }
    const huge = await verify(new Uint8Array(65537), { policy: policy() });
    assert.match(detailOf(huge, 'evidence.format'), /65536 is the limit/);
  });
});
