/**
 * What is damaged, and in which circumstances it is accepted undamaged. `decoded` is what is signed or compared in it, by
 * a reading of its own: an accepted mutant must have the same.
 */
import { readFileSync } from 'node:fs';
import {
  type Collateral,
  type PolicyDocument,
  type PreparedCollateral,
  prepareCollateral,
} from '../src/index.js';
import { INTEL_ROOT } from '../src/x509/built-in-roots.js';
import { dcapCollateral } from './dcap-collateral.js';
import { hex, LAUNCH_DIGEST, MRENCLAVE, makeEvidence, TestMachine } from './producer.js';

const vector = (name: string) =>
  new Uint8Array(readFileSync(new URL(`../../vectors/${name}`, import.meta.url)));

/** One byte string to damage. */
export interface Target {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** Evidence and options of the verification with `bytes` in their place. */
  request(bytes: Uint8Array): { evidence: Uint8Array; collateral: Collateral | PreparedCollateral };
  readonly policy: PolicyDocument;
  readonly time: string;
  decoded(bytes: Uint8Array): string;
}

const exact = (bytes: Uint8Array) => hex(bytes);
/** The report itself; a certificate table may follow, or zeros, which are an empty one. */
const reportPart = (bytes: Uint8Array) => hex(bytes.subarray(0, 1184));

const ROOT = Buffer.from(INTEL_ROOT, 'base64').toString('hex');

/** DER of all PEM certificates, whatever stands around and between, each once. Intel's root, built in, may be left out. */
function certificates(text: string): string[] {
  const blocks = text.matchAll(/-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----/g);
  const ders = [...blocks].map(([, base64]) => Buffer.from(base64!, 'base64').toString('hex'));
  return [...new Set(ders)].filter((der) => der !== ROOT).sort();
}

/** A quote without its length fields and the padding behind it, its certificates as DER in any order. */
function quoteParts(bytes: Uint8Array): string {
  const text = Buffer.from(bytes).toString('latin1');
  const front = bytes.slice(0, text.indexOf('-----BEGIN'));
  const tdx = front[4] !== 0;
  const body = tdx ? 632 : 432;
  const lengths = [body, front.length - 4, ...(front[0]! > 3 ? [body + 4 + 128 + 2] : [])];
  for (const at of lengths) front.fill(0, at, at + 4);
  return JSON.stringify([hex(front), certificates(text)]);
}

/** A signed document of Intel's: the member that is signed, and the signature. */
const documentParts = (member: string) => (bytes: Uint8Array) => {
  const document = JSON.parse(Buffer.from(bytes).toString()) as Record<string, unknown>;
  return JSON.stringify([document[member], String(document['signature']).toLowerCase()]);
};

const pemParts = (bytes: Uint8Array) => JSON.stringify(certificates(Buffer.from(bytes).toString('latin1')));

/** Whether the report and the leaf (PEM, as the host's table has it) are in `bytes` as they were. */
const holds = (report: Uint8Array, leaf: string) => (bytes: Uint8Array) => {
  const text = Buffer.from(bytes);
  return String(text.includes(Buffer.from(report)) && certificates(text.toString('latin1')).includes(leaf));
};

/** The TSM report in JSON as the bytes of its blobs. */
function blobs(bytes: Uint8Array): Uint8Array {
  const tsm = JSON.parse(Buffer.from(bytes).toString()) as Record<string, string>;
  return Buffer.concat(['outblob', 'auxblob'].map((name) => Buffer.from(String(tsm[name]), 'base64url')));
}

function snpTargets(): Target[] {
  const policy: PolicyDocument = { version: 1, snp: { allowAnyMeasurement: true } };
  const time = '2025-06-01T00:00:00Z';
  const milan = vector('snp/milan-v2.report.bin');
  const vcek = vector('snp/milan-v2.vcek.der');
  const vlekReport = vector('snp/milan-v3-vlek.report.bin');
  const vlek = vector('snp/milan-v3-vlek.vlek.der');
  const [ask, ark] = [vector('snp/milan.ask.der'), vector('snp/milan.ark.der')];
  const tsm = vector('snp/genoa-v3.tsm.json');
  const read = JSON.parse(Buffer.from(tsm).toString()) as Record<string, string>;
  const report = new Uint8Array(Buffer.from(read['outblob']!, 'base64url').subarray(0, 1184));
  const table = new Uint8Array(Buffer.from(read['auxblob']!, 'base64url'));
  const pem = tableEntry(table, '63da758de6644564adc5f4b93be8accd');
  const genoa = holds(report, certificates(Buffer.from(pem).toString('latin1'))[0]!);
  const none: Collateral = {};
  const own = { policy, time };
  const extended = new Uint8Array(Buffer.concat([report, table]));
  const request = (evidence: Uint8Array, collateral: Collateral = none) => ({ evidence, collateral });
  return [
    {
      ...own,
      name: 'report',
      bytes: milan,
      decoded: reportPart,
      request: (bytes) => request(bytes, { vcek }),
    },
    {
      ...own,
      name: 'VCEK',
      bytes: vcek,
      decoded: exact,
      request: (bytes) => request(milan, { vcek: bytes }),
    },
    {
      ...own,
      policy: { version: 1, snp: { vmpl: 1, allowAnyMeasurement: true } },
      name: 'VLEK report',
      bytes: vlekReport,
      decoded: reportPart,
      request: (bytes) => request(bytes, { vlek }),
    },
    {
      ...own,
      policy: { version: 1, snp: { vmpl: 1, allowAnyMeasurement: true } },
      name: 'VLEK',
      bytes: vlek,
      decoded: exact,
      request: (bytes) => request(vlekReport, { vlek: bytes }),
    },
    // AMD's are built in, so that what is wrong with given ones does not matter.
    {
      ...own,
      name: 'ASK',
      bytes: ask,
      decoded: () => '',
      request: (bytes) => request(milan, { vcek, ask: bytes, ark }),
    },
    {
      ...own,
      name: 'ARK',
      bytes: ark,
      decoded: () => '',
      request: (bytes) => request(milan, { vcek, ask, ark: bytes }),
    },
    { ...own, name: 'extended report', bytes: extended, decoded: genoa, request },
    { ...own, name: 'TSM report', bytes: tsm, decoded: (bytes) => genoa(blobs(bytes)), request },
    {
      ...own,
      name: 'TSM report (CBOR)',
      bytes: vector('snp/genoa-v3.tsm.cbor'),
      decoded: genoa,
      request,
    },
  ];
}

/** Reports of version 5 with a chain in PEM, the leaf first; AMD's own authorities are built in. */
function version5Targets(name: string): Target[] {
  const report = vector(`snp/${name}-v5.report.bin`);
  const vcek = vector(`snp/${name}-v5.chain.pem`);
  const own = {
    policy: { version: 1, snp: { allowAnyMeasurement: true } },
    time: '2026-01-01T00:00:00Z',
  } as const;
  // The file's order counts, and only its first certificate.
  const leaf = (bytes: Uint8Array) =>
    /-----BEGIN CERTIFICATE-----([^-]*)-----END/.exec(Buffer.from(bytes).toString('latin1'))?.[1] ?? '';
  return [
    {
      ...own,
      name: `${name} version 5`,
      bytes: report,
      decoded: reportPart,
      request: (evidence) => ({ evidence, collateral: { vcek } }),
    },
    {
      ...own,
      name: `${name} chain`,
      bytes: vcek,
      decoded: (bytes) => Buffer.from(leaf(bytes), 'base64').toString('hex'),
      request: (bytes) => ({ evidence: report, collateral: { vcek: bytes } }),
    },
  ];
}

/** One certificate of a certificate table (GUID, offset, length). */
function tableEntry(table: Uint8Array, guid: string): Uint8Array {
  const view = new DataView(table.buffer, table.byteOffset);
  for (let at = 0; at + 24 <= table.length; at += 24) {
    if (hex(table.subarray(at, at + 16)) !== guid) continue;
    const offset = view.getUint32(at + 16, true);
    return table.slice(offset, offset + view.getUint32(at + 20, true));
  }
  throw new Error(`no ${guid}`);
}

function dcapTargets(name: string, policy: PolicyDocument): Target[] {
  const evidence = vector(`dcap/${name}`);
  const genuine = dcapCollateral(name);
  const prepared = prepareCollateral(genuine);
  const own = { policy, time: '2025-07-01T00:00:00Z' };
  const file = (role: keyof Collateral, decoded: Target['decoded']): Target => ({
    ...own,
    name: `${name} ${role}`,
    bytes: genuine[role]!,
    decoded,
    request: (bytes) => ({ evidence, collateral: { ...genuine, [role]: bytes } }),
  });
  return [
    {
      ...own,
      name,
      bytes: evidence,
      decoded: quoteParts,
      request: (bytes) => ({ evidence: bytes, collateral: prepared }),
    },
    file('rootCrl', exact),
    file('pckCrl', exact),
    file('tcbSigning', pemParts),
    file('tcbInfo', documentParts('tcbInfo')),
    file('qeIdentity', documentParts('enclaveIdentity')),
  ];
}

/** All targets. Nested evidence is made anew each time; the others are genuine. */
export async function mutationTargets(): Promise<Target[]> {
  const machine = await TestMachine.make();
  const nested: Target = {
    name: 'nested evidence',
    bytes: await makeEvidence(machine),
    policy: {
      version: 1,
      nested: {
        mrenclave: [hex(MRENCLAVE)],
        launchDigest: [hex(LAUNCH_DIGEST)],
        softwareRoots: [machine.rootFingerprint],
      },
    },
    time: '2026-11-01T00:00:00Z',
    decoded: exact,
    request: (bytes) => ({ evidence: bytes, collateral: {} }),
  };
  return [
    nested,
    ...snpTargets(),
    ...version5Targets('genoa'),
    ...version5Targets('turin'),
    ...dcapTargets('sgx_quote', {
      version: 1,
      dcap: { acceptStatus: ['ConfigurationAndSWHardeningNeeded'], allowAnyMeasurement: true },
    }),
    ...dcapTargets('tdx_quote', { version: 1, dcap: { allowAnyMeasurement: true } }),
  ];
}
