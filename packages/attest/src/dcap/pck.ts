/** Intel's extension of a PCK certificate ("Intel SGX PCK Certificate and Certificate Revocation List Profile"). */
import type { Certificate } from '../x509/certificate.js';
import { DerReader, derFailure, oidText, smallInteger, TAG } from '../x509/der.js';

const ARC = '1.2.840.113741.1.13.1';

/** What a PCK certificate says of the platform. */
export interface PckPlatform {
  /** The 16 TCB component SVNs. */
  readonly components: readonly number[];
  readonly pceSvn: number;
  /** 2 bytes. */
  readonly pceId: Uint8Array;
  /** 6 bytes: family, model, stepping, platform type, SKU. */
  readonly fmspc: Uint8Array;
}

function pairs(reader: DerReader, what: string): Map<string, DerReader> {
  const values = new Map<string, DerReader>();
  while (!reader.done) {
    const pair = reader.enter(TAG.SEQUENCE, what);
    const oid = oidText(pair.expect(TAG.OID, what).contents);
    const value = pair.any();
    pair.end(what);
    if (values.has(oid)) derFailure(`${what} holds ${oid} twice`);
    values.set(oid, new DerReader(value.encoding));
  }
  return values;
}

/** Reads the extension. @throws AttestError CERTIFICATE_MALFORMED */
export function parsePckPlatform(certificate: Certificate): PckPlatform {
  const extension = certificate.extensions.get(ARC);
  if (extension === undefined)
    derFailure(`the certificate has no SGX extension (${ARC}), so it is no PCK certificate`);
  const top = new DerReader(extension.value);
  const values = pairs(top.enter(TAG.SEQUENCE, 'the SGX extension'), 'the SGX extension');
  top.end('the SGX extension');
  const value = (map: Map<string, DerReader>, suffix: string, tag: number): Uint8Array => {
    const reader = map.get(`${ARC}.${suffix}`);
    if (reader === undefined) derFailure(`the SGX extension lacks ${ARC}.${suffix}`);
    return reader.expect(tag, `${ARC}.${suffix}`).contents;
  };
  const octets = (suffix: string, length: number): Uint8Array => {
    const bytes = value(values, suffix, TAG.OCTET_STRING);
    if (bytes.length !== length)
      derFailure(`${ARC}.${suffix} has ${bytes.length} bytes instead of ${length}`);
    return bytes;
  };
  const tcb = pairs(new DerReader(value(values, '2', TAG.SEQUENCE)), 'the TCB of the SGX extension');
  const number = (suffix: string): number =>
    smallInteger(value(tcb, suffix, TAG.INTEGER), `${ARC}.${suffix}`);
  return {
    components: Array.from({ length: 16 }, (_, i) => number(`2.${i + 1}`)),
    pceSvn: number('2.17'),
    pceId: octets('3', 2),
    fmspc: octets('4', 6),
  };
}
