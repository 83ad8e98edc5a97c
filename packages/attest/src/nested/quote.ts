/**
 * This system's quote: a Quote v3 whose certification data type 0x4E53 carries the SNP report of the
 * monitor and the certificates under it.
 *
 * Layout, little endian: header 48 | report body 384 | u32 length of what follows | ECDSA signature 64 |
 * attestation key 64 | QE report 384 (zero) | QE report signature 64 (zero) | u16 0 (no QE authentication data) |
 * u16 type 0x4E53 | u32 length | u32 version 1 | u32 length, SNP report | u32 length, certificates, each with a
 * u32 length, leaf first. Nothing follows. There is no quoting enclave, so its fields must be zero.
 */
import { allZero, copyBytes, Reader } from '../bytes.js';
import {
  parseSgxBody,
  QUOTE_HEADER_BYTES,
  type QuoteHeader,
  readQuoteHeader,
  SGX_BODY_BYTES,
  type SgxBody,
} from '../quote/sgx-body.js';
import { parseSnpReport, SNP_REPORT_BYTES, type SnpReport } from '../snp/report.js';

/** The certification data type of this system ("NS"). */
export const NESTED_CERTIFICATION_TYPE = 0x4e53;
/** Offset of the certification data type in a quote without QE authentication data. */
const CERTIFICATION_TYPE_OFFSET = QUOTE_HEADER_BYTES + SGX_BODY_BYTES + 4 + 64 + 64 + 384 + 64 + 2;
/** Most certificates carried. */
const MAX_CERTIFICATES = 5;

/** A decoded quote of this system. */
export interface NestedQuote {
  readonly header: QuoteHeader;
  readonly body: SgxBody;
  /** The bytes that `signature` covers: header and report body. */
  readonly signed: Uint8Array<ArrayBuffer>;
  /** r ‖ s, big endian. */
  readonly signature: Uint8Array<ArrayBuffer>;
  /** X ‖ Y of the monitor's P-256 key, big endian. */
  readonly attestationKey: Uint8Array<ArrayBuffer>;
  readonly snpReport: SnpReport;
  /** DER, leaf first. */
  readonly certificates: readonly Uint8Array<ArrayBuffer>[];
}

/** True when `input` is a Quote v3 with certification data of this system, or without a quoting enclave. */
export function looksLikeNestedQuote(input: Uint8Array): boolean {
  if (input.length < CERTIFICATION_TYPE_OFFSET + 2) return false;
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  if (view.getUint16(0, true) !== 3) return false;
  if (view.getUint16(CERTIFICATION_TYPE_OFFSET, true) === NESTED_CERTIFICATION_TYPE) return true;
  return allZero(input.subarray(CERTIFICATION_TYPE_OFFSET - 2 - 64 - 384, CERTIFICATION_TYPE_OFFSET - 2));
}

/**
 * Decodes a quote of this system strictly: every length must add up, nothing may be left over.
 * @throws AttestError EVIDENCE_MALFORMED
 */
export function parseNestedQuote(input: Uint8Array): NestedQuote {
  const bytes = copyBytes(input);
  const reader = new Reader(bytes, 'quote');
  const header = readQuoteHeader(reader);
  if (header.version !== 3) reader.fail(`has version ${header.version}; this system's has version 3`);
  if (header.attestationKeyType !== 2)
    reader.fail(`has attestation key type ${header.attestationKeyType}; 2 (ECDSA P-256) is needed`);
  if (header.teeType !== 0) reader.fail('has reserved header bytes set');
  const body = parseSgxBody(reader.take(SGX_BODY_BYTES, 'the report body'));
  const signed = bytes.slice(0, reader.at);
  const length = reader.u32('the length of the signature data');
  if (length !== reader.remaining) {
    reader.fail(`has signature data of ${length} bytes, ${reader.remaining} follow`);
  }
  const signature = reader.take(64, 'the signature');
  const attestationKey = reader.take(64, 'the attestation key');
  const qe = reader.take(384 + 64, 'the QE report and its signature');
  if (!allZero(qe))
    reader.fail('has a QE report or QE signature; with certification data 0x4e53 both must be zero');
  const authentication = reader.u16('the length of the QE authentication data');
  if (authentication !== 0)
    reader.fail(`has ${authentication} bytes of QE authentication data; there must be none`);
  const type = reader.u16('the certification data type');
  if (type !== NESTED_CERTIFICATION_TYPE) reader.fail(`has certification data type ${type}`);
  const size = reader.u32('the length of the certification data');
  if (size !== reader.remaining)
    reader.fail(`has certification data of ${size} bytes, ${reader.remaining} follow`);
  const version = reader.u32('the version of the certification data');
  if (version !== 1) reader.fail(`has certification data of version ${version}; 1 is known`);
  const reportLength = reader.u32('the length of the SNP report');
  if (reportLength !== SNP_REPORT_BYTES)
    reader.fail(`has an SNP report of ${reportLength} bytes instead of ${SNP_REPORT_BYTES}`);
  const snpReport = parseSnpReport(reader.take(reportLength, 'the SNP report'));
  const listLength = reader.u32('the length of the certificates');
  if (listLength !== reader.remaining)
    reader.fail(`has certificates of ${listLength} bytes, ${reader.remaining} follow`);
  const certificates: Uint8Array<ArrayBuffer>[] = [];
  while (reader.remaining > 0) {
    if (certificates.length === MAX_CERTIFICATES)
      reader.fail(`has more than ${MAX_CERTIFICATES} certificates`);
    certificates.push(reader.take(reader.u32('the length of a certificate'), 'a certificate'));
  }
  reader.end();
  return { header, body, signed, signature, attestationKey, snpReport, certificates };
}
