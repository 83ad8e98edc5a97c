/** Intel's extension of a PCK certificate ("Intel SGX PCK Certificate and Certificate Revocation List Profile"). */
import { toHex } from '../bytes.js';
import type { Certificate } from '../x509/certificate.js';
import { booleanValue, DerReader, derFailure, oidText, smallInteger, TAG } from '../x509/der.js';

const ARC = '1.2.840.113741.1.13.1';

/** Kinds of SGX platforms by number: memory with integrity tree, without, with MACs. */
const SGX_TYPES = ['standard', 'scalable', 'scalable-with-integrity'] as const;

/** How a multi-package platform is set up; only certificates of the platform CA say so. */
export interface PckConfiguration {
  /** Packages may be added after registration. */
  readonly dynamicPlatform: boolean | null;
  /** Intel keeps the platform's root keys. */
  readonly cachedKeys: boolean | null;
  readonly smtEnabled: boolean | null;
}

/** What a PCK certificate says of the platform. */
export interface PckPlatform {
  /** 16 bytes: the platform's name in provisioning. */
  readonly ppid: Uint8Array;
  /** The 16 TCB component SVNs. */
  readonly components: readonly number[];
  readonly pceSvn: number;
  /** 16 bytes. */
  readonly cpuSvn: Uint8Array;
  /** 2 bytes. */
  readonly pceId: Uint8Array;
  /** 6 bytes: family, model, stepping, platform type, SKU. */
  readonly fmspc: Uint8Array;
  readonly sgxType: (typeof SGX_TYPES)[number];
  readonly platformInstanceId: Uint8Array | null;
  readonly configuration: PckConfiguration;
}

/** {@link ARC} as the contents of an object identifier. */
const ARC_BYTES = Uint8Array.of(0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01);

/** What an identifier has below {@link ARC}, `2.17` for example; others in full, marked so that none is like it. */
function suffixOf(contents: Uint8Array): string {
  const [first, second] = [contents[ARC_BYTES.length], contents[ARC_BYTES.length + 1]];
  const below = contents.length - ARC_BYTES.length;
  const own = (below === 1 || below === 2) && ARC_BYTES.every((byte, i) => contents[i] === byte);
  if (!own || first! >= 0x80 || (second ?? 0) >= 0x80) return `other ${oidText(contents)}`;
  return second === undefined ? `${first}` : `${first}.${second}`;
}

/** Values of the extension by the suffix of their identifier. */
type Values = ReadonlyMap<string, DerReader>;

function pairs(reader: DerReader, what: string): Values {
  const values = new Map<string, DerReader>();
  while (!reader.done) {
    const pair = reader.enter(TAG.SEQUENCE, what);
    const suffix = suffixOf(pair.expect(TAG.OID, what).contents);
    const value = pair.any();
    pair.end(what);
    if (values.has(suffix)) derFailure(`${what} holds ${ARC}.${suffix} twice`);
    values.set(suffix, new DerReader(value.bytes, value.start, value.end));
  }
  return values;
}

function optional(values: Values, suffix: string, tag: number): Uint8Array | null {
  return values.get(suffix)?.expect(tag, `${ARC}.${suffix}`).contents ?? null;
}

function needed(values: Values, suffix: string, tag: number): Uint8Array {
  return optional(values, suffix, tag) ?? derFailure(`the SGX extension lacks ${ARC}.${suffix}`);
}

function sized(bytes: Uint8Array, suffix: string, length: number): Uint8Array {
  if (bytes.length !== length) derFailure(`${ARC}.${suffix} has ${bytes.length} bytes instead of ${length}`);
  return bytes;
}

function svn(values: Values, suffix: string, limit: number): number {
  const value = smallInteger(needed(values, suffix, TAG.INTEGER), `${ARC}.${suffix}`);
  if (value > limit) derFailure(`${ARC}.${suffix} is ${value}, above ${limit}`);
  return value;
}

function configuration(values: Values): PckConfiguration {
  const list = optional(values, '7', TAG.SEQUENCE);
  const flags = list === null ? new Map() : pairs(new DerReader(list), 'the platform configuration');
  const flag = (suffix: string): boolean | null => {
    const contents = optional(flags, suffix, TAG.BOOLEAN);
    return contents === null ? null : booleanValue(contents, `${ARC}.${suffix}`);
  };
  return { dynamicPlatform: flag('7.1'), cachedKeys: flag('7.2'), smtEnabled: flag('7.3') };
}

/** Reads the extension. @throws AttestError CERTIFICATE_MALFORMED */
export function parsePckPlatform(certificate: Certificate): PckPlatform {
  const extension = certificate.extensions.get(ARC);
  if (extension === undefined)
    derFailure(`the certificate has no SGX extension (${ARC}), so it is no PCK certificate`);
  const top = new DerReader(extension.value);
  const values = pairs(top.enter(TAG.SEQUENCE, 'the SGX extension'), 'the SGX extension');
  top.end('the SGX extension');
  const octets = (map: Values, suffix: string, length: number) =>
    sized(needed(map, suffix, TAG.OCTET_STRING), suffix, length);
  const tcb = pairs(new DerReader(needed(values, '2', TAG.SEQUENCE)), 'the TCB of the SGX extension');
  const type = smallInteger(needed(values, '5', TAG.ENUMERATED), `${ARC}.5`);
  const instance = optional(values, '6', TAG.OCTET_STRING);
  return {
    ppid: octets(values, '1', 16),
    components: Array.from({ length: 16 }, (_, i) => svn(tcb, `2.${i + 1}`, 0xff)),
    pceSvn: svn(tcb, '2.17', 0xffff),
    cpuSvn: octets(tcb, '2.18', 16),
    pceId: octets(values, '3', 2),
    fmspc: octets(values, '4', 6),
    sgxType: SGX_TYPES[type] ?? derFailure(`${ARC}.5 is ${type}, which is no kind of SGX platform`),
    platformInstanceId: instance === null ? null : sized(instance, '6', 16),
    configuration: configuration(values),
  };
}

/** What a PCK certificate says, as JSON. */
export function pckFields(pck: PckPlatform) {
  return {
    ppid: toHex(pck.ppid),
    components: [...pck.components],
    pceSvn: pck.pceSvn,
    pceId: toHex(pck.pceId),
    fmspc: toHex(pck.fmspc),
    sgxType: pck.sgxType,
    platformInstanceId: pck.platformInstanceId === null ? null : toHex(pck.platformInstanceId),
    ...pck.configuration,
  };
}
