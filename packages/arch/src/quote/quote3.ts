/**
 * Quote version 3. Source: Intel, "SGX ECDSA QuoteLibReference DCAP API", appendix "Quote Format".
 * Only the frame is read here; nothing is verified.
 */
import { bytes, copyBytes, readU16, readU32, u16, u32, writeU16, writeU32 } from '../codec/field.js';
import { at, type StructValue, struct } from '../codec/struct.js';
import { NsgxError } from '../errors.js';

/** QUOTE3_HEADER (48 bytes); the 384-byte report body follows. */
export const QUOTE3_HEADER = struct('QUOTE3_HEADER', 48, {
  VERSION: at(0, u16),
  ATT_KEY_TYPE: at(2, u16),
  ATT_KEY_DATA_0: at(4, u32),
  QE_SVN: at(8, u16),
  PCE_SVN: at(10, u16),
  QE_VENDOR_ID: at(12, bytes(16)),
  USER_DATA: at(28, bytes(20)),
});
/** Decoded {@link QUOTE3_HEADER}. */
export type Quote3Header = StructValue<typeof QUOTE3_HEADER>;

/** ATT_KEY_TYPE of ECDSA-256 with the P-256 curve. */
export const ATT_KEY_TYPE_ECDSA_P256 = 2;
/** Certification data type of this project: SNP report and certificates. */
export const CERTIFICATION_DATA_NESTED = 0x4e53;
/** Certification data type 5: the PCK certificate chain in PEM. */
export const CERTIFICATION_DATA_PCK_CHAIN = 5;
/** Largest quote that is read, in bytes. */
export const QUOTE_MAX_BYTES = 1024 * 1024;

/** Bytes that the attestation key signs: header and report body. */
export const QUOTE3_SIGNED_BYTES = 48 + 384;

/** The parts of an ECDSA Quote v3; byte strings as they lie in the quote. */
export interface Quote3 {
  readonly header: Quote3Header;
  /** REPORT_BODY (384 bytes). */
  readonly reportBody: Uint8Array;
  /** ECDSA P-256 signature over the first 432 bytes: r ‖ s, big endian, 64 bytes. */
  readonly signature: Uint8Array;
  /** The attestation key's public point x ‖ y, big endian, 64 bytes. */
  readonly attestationKey: Uint8Array;
  /** REPORT_BODY of the quoting enclave (384 bytes). */
  readonly qeReport: Uint8Array;
  /** Signature over `qeReport` (64 bytes). */
  readonly qeReportSignature: Uint8Array;
  readonly qeAuthData: Uint8Array;
  readonly certificationDataType: number;
  readonly certificationData: Uint8Array;
}

function malformed(message: string): NsgxError {
  return new NsgxError('QUOTE_MALFORMED', message);
}

/**
 * Splits a Quote v3 of attestation key type 2 into its parts (copies). Trailing bytes are refused.
 * Throws QUOTE_MALFORMED.
 */
export function parseQuote3(input: Uint8Array): Quote3 {
  if (!(input instanceof Uint8Array)) throw malformed('a quote is a byte string');
  if (input.length > QUOTE_MAX_BYTES)
    throw malformed(`the quote has ${input.length} bytes, more than ${QUOTE_MAX_BYTES}`);
  if (input.length < QUOTE3_SIGNED_BYTES + 4)
    throw malformed(`the quote has ${input.length} bytes and ends in its header or body`);
  const header = QUOTE3_HEADER.decode(input);
  if (header.VERSION !== 3) throw malformed(`quote version ${header.VERSION} is not 3`);
  if (header.ATT_KEY_TYPE !== ATT_KEY_TYPE_ECDSA_P256) {
    throw malformed(`attestation key type ${header.ATT_KEY_TYPE} is not 2 (ECDSA P-256)`);
  }
  let pos = QUOTE3_SIGNED_BYTES + 4;
  if (readU32(input, QUOTE3_SIGNED_BYTES) !== input.length - pos) {
    throw malformed(
      `the signature data length ${readU32(input, QUOTE3_SIGNED_BYTES)} does not match the ${input.length - pos} bytes there`,
    );
  }
  const take = (length: number, what: string): Uint8Array => {
    if (pos + length > input.length) throw malformed(`the quote ends inside its ${what} (offset ${pos})`);
    pos += length;
    return copyBytes(input, pos - length, pos);
  };
  const signature = take(64, 'signature');
  const attestationKey = take(64, 'attestation key');
  const qeReport = take(384, 'QE report');
  const qeReportSignature = take(64, 'QE report signature');
  const qeAuthData = take(readU16(take(2, 'QE authentication data length'), 0), 'QE authentication data');
  const certificationDataType = readU16(take(2, 'certification data type'), 0);
  const certificationData = take(readU32(take(4, 'certification data length'), 0), 'certification data');
  if (pos !== input.length) throw malformed(`${input.length - pos} bytes follow the certification data`);
  const reportBody = copyBytes(input, 48, QUOTE3_SIGNED_BYTES);
  return {
    header,
    reportBody,
    signature,
    attestationKey,
    qeReport,
    qeReportSignature,
    qeAuthData,
    certificationDataType,
    certificationData,
  };
}

/** The bytes of a Quote v3 from its parts. Throws CODEC_FIELD_LENGTH, CODEC_FIELD_RANGE, QUOTE_MALFORMED (too long). */
export function encodeQuote3(q: Quote3): Uint8Array {
  const tail = 64 + 64 + 384 + 64 + 2 + q.qeAuthData.length + 2 + 4 + q.certificationData.length;
  const total = QUOTE3_SIGNED_BYTES + 4 + tail;
  if (total > QUOTE_MAX_BYTES || q.qeAuthData.length > 0xffff)
    throw malformed(`a quote of ${total} bytes is too long`);
  const out = new Uint8Array(total);
  let pos = 0;
  const put = (b: Uint8Array, length: number, what: string): void => {
    bytes(length).write(b, out, pos, what);
    pos += length;
  };
  put(QUOTE3_HEADER.encode(q.header), 48, 'header');
  put(q.reportBody, 384, 'reportBody');
  writeU32(out, pos, tail);
  pos += 4;
  put(q.signature, 64, 'signature');
  put(q.attestationKey, 64, 'attestationKey');
  put(q.qeReport, 384, 'qeReport');
  put(q.qeReportSignature, 64, 'qeReportSignature');
  writeU16(out, pos, q.qeAuthData.length);
  pos += 2;
  put(q.qeAuthData, q.qeAuthData.length, 'qeAuthData');
  u16.write(q.certificationDataType, out, pos, 'certificationDataType');
  writeU32(out, pos + 2, q.certificationData.length);
  pos += 6;
  put(q.certificationData, q.certificationData.length, 'certificationData');
  return out;
}
