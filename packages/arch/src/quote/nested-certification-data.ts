/**
 * Certification data of type 0x4E53: {u32 version = 1; u32 length; SNP report; u32 length; certificates (DER,
 * each with u32 length, leaf first)}, little endian. Source: this project's ARCHITECTURE, section 5.
 */
import { copyBytes, readU32, writeU32 } from '../codec/field.js';
import { NsgxError } from '../errors.js';

/** Most certificates that are read. */
export const NESTED_MAX_CERTIFICATES = 8;
/** Largest certificate that is read, in bytes. */
export const NESTED_MAX_CERTIFICATE_BYTES = 16 * 1024;
const REPORT_BYTES = 0x4a0;

/** An SNP report with the certificates that lead from its signing key to a root, leaf first (DER). */
export interface NestedCertificationData {
  readonly report: Uint8Array;
  readonly certificates: readonly Uint8Array[];
}

function malformed(message: string): NsgxError {
  return new NsgxError('CERTIFICATION_DATA_MALFORMED', message);
}

/** Reads certification data of type 0x4E53; the parts are copies. Throws CERTIFICATION_DATA_MALFORMED. */
export function parseNestedCertificationData(b: Uint8Array): NestedCertificationData {
  let pos = 0;
  const length = (what: string): number => {
    if (pos + 4 > b.length) throw malformed(`the data end before ${what} (offset ${pos})`);
    pos += 4;
    return readU32(b, pos - 4);
  };
  const take = (n: number, what: string): Uint8Array => {
    if (n > b.length - pos) throw malformed(`${what} of ${n} bytes at offset ${pos} leaves the data`);
    pos += n;
    return copyBytes(b, pos - n, pos);
  };
  const version = length('the version');
  if (version !== 1) throw malformed(`version ${version} is not 1`);
  const reportLength = length('the report length');
  if (reportLength !== REPORT_BYTES)
    throw malformed(`the SNP report has ${reportLength} bytes, not ${REPORT_BYTES}`);
  const report = take(reportLength, 'the SNP report');
  const total = length('the length of the certificates');
  if (total !== b.length - pos)
    throw malformed(`the certificates have ${b.length - pos} bytes, not the ${total} announced`);
  const certificates: Uint8Array[] = [];
  while (pos < b.length) {
    if (certificates.length === NESTED_MAX_CERTIFICATES)
      throw malformed(`more than ${NESTED_MAX_CERTIFICATES} certificates`);
    const n = length('a certificate length');
    if (n === 0 || n > NESTED_MAX_CERTIFICATE_BYTES)
      throw malformed(`a certificate of ${n} bytes at offset ${pos - 4}`);
    certificates.push(take(n, 'a certificate'));
  }
  return { report, certificates };
}

/** The bytes of certification data of type 0x4E53. Throws CERTIFICATION_DATA_MALFORMED for what could not be read back. */
export function encodeNestedCertificationData(data: NestedCertificationData): Uint8Array {
  const { report, certificates } = data;
  if (report.length !== REPORT_BYTES)
    throw malformed(`the SNP report has ${report.length} bytes, not ${REPORT_BYTES}`);
  if (certificates.length > NESTED_MAX_CERTIFICATES)
    throw malformed(`more than ${NESTED_MAX_CERTIFICATES} certificates`);
  for (const c of certificates) {
    if (c.length === 0 || c.length > NESTED_MAX_CERTIFICATE_BYTES)
      throw malformed(`a certificate of ${c.length} bytes`);
  }
  const total = certificates.reduce((sum, c) => sum + 4 + c.length, 0);
  const out = new Uint8Array(12 + report.length + total);
  writeU32(out, 0, 1);
  writeU32(out, 4, report.length);
  out.set(report, 8);
  let pos = 8 + report.length;
  writeU32(out, pos, total);
  pos += 4;
  for (const c of certificates) {
    writeU32(out, pos, c.length);
    out.set(c, pos + 4);
    pos += 4 + c.length;
  }
  return out;
}
