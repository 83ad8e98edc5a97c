/**
 * The forms in which a raw SNP report comes: alone; followed by the host's certificate table, as tools write
 * extended requests; and as a TSM report (outblob, auxblob and provider of configfs-tsm) in JSON or CBOR.
 */
import { allZero } from '../bytes.js';
import { AttestError } from '../errors.js';
import { fromBase64 } from '../x509/pem.js';
import { readBlobMap } from './blob-map.js';
import { type CertificateTable, parseCertificateTable } from './certificate-table.js';
import { parseSnpReport, SNP_REPORT_BYTES, type SnpReport } from './report.js';

/** A report with the certificates that came with it. */
export interface SnpEvidence {
  readonly form: 'report' | 'extended report' | 'TSM report';
  readonly report: SnpReport;
  readonly certificates: CertificateTable;
}

const JSON_START = 0x7b;
const CBOR_MAP = 0xa0;
const PROVIDER = 'sev_guest';

function refuse(reason: string): never {
  throw new AttestError('EVIDENCE_MALFORMED', `The TSM report ${reason}.`);
}

/** True when `input` begins like a report, or is a TSM report. Used to tell formats apart. */
export function looksLikeSnpEvidence(input: Uint8Array): boolean {
  if (looksLikeTsmReport(input)) return true;
  if (input.length < SNP_REPORT_BYTES) return false;
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  const version = view.getUint32(0, true);
  return version >= 1 && version <= 16 && view.getUint32(0x34, true) <= 16;
}

function looksLikeTsmReport(input: Uint8Array): boolean {
  return input.length > 1 && (input[0] === JSON_START || (input[0]! & 0xf8) === CBOR_MAP);
}

function base64Url(value: unknown, name: string): Uint8Array {
  const bytes =
    typeof value === 'string' && /^[A-Za-z0-9_+/-]*={0,2}$/.test(value)
      ? fromBase64(paddedBase64(value.replaceAll('-', '+').replaceAll('_', '/')))
      : null;
  return bytes ?? refuse(`has a field '${name}' that is no base64`);
}

function paddedBase64(text: string): string {
  const digits = text.replace(/=+$/, '');
  return digits + '='.repeat((4 - (digits.length % 4)) % 4);
}

function tsmFromJson(input: Uint8Array): Map<string, Uint8Array | string> {
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(input));
  } catch (cause) {
    throw new AttestError('EVIDENCE_MALFORMED', 'The TSM report is no JSON.', { cause });
  }
  const fields = new Map<string, Uint8Array | string>();
  for (const [name, value] of Object.entries(document as object)) {
    if (name === 'provider') fields.set(name, typeof value === 'string' ? value : refuse('has no provider'));
    else fields.set(name, base64Url(value, name));
  }
  return fields;
}

function readTsmReport(input: Uint8Array): SnpEvidence {
  const fields = input[0] === JSON_START ? tsmFromJson(input) : readBlobMap(input, 'TSM report');
  const blob = (name: string): Uint8Array | undefined => {
    const value = fields.get(name);
    fields.delete(name);
    return typeof value === 'string' ? refuse(`has text as '${name}'`) : value;
  };
  const provider = fields.get('provider');
  fields.delete('provider');
  if (typeof provider !== 'string' || provider.trim() !== PROVIDER)
    refuse(`is by '${String(provider).trim().slice(0, 40)}', not by '${PROVIDER}'`);
  const outblob = blob('outblob') ?? refuse('has no outblob');
  const auxblob = blob('auxblob') ?? new Uint8Array(0);
  for (const name of fields.keys()) refuse(`has an unknown field '${name.slice(0, 40)}'`);
  if (outblob.length > SNP_REPORT_BYTES && !allZero(outblob.subarray(SNP_REPORT_BYTES)))
    refuse(`has bytes after the report in its outblob`);
  return {
    form: 'TSM report',
    report: parseSnpReport(outblob.subarray(0, SNP_REPORT_BYTES)),
    certificates: parseCertificateTable(auxblob),
  };
}

/** Reads a report in any of its forms, strictly. @throws AttestError EVIDENCE_MALFORMED */
export function readSnpEvidence(input: Uint8Array): SnpEvidence {
  if (looksLikeTsmReport(input)) return readTsmReport(input);
  const report = parseSnpReport(input.subarray(0, SNP_REPORT_BYTES));
  if (input.length === SNP_REPORT_BYTES) return { form: 'report', report, certificates: { others: [] } };
  const certificates = parseCertificateTable(input.subarray(SNP_REPORT_BYTES));
  return { form: 'extended report', report, certificates };
}
