/**
 * A second implementation of the producer, independent of this system's: makes keys, certificates, SNP reports
 * and quotes with WebCrypto and a DER writer of its own, from the layouts in the manuals. For tests only.
 */
const { subtle } = globalThis.crypto;
type Pair = { publicKey: CryptoKeyLike; privateKey: CryptoKeyLike };
type CryptoKeyLike = Awaited<ReturnType<typeof subtle.importKey>>;

const AMD = '1.3.6.1.4.1.3704.1';
const integer = (value: number) => Uint8Array.from(value > 127 ? [2, 2, 0, value] : [2, 1, value]);

export function concat(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.concat(parts));
}

export function le(value: number, bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => Math.floor(value / 256 ** i) & 0xff);
}

export const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

async function keys(curve: 'P-256' | 'P-384'): Promise<Pair> {
  return (await subtle.generateKey({ name: 'ECDSA', namedCurve: curve }, true, ['sign', 'verify'])) as Pair;
}

/** DER: tag, minimal length, contents. */
export function tlv(tag: number, ...contents: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const body = concat(...contents);
  const n = body.length;
  const length = n < 128 ? [n] : n < 256 ? [0x81, n] : [0x82, n >> 8, n & 255];
  return concat(Uint8Array.of(tag, ...length), body);
}

const sequence = (...items: Uint8Array[]) => tlv(0x30, ...items);

function oid(dotted: string): Uint8Array {
  const [first, second, ...rest] = dotted.split('.').map(Number) as [number, number, ...number[]];
  const bytes = [40 * first + second];
  for (const arc of rest) {
    const digits = [arc & 0x7f];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128))
      digits.unshift((left & 0x7f) | 0x80);
    bytes.push(...digits);
  }
  return tlv(0x06, Uint8Array.from(bytes));
}

function distinguishedName(commonName: string): Uint8Array {
  const attribute = (type: string, value: string) =>
    tlv(0x31, sequence(oid(type), tlv(0x0c, Buffer.from(value))));
  return sequence(attribute('2.5.4.10', "not AMD's"), attribute('2.5.4.3', commonName));
}

function extension(type: string, value: Uint8Array, critical = false): Uint8Array {
  const flag = critical ? [tlv(0x01, Uint8Array.of(0xff))] : [];
  return sequence(oid(type), ...flag, tlv(0x04, value));
}

function utcTime(date: Date): Uint8Array {
  return tlv(0x17, Buffer.from(`${date.toISOString().replace(/[-:T]/g, '').slice(2, 14)}Z`));
}

/** An ECDSA-Sig-Value of r ‖ s. */
function signatureValue(raw: Uint8Array): Uint8Array {
  const half = (bytes: Uint8Array) => {
    let at = 0;
    while (at < bytes.length - 1 && bytes[at] === 0) at++;
    const magnitude = bytes.subarray(at);
    return tlv(0x02, ...(magnitude[0]! > 127 ? [Uint8Array.of(0)] : []), magnitude);
  };
  return sequence(half(raw.subarray(0, raw.length / 2)), half(raw.subarray(raw.length / 2)));
}

interface CertificateFields {
  serial: number;
  subject: Uint8Array;
  issuer: Uint8Array;
  notBefore: Date;
  notAfter: Date;
  spki: Uint8Array;
  signingKey: CryptoKeyLike;
  extensions: Uint8Array[];
}

async function certificate(fields: CertificateFields): Promise<Uint8Array> {
  const algorithm = sequence(oid('1.2.840.10045.4.3.3'));
  const tbs = sequence(
    tlv(0xa0, integer(2)),
    integer(fields.serial),
    algorithm,
    fields.issuer,
    sequence(utcTime(fields.notBefore), utcTime(fields.notAfter)),
    fields.subject,
    fields.spki,
    tlv(0xa3, sequence(...fields.extensions)),
  );
  const raw = new Uint8Array(await subtle.sign({ name: 'ECDSA', hash: 'SHA-384' }, fields.signingKey, tbs));
  return sequence(tbs, algorithm, tlv(0x03, Uint8Array.of(0), signatureValue(raw)));
}

export interface MachineOptions {
  notBefore?: string;
  notAfter?: string;
  chipId?: Uint8Array;
  tcb?: { bootloader: number; tee: number; snp: number; microcode: number };
  extraLeafExtension?: boolean;
  /** AMD's extensions of the leaf other than those of a Milan's VCEK. */
  leaf?: {
    product?: string;
    fmc?: number;
    cspId?: string;
    structVersion?: number | null;
    reserved?: number;
    both?: boolean;
  };
}

/** A software machine: a root, an authority, a leaf for one chip and TCB. */
export class TestMachine {
  private constructor(
    readonly certificates: Uint8Array[],
    readonly leafKey: CryptoKeyLike,
    readonly rootFingerprint: string,
    readonly chipId: Uint8Array,
    readonly tcb: Uint8Array,
    private readonly rootKey: CryptoKeyLike,
  ) {}

  /** A revocation list of the root: version 2, with these serial numbers on it. */
  async revocationList(
    serials: number[],
    dates = { thisUpdate: '2026-10-01T00:00:00Z', nextUpdate: '2026-12-01T00:00:00Z' },
    issuer = 'ARK-Software',
  ): Promise<Uint8Array> {
    const algorithm = sequence(oid('1.2.840.10045.4.3.3'));
    const [from, to] = [utcTime(new Date(dates.thisUpdate)), utcTime(new Date(dates.nextUpdate))];
    const entries = serials.map((serial) => sequence(integer(serial), from));
    const list = entries.length === 0 ? [] : [sequence(...entries)];
    const tbs = sequence(integer(1), algorithm, distinguishedName(issuer), from, to, ...list);
    const raw = new Uint8Array(await subtle.sign({ name: 'ECDSA', hash: 'SHA-384' }, this.rootKey, tbs));
    return sequence(tbs, algorithm, tlv(0x03, Uint8Array.of(0), signatureValue(raw)));
  }

  static async make(options: MachineOptions = {}): Promise<TestMachine> {
    const dates = {
      notBefore: new Date(options.notBefore ?? '2026-01-01T00:00:00Z'),
      notAfter: new Date(options.notAfter ?? '2036-01-01T00:00:00Z'),
    };
    const chipId = options.chipId ?? globalThis.crypto.getRandomValues(new Uint8Array(64));
    const tcb = options.tcb ?? { bootloader: 3, tee: 0, snp: 24, microcode: 219 };
    const [ark, ask, leaf] = await Promise.all([keys('P-384'), keys('P-384'), keys('P-384')]);
    const names = ['ARK-Software', 'SEV-Software', 'SEV-VCEK'].map((commonName) =>
      distinguishedName(commonName),
    );
    const authority = () => [
      extension('2.5.29.19', sequence(tlv(0x01, Uint8Array.of(0xff))), true),
      extension('2.5.29.15', tlv(0x03, Uint8Array.of(1, 0x06)), true),
    ];
    const make = async (
      serial: number,
      subject: number,
      issuer: number,
      key: Pair,
      by: Pair,
      extensions: Uint8Array[],
    ) =>
      certificate({
        serial,
        subject: names[subject]!,
        issuer: names[issuer]!,
        ...dates,
        spki: new Uint8Array(await subtle.exportKey('spki', key.publicKey)),
        signingKey: by.privateKey,
        extensions,
      });
    const amd = (suffix: string, value: Uint8Array) => extension(`${AMD}.${suffix}`, value);
    const { product = 'Soft', fmc, cspId, structVersion = 0, reserved, both } = options.leaf ?? {};
    const leafExtensions = [
      amd('2', tlv(0x16, Buffer.from(product))),
      amd('3.1', integer(tcb.bootloader)),
      amd('3.2', integer(tcb.tee)),
      amd('3.3', integer(tcb.snp)),
      amd('3.8', integer(tcb.microcode)),
    ];
    if (structVersion !== null) leafExtensions.push(amd('1', integer(structVersion)));
    if (fmc !== undefined) leafExtensions.push(amd('3.9', integer(fmc)));
    if (reserved !== undefined) leafExtensions.push(amd('3.5', integer(reserved)));
    if (cspId !== undefined) leafExtensions.push(amd('5', tlv(0x16, Buffer.from(cspId))));
    if (cspId === undefined || both) leafExtensions.push(amd('4', chipId));
    if (options.extraLeafExtension) leafExtensions.push(extension('1.2.3.4', integer(1), true));
    const certificates = await Promise.all([
      make(0, 2, 1, leaf, ask, leafExtensions),
      make(2, 1, 0, ask, ark, authority()),
      make(1, 0, 0, ark, ark, authority()),
    ]);
    const spki = await subtle.exportKey('spki', ark.publicKey);
    const fingerprint = hex(new Uint8Array(await subtle.digest('SHA-256', spki)));
    const { bootloader, tee, snp, microcode } = tcb;
    const raw =
      fmc === undefined
        ? [bootloader, tee, 0, 0, 0, 0, snp, microcode]
        : [fmc, bootloader, tee, snp, 0, 0, 0, microcode];
    const paddedId = new Uint8Array(64);
    paddedId.set(chipId);
    return new TestMachine(
      certificates,
      leaf.privateKey,
      fingerprint,
      paddedId,
      Uint8Array.from(raw),
      ark.privateKey,
    );
  }
}

export interface EvidenceOptions {
  isolation?: string;
  familyId?: string;
  vmpl?: number;
  policy?: bigint;
  launchDigest?: Uint8Array;
  mrenclave?: Uint8Array;
  mrsigner?: Uint8Array;
  isvProdId?: number;
  isvSvn?: number;
  attributes?: number;
  reportData?: Uint8Array;
  /** Signs with this key but shows another's, and the like. */
  wrongBinding?: boolean;
  reportChipId?: Uint8Array;
  reportTcb?: Uint8Array;
  certificates?: Uint8Array[];
  leafKey?: CryptoKeyLike;
  editReport?: (report: Uint8Array) => void;
}

export const MRENCLAVE = new Uint8Array(32).fill(0xa1);
export const MRSIGNER = new Uint8Array(32).fill(0xb2);
export const LAUNCH_DIGEST = new Uint8Array(48).fill(0xc3);
export const REPORT_DATA = Uint8Array.from({ length: 64 }, (_, i) => i);

const padded = (text: string, size: number) => {
  const bytes = new Uint8Array(size);
  bytes.set(Buffer.from(text));
  return bytes;
};

/** An SNP report of `machine`, signed. */
export async function makeReport(
  machine: TestMachine,
  reportData: Uint8Array,
  options: EvidenceOptions = {},
): Promise<Uint8Array> {
  const report = new Uint8Array(1184);
  const view = new DataView(report.buffer);
  const tcb = options.reportTcb ?? machine.tcb;
  view.setUint32(0, 2, true);
  view.setBigUint64(8, options.policy ?? 0x30000n, true);
  report.set(padded(options.familyId ?? 'nestedsgx', 16), 0x10);
  report.set(padded(options.isolation ?? 'separate-user', 16), 0x20);
  view.setUint32(0x30, options.vmpl ?? 0, true);
  view.setUint32(0x34, 1, true);
  report.set(reportData, 0x50);
  report.set(options.launchDigest ?? LAUNCH_DIGEST, 0x90);
  report.set(globalThis.crypto.getRandomValues(new Uint8Array(32)), 0x140);
  report.fill(0xff, 0x160, 0x180);
  for (const offset of [0x38, 0x180, 0x1e0, 0x1f0]) report.set(tcb, offset);
  report.set(options.reportChipId ?? machine.chipId, 0x1a0);
  options.editReport?.(report);
  const signature = new Uint8Array(
    await subtle.sign(
      { name: 'ECDSA', hash: 'SHA-384' },
      options.leafKey ?? machine.leafKey,
      report.slice(0, 0x2a0),
    ),
  );
  report.set(signature.slice(0, 48).reverse(), 0x2a0);
  report.set(signature.slice(48).reverse(), 0x2e8);
  return report;
}

/** A quote of this system's format for one enclave under one machine. */
export async function makeEvidence(
  machine: TestMachine,
  options: EvidenceOptions = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const monitor = await keys('P-256');
  const bound = options.wrongBinding ? await keys('P-256') : monitor;
  const spki = new Uint8Array(await subtle.exportKey('spki', bound.publicKey));
  const label = Buffer.from('nestedsgx/attestation-key/v1\0');
  const binding = new Uint8Array(await subtle.digest('SHA-512', concat(label, spki)));
  const point = new Uint8Array(await subtle.exportKey('raw', monitor.publicKey)).slice(1);
  const snp = await makeReport(machine, binding, options);

  const header = new Uint8Array(48);
  header.set([3, 0, 2, 0]);
  header.set(Buffer.from('nestedsgx-vendor'), 12);
  const body = new Uint8Array(384);
  body.set([options.attributes ?? 5], 48);
  body.set([7], 56);
  body.set(options.mrenclave ?? MRENCLAVE, 64);
  body.set(options.mrsigner ?? MRSIGNER, 128);
  body.set(le(options.isvProdId ?? 7, 2), 256);
  body.set(le(options.isvSvn ?? 3, 2), 258);
  body.set(options.reportData ?? REPORT_DATA, 320);
  const signed = concat(header, body);
  const signature = new Uint8Array(
    await subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, monitor.privateKey, signed),
  );
  const certificates = options.certificates ?? machine.certificates;
  const list = concat(...certificates.flatMap((der) => [le(der.length, 4), der]));
  const certification = concat(le(1, 4), le(snp.length, 4), snp, le(list.length, 4), list);
  const data = concat(
    signature,
    point,
    new Uint8Array(384 + 64),
    le(0, 2),
    le(0x4e53, 2),
    le(certification.length, 4),
    certification,
  );
  return concat(signed, le(data.length, 4), data);
}

/** Where each region of a quote lies. */
export function regions(machine: TestMachine): Record<string, [number, number]> {
  const certificates = 432 + 4 + 64 + 64 + 448 + 2 + 2 + 4 + 4 + 4 + 1184 + 4;
  const [leaf, ask, ark] = machine.certificates.map((der) => der.length);
  const at = 432 + 4;
  return {
    header: [0, 48],
    body: [48, 432],
    signatureLength: [432, 436],
    signature: [at, at + 64],
    attestationKey: [at + 64, at + 128],
    qe: [at + 128, at + 576],
    lengths: [at + 576, at + 576 + 16],
    snpReport: [at + 592, at + 592 + 0x2a0],
    snpSignature: [at + 592 + 0x2a0, at + 592 + 1184],
    listLength: [certificates - 4, certificates],
    leaf: [certificates + 4, certificates + 4 + leaf!],
    ask: [certificates + 8 + leaf!, certificates + 8 + leaf! + ask!],
    ark: [certificates + 12 + leaf! + ask!, certificates + 12 + leaf! + ask! + ark!],
  };
}
