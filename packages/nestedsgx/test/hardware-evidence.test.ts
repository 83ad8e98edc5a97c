/** Evidence with a security processor other than the machine's own: another software chip stands for the hardware. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  AttestError,
  formatVerdict,
  parseNestedQuote,
  parseSnpReport,
  readSnpEvidence,
  verify,
} from '@nestedsgx/attest';
import { sampleImage } from '@nestedsgx/enclave';
import { GuestMessageChannel, HardwarePsp, SoftwarePsp } from '@nestedsgx/machine';
import { Cvm } from '@nestedsgx/sdk';
import { type ReportSource, rawHardwareEvidence, withHardwareReport } from '../src/hardware-evidence.js';

const NSGX = fileURLToPath(new URL('../../bin/nsgx.mjs', import.meta.url));
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const guid = (text: string) => Buffer.from(text.replaceAll('-', ''), 'hex');

/** A table as hosts give it with extended guest requests. */
function table(entries: [string, Uint8Array][]): Uint8Array {
  const directory = Buffer.alloc(24 * (entries.length + 1));
  let at = directory.length;
  entries.forEach(([name, bytes], i) => {
    directory.set(guid(name), 24 * i);
    directory.writeUInt32LE(at, 24 * i + 16);
    directory.writeUInt32LE(bytes.length, 24 * i + 20);
    at += bytes.length;
  });
  return new Uint8Array(Buffer.concat([directory, ...entries.map(([, bytes]) => bytes)]));
}

async function chip(): Promise<ReportSource & { psp: SoftwarePsp; without: ReportSource }> {
  const psp = await SoftwarePsp.open(null);
  psp.launchStart();
  psp.launchFinish();
  const channel = new GuestMessageChannel(0, psp.vmpck(0), (message) => psp.guestRequest(message));
  const { ark, ask, vcek } = psp.certificates();
  const certificateTable = table([
    ['63da758d-e664-4564-adc5-f4b93be8accd', vcek],
    ['4ab7b379-bbac-4fe4-a02f-05aef327c782', ask],
    ['c0b406a4-a803-4952-9743-3fb6014cd0ae', ark],
  ]);
  const attest = (given: Uint8Array) => (reportData: Uint8Array, vmpl?: number) => ({
    report: channel.report(reportData, vmpl),
    certificateTable: given,
  });
  return { psp, attest: attest(certificateTable), without: { attest: attest(new Uint8Array(0)) } };
}

test('nested evidence takes a report of another processor over the same key', async () => {
  const other = await chip();
  const cvm = await Cvm.launch({ stateDir: null });
  try {
    const enclave = await cvm.load(sampleImage('calc'));
    const software = enclave.attest({ reportData: new Uint8Array(64).fill(3) });
    const { evidence, report } = withHardwareReport(software, other);
    const fingerprint = hex(other.psp.rootFingerprint());
    const nested = {
      mrenclave: [hex(enclave.mrenclave)],
      launchDigest: [hex(report.measurement)],
      softwareRoots: [fingerprint],
      isolation: ['same-user', 'separate-user', 'sev-snp'] as const,
    };
    const judge = (bytes: Uint8Array) =>
      verify(bytes, { policy: { version: 1, nested: { ...nested, isolation: [...nested.isolation] } } });
    const verdict = await judge(evidence);
    // All holds but the isolation: this chip's launch named none, and its root is no hardware's.
    const failed = verdict.checks.filter(({ status }) => status === 'failed').map(({ id }) => id);
    assert.deepEqual(failed, ['isolation'], formatVerdict(verdict));
    assert.equal((verdict.claims['root'] as { fingerprint: string }).fingerprint, fingerprint);
    const before = parseNestedQuote(software);
    const after = parseNestedQuote(evidence);
    assert.deepEqual(after.signed, before.signed);
    assert.deepEqual(after.attestationKey, before.attestationKey);
    assert.deepEqual(after.snpReport.reportData, before.snpReport.reportData);
    assert.notDeepEqual(after.snpReport.chipId, before.snpReport.chipId);

    // Certificates that the host does not give come from the collateral, or their absence is told.
    assert.throws(
      () => withHardwareReport(software, other.without),
      (error) => error instanceof AttestError && /no VCEK/.test(error.message),
    );
    const given = withHardwareReport(software, other.without, other.psp.certificates());
    assert.deepEqual(parseNestedQuote(given.evidence).certificates, after.certificates);

    // A report of hardware over another key does not fit.
    const foreign = withHardwareReport(software, { attest: () => other.attest(new Uint8Array(64)) });
    const refused = await judge(foreign.evidence);
    assert.equal(refused.checks.find(({ id }) => id === 'monitor.key-binding')?.status, 'failed');
  } finally {
    await cvm.close();
  }
});

test('the monitor’s own launch can be of a real processor: recorded reports keep their isolation', async () => {
  // A genuine report cannot be made over this machine's key; what it stands for is read all the same.
  const path = new URL('../../../attest/vectors/snp/milan-v2.report.bin', import.meta.url);
  const report = new Uint8Array(readFileSync(path));
  const vcek = new Uint8Array(readFileSync(new URL('milan-v2.vcek.der', path)));
  const certificateTable = table([['63da758d-e664-4564-adc5-f4b93be8accd', vcek]]);
  const cvm = await Cvm.launch({ stateDir: null });
  try {
    const enclave = await cvm.load(sampleImage('calc'));
    const { evidence } = withHardwareReport(enclave.attest({}), {
      attest: () => ({ report, certificateTable }),
    });
    const policy = {
      version: 1,
      nested: {
        mrenclave: [hex(enclave.mrenclave)],
        launchDigest: [hex(parseSnpReport(report).measurement)],
      },
    } as const;
    const nested = {
      ...policy.nested,
      mrenclave: [...policy.nested.mrenclave],
      launchDigest: [...policy.nested.launchDigest],
    };
    const verdict = await verify(evidence, { policy: { version: 1, nested }, time: '2025-06-01T00:00:00Z' });
    const failed = verdict.checks.filter(({ status }) => status === 'failed').map(({ id }) => id);
    assert.deepEqual(failed, ['monitor.key-binding'], formatVerdict(verdict));
    assert.equal(verdict.claims['isolation'], 'sev-snp');
    assert.equal((verdict.claims['root'] as { product: string }).product, 'Milan');
    const pinned = { ...nested, isolation: ['separate-user' as const] };
    const other = await verify(evidence, {
      policy: { version: 1, nested: pinned },
      time: '2025-06-01T00:00:00Z',
    });
    assert.equal(other.checks.find(({ id }) => id === 'isolation')?.status, 'failed');
  } finally {
    await cvm.close();
  }
});

test('a raw report comes with the table', async () => {
  const other = await chip();
  const { evidence, report } = rawHardwareEvidence(other, new Uint8Array(64).fill(5), 2);
  assert.equal(report.vmpl, 2);
  const read = readSnpEvidence(evidence);
  assert.deepEqual(read.certificates.vcek, other.psp.certificates().vcek);
  const policy = {
    version: 1 as const,
    nested: { softwareRoots: [hex(other.psp.rootFingerprint())] },
    snp: { vmpl: 2, launchDigest: [hex(report.measurement)] },
  };
  const verdict = await verify(evidence, { policy, reportData: '05'.repeat(64) });
  assert.equal(verdict.verdict, 'accepted', formatVerdict(verdict));
});

test('from a configfs tree to a verdict under AMD’s root, with a recorded report', async () => {
  const vectors = new URL('../../../attest/vectors/snp/', import.meta.url);
  const read = (name: string) => new Uint8Array(readFileSync(new URL(name, vectors)));
  const report = read('milan-v2.report.bin');
  const auxblob = table([['63da758d-e664-4564-adc5-f4b93be8accd', read('milan-v2.vcek.der')]]);
  const { reportData, measurement } = parseSnpReport(report);
  /** The kernel's side: attributes of one request, a generation for each write. */
  let generation = 0;
  let asked: Uint8Array | undefined;
  const attributes: Record<string, () => Uint8Array> = {
    provider: () => Buffer.from('sev_guest\n'),
    generation: () => Buffer.from(`${generation}\n`),
    outblob: () =>
      Buffer.compare(asked ?? new Uint8Array(0), reportData) === 0 ? report : new Uint8Array(1184),
    auxblob: () => auxblob,
  };
  const attribute = (path: string) => path.slice(path.lastIndexOf('/') + 1);
  const files = {
    exists: (path: string) => path.endsWith('/tsm/report') || attribute(path) in attributes,
    mkdir() {},
    rmdir() {},
    read: (path: string) => attributes[attribute(path)]!(),
    write(path: string, bytes: Uint8Array) {
      assert.equal(attribute(path), 'inblob');
      asked = bytes.slice();
      generation++;
    },
  };
  const psp = HardwarePsp.open({ tsm: { files } });
  assert.equal(psp.interface, 'configfs-tsm');
  const { evidence } = rawHardwareEvidence(psp, reportData);
  const policy = {
    version: 1 as const,
    snp: { launchDigest: [hex(measurement)], products: ['Milan' as const] },
  };
  const verdict = await verify(evidence, { policy, reportData, time: '2025-06-01T00:00:00Z' });
  assert.equal(verdict.verdict, 'accepted', formatVerdict(verdict));
  assert.equal(verdict.claims['isolation'], 'sev-snp');
});

test('nsgx attest --hardware', {
  skip: existsSync('/dev/sev-guest') ? 'this is an SNP guest' : false,
}, () => {
  const nsgx = (...args: string[]) =>
    spawnSync(process.execPath, [NSGX, 'attest', ...args], { encoding: 'utf8' });
  const cases: [number, RegExp, ...string[]][] = [
    [1, /HARDWARE_PSP_ABSENT/, '--hardware'],
    [1, /no sev-guest on this machine/, '--hardware', '--interface', 'sev-guest'],
    [2, /--interface is configfs-tsm or sev-guest/, '--hardware', '--interface', 'tdx'],
    [2, /--vmpl belongs to --hardware/, '--vmpl', '1'],
    [2, /name an image/],
  ];
  for (const [status, pattern, ...args] of cases) {
    const answer = nsgx(...args);
    assert.match(answer.stderr, pattern);
    assert.equal(answer.status, status, args.join(' '));
  }
});
