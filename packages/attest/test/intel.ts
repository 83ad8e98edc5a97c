/**
 * An Intel of our own, for tests only: root, both PCK authorities, PCKs, revocation lists, signed documents and
 * quotes of every version, written from the layouts in Intel's documents with OpenSSL's signatures.
 */
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { IntelTrust } from '../src/dcap/trust.js';
import { type Collateral, parseCertificate } from '../src/index.js';
import { PreparedCollateral } from '../src/prepared.js';
import { concat, hex, le, tlv } from './producer.js';

const SGX = '1.2.840.113741.1.13.1';
const TIME = '2026-06-01T00:00:00Z';
const VENDOR = Buffer.from('939a7233f79c4ca9940a0db3957f0607', 'hex');
const text = (value: string) => new TextEncoder().encode(value);
const sequence = (...items: Uint8Array[]) => tlv(0x30, ...items);
const bytes = (length: number, fill = 0) => new Uint8Array(length).fill(fill);

function integer(value: number | Uint8Array): Uint8Array {
  if (typeof value !== 'number') return tlv(0x02, value[0]! > 127 ? concat(bytes(1), value) : value);
  const digits = Number(value).toString(16);
  const raw = Buffer.from(digits.padStart(digits.length + (digits.length % 2), '0'), 'hex');
  return integer(new Uint8Array(raw));
}

function oid(dotted: string): Uint8Array {
  const [first, second, ...rest] = dotted.split('.').map(Number) as [number, number, ...number[]];
  const out = [40 * first + second];
  for (const arc of rest) {
    const digits = [arc % 128];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128))
      digits.unshift((left % 128) + 128);
    out.push(...digits);
  }
  return tlv(0x06, Uint8Array.from(out));
}

const ECDSA_SHA256 = sequence(oid('1.2.840.10045.4.3.2'));
const name = (commonName: string) =>
  sequence(tlv(0x31, sequence(oid('2.5.4.3'), tlv(0x0c, text(commonName)))));
const utcTime = (date: string) =>
  tlv(0x17, text(`${new Date(date).toISOString().replace(/[-:T]/g, '').slice(2, 14)}Z`));
const extension = (id: string, value: Uint8Array, critical = false) =>
  sequence(oid(id), ...(critical ? [tlv(0x01, bytes(1, 0xff))] : []), tlv(0x04, value));
const signed = (tbs: Uint8Array, key: KeyObject) =>
  sequence(tbs, ECDSA_SHA256, tlv(0x03, bytes(1), new Uint8Array(sign('sha256', tbs, key))));
const raw = (data: Uint8Array, key: KeyObject) =>
  new Uint8Array(sign('sha256', data, { key, dsaEncoding: 'ieee-p1363' }));
export const pem = (der: Uint8Array, label = 'CERTIFICATE') =>
  `-----BEGIN ${label}-----\n${Buffer.from(der).toString('base64')}\n-----END ${label}-----\n`;

interface Signer {
  readonly name: string;
  readonly key: KeyObject;
  readonly publicKey: KeyObject;
  readonly der: Uint8Array;
  readonly serial: Uint8Array;
}

function point(publicKey: KeyObject): Uint8Array {
  const { x, y } = publicKey.export({ format: 'jwk' });
  return concat(Buffer.from(x!, 'base64url'), Buffer.from(y!, 'base64url'));
}

/** A certificate of `subject` with a new key. */
export function certify(
  subject: string,
  issuer: Signer | null,
  path: number | null,
  extensions: Uint8Array[] = [],
  dates = ['2025-01-01T00:00:00Z', '2035-01-01T00:00:00Z'] as const,
): Signer {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const serial = new Uint8Array(randomBytes(16));
  serial[0]! |= 1;
  const constraints = path === null ? sequence() : sequence(tlv(0x01, bytes(1, 0xff)), integer(path));
  const usage = path === null ? Uint8Array.of(6, 0xc0) : Uint8Array.of(1, 0x06);
  const tbs = sequence(
    tlv(0xa0, integer(2)),
    integer(serial),
    ECDSA_SHA256,
    name(issuer?.name ?? subject),
    sequence(utcTime(dates[0]), utcTime(dates[1])),
    name(subject),
    new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })),
    tlv(
      0xa3,
      sequence(
        extension('2.5.29.15', tlv(0x03, usage), true),
        extension('2.5.29.19', constraints, true),
        ...extensions,
      ),
    ),
  );
  const der = signed(tbs, issuer?.key ?? privateKey);
  return { name: subject, key: privateKey, publicKey, der, serial };
}

/** What a PCK says of its platform. */
export interface PlatformFields {
  components: number[];
  pceSvn: number;
  fmspc: Uint8Array;
  pceId: Uint8Array;
  ppid: Uint8Array;
  configuration?: { dynamicPlatform?: boolean; cachedKeys?: boolean; smtEnabled?: boolean };
}

export const PLATFORM: PlatformFields = {
  components: [3, 3, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0],
  pceSvn: 13,
  fmspc: Uint8Array.of(0, 1, 2, 3, 4, 5),
  pceId: bytes(2),
  ppid: bytes(16, 7),
};

function pckExtension(fields: PlatformFields): Uint8Array {
  const octets = (id: string, value: Uint8Array) => sequence(oid(`${SGX}.${id}`), tlv(0x04, value));
  const number = (id: string, value: number) => sequence(oid(`${SGX}.${id}`), integer(value));
  const flag = (id: string, value: boolean | undefined) =>
    value === undefined ? [] : [sequence(oid(`${SGX}.7.${id}`), tlv(0x01, Uint8Array.of(value ? 0xff : 0)))];
  const tcb = [
    ...fields.components.map((svn, i) => number(`2.${i + 1}`, svn)),
    number('2.17', fields.pceSvn),
    octets('2.18', bytes(16)),
  ];
  const { configuration } = fields;
  return sequence(
    octets('1', fields.ppid),
    sequence(oid(`${SGX}.2`), sequence(...tcb)),
    octets('3', fields.pceId),
    octets('4', fields.fmspc),
    sequence(oid(`${SGX}.5`), tlv(0x0a, Uint8Array.of(1))),
    octets('6', bytes(16, 9)),
    ...(configuration === undefined
      ? []
      : [
          sequence(
            oid(`${SGX}.7`),
            sequence(
              ...flag('1', configuration.dynamicPlatform),
              ...flag('2', configuration.cachedKeys),
              ...flag('3', configuration.smtEnabled),
            ),
          ),
        ]),
  );
}

export interface QuoteFields {
  version: number;
  kind: 'sgx' | 'tdx';
  /** Body type of version 5. */
  bodyType?: number;
  /** Replaces bytes of the body. */
  body?: (body: Uint8Array) => void;
  certificationType?: number;
  certificationData?: Uint8Array;
  qeIsvSvn?: number;
  qeAttributes?: Uint8Array;
  header?: (header: Uint8Array) => void;
}

/** An issuer with one platform. */
export class TestIntel {
  readonly root = certify('Intel SGX Root CA', null, 1);
  readonly authority: Signer;
  readonly signer: Signer;
  readonly pck: Signer;

  constructor(
    readonly platform: PlatformFields = PLATFORM,
    authority = 'Intel SGX PCK Platform CA',
  ) {
    this.authority = certify(authority, this.root, 0);
    this.signer = certify('Intel SGX TCB Signing', this.root, null);
    this.pck = certify('Intel SGX PCK Certificate', this.authority, null, [
      extension(SGX, pckExtension(platform)),
    ]);
  }

  list(issuer: Signer, revoked: readonly Signer[] = [], plain = false): Uint8Array {
    const [from, to] = [utcTime('2026-05-20T00:00:00Z'), utcTime('2026-06-20T00:00:00Z')];
    const entries = revoked.map(({ serial }) => sequence(integer(serial), from));
    const extensions = sequence(
      extension('2.5.29.20', integer(1)),
      extension('2.5.29.35', sequence(tlv(0x80, bytes(20)))),
    );
    const tbs = sequence(
      integer(1),
      ECDSA_SHA256,
      name(issuer.name),
      from,
      to,
      ...(entries.length === 0 ? [] : [sequence(...entries)]),
      ...(plain ? [] : [tlv(0xa0, extensions)]),
    );
    return signed(tbs, issuer.key);
  }

  document(member: string, value: unknown, key = this.signer.key): Uint8Array {
    const body = JSON.stringify(value);
    return text(`{"${member}":${body},"signature":"${hex(raw(text(body), key))}"}`);
  }

  tcbInfo(id: 'SGX' | 'TDX', change: Record<string, unknown> = {}): Record<string, unknown> {
    const svns = (list: readonly number[]) => Array.from({ length: 16 }, (_, i) => ({ svn: list[i] ?? 0 }));
    const level = (
      sgx: number[],
      pcesvn: number,
      tdx: number[],
      tcbStatus: string,
      advisoryIDs: string[],
    ) => ({
      tcb: {
        sgxtcbcomponents: svns(sgx),
        pcesvn,
        ...(id === 'TDX' ? { tdxtcbcomponents: svns(tdx) } : {}),
      },
      tcbDate: '2026-01-01T00:00:00Z',
      tcbStatus,
      advisoryIDs,
    });
    const module = { mrsigner: '00'.repeat(48), attributes: '00'.repeat(8), attributesMask: 'FF'.repeat(8) };
    const moduleLevel = (isvsvn: number, tcbStatus: string, advisoryIDs: string[] = []) => ({
      tcb: { isvsvn },
      tcbDate: '2025-06-01T00:00:00Z',
      tcbStatus,
      advisoryIDs,
    });
    const { components } = PLATFORM;
    return {
      id,
      version: 3,
      issueDate: '2026-05-20T00:00:00Z',
      nextUpdate: '2026-06-20T00:00:00Z',
      fmspc: hex(PLATFORM.fmspc).toUpperCase(),
      pceId: hex(PLATFORM.pceId),
      tcbType: 0,
      tcbEvaluationDataNumber: 20,
      ...(id === 'TDX'
        ? {
            tdxModule: module,
            tdxModuleIdentities: [
              { id: 'TDX_03', ...module, tcbLevels: [moduleLevel(3, 'UpToDate')] },
              {
                id: 'TDX_01',
                ...module,
                tcbLevels: [
                  moduleLevel(6, 'UpToDate'),
                  moduleLevel(4, 'OutOfDate', ['INTEL-SA-00004']),
                  moduleLevel(2, 'Revoked', ['INTEL-SA-00005']),
                ],
              },
            ],
          }
        : {}),
      tcbLevels: [
        level(components, 13, [5, 0, 3], 'UpToDate', []),
        level(components, 11, [5, 0, 3], 'ConfigurationNeeded', ['INTEL-SA-00002']),
        level([...components.slice(0, 7), 2], 5, [3, 0, 2], 'OutOfDate', ['INTEL-SA-00003']),
      ],
      ...change,
    };
  }

  identity(id: 'QE' | 'TD_QE', change: Record<string, unknown> = {}): Record<string, unknown> {
    const level = (isvsvn: number, tcbStatus: string, advisoryIDs: string[] = []) => ({
      tcb: { isvsvn },
      tcbDate: '2025-09-01T00:00:00Z',
      tcbStatus,
      advisoryIDs,
    });
    return {
      id,
      version: 2,
      issueDate: '2026-05-20T00:00:00Z',
      nextUpdate: '2026-06-20T00:00:00Z',
      tcbEvaluationDataNumber: 19,
      miscselect: '00000000',
      miscselectMask: 'FFFFFFFF',
      attributes: `11${'00'.repeat(15)}`,
      attributesMask: `FB${'FF'.repeat(7)}${'00'.repeat(8)}`,
      mrsigner: 'AA'.repeat(32),
      isvprodid: 1,
      tcbLevels: [level(8, 'UpToDate'), level(6, 'OutOfDate', ['INTEL-SA-00006']), level(1, 'Revoked')],
      ...change,
    };
  }

  /** Everything that a verifier needs for quotes of this platform. */
  collateral(kind: 'sgx' | 'tdx', change: Collateral = {}): Collateral {
    return {
      rootCrl: this.list(this.root),
      pckCrl: this.list(this.authority),
      tcbSigning: text(pem(this.signer.der) + pem(this.root.der)),
      tcbInfo: this.document('tcbInfo', this.tcbInfo(kind === 'sgx' ? 'SGX' : 'TDX')),
      qeIdentity: this.document('enclaveIdentity', this.identity(kind === 'sgx' ? 'QE' : 'TD_QE')),
      ...change,
    };
  }

  /** Prepared so that this root is trusted in place of Intel's. */
  prepare(collateral: Collateral): PreparedCollateral {
    const prepared = new PreparedCollateral(collateral);
    return Object.assign(prepared, {
      intel: new IntelTrust(prepared.files, parseCertificate(this.root.der)),
    });
  }

  chain(): string {
    return [this.pck, this.authority, this.root].map(({ der }) => pem(der)).join('');
  }

  /** A quote of this platform's quoting enclave. */
  quote(fields: QuoteFields): Uint8Array {
    const attestation = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const header = concat(
      le(fields.version, 2),
      le(2, 2),
      le(fields.kind === 'sgx' ? 0 : 0x81, 4),
      bytes(4),
      VENDOR,
      bytes(20),
    );
    fields.header?.(header);
    const type = fields.bodyType ?? (fields.kind === 'sgx' ? 1 : 2);
    const body = bytes({ 1: 384, 2: 584, 3: 648, 4: 885 }[type]!);
    if (fields.kind === 'sgx') {
      body.set([0x05], 48);
      body.set(bytes(32, 0x11), 64);
    } else {
      body.set([6, 1, 3], 0);
      body.set([0x10], 123);
      body.set(bytes(48, 0x22), 136);
      if (type > 2) body.set([6, 1, 3], 584);
    }
    fields.body?.(body);
    const typed = fields.version === 5 ? concat(le(type, 2), le(body.length, 4)) : bytes(0);
    const signedPart = concat(header, typed, body);
    const qe = bytes(384);
    qe.set(fields.qeAttributes ?? [0x15, 0, 0, 0, 0, 0, 0, 0, 0xe7], 48);
    qe.set(bytes(32, 0xaa), 128);
    qe.set([1, 0, ...le(fields.qeIsvSvn ?? 8, 2)], 256);
    const key = point(attestation.publicKey);
    const authentication = bytes(32, 0x33);
    qe.set(createHash('sha256').update(key).update(authentication).digest(), 320);
    const data = fields.certificationData ?? text(this.chain());
    const certification = concat(le(fields.certificationType ?? 5, 2), le(data.length, 4), data);
    const inner = concat(
      qe,
      raw(qe, this.pck.key),
      le(authentication.length, 2),
      authentication,
      certification,
    );
    const outer = fields.version === 3 ? inner : concat(le(6, 2), le(inner.length, 4), inner);
    const signature = concat(raw(signedPart, attestation.privateKey), key, outer);
    return concat(signedPart, le(signature.length, 4), signature);
  }
}

export { TIME };
