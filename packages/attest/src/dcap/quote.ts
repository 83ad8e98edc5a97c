/**
 * Quotes of Intel's DCAP: SGX version 3, SGX and TDX version 4 and 5 ("Intel TDX DCAP Quoting Library API",
 * appendix "Quote Format"). Little endian. Attestation key type 2, ECDSA P-256.
 */
import { allZero, copyBytes, Reader, toHex } from '../bytes.js';
import {
  parseSgxBody,
  QUOTE_HEADER_BYTES,
  type QuoteHeader,
  readQuoteHeader,
  SGX_BODY_BYTES,
  type SgxBody,
} from '../quote/sgx-body.js';
import { CERTIFICATION, type Certification, parseCertification } from './certification.js';
import { parseTdxBody, TD_10_BYTES, TD_15_BYTES, TD_15_EXTENDED_BYTES, type TdxBody } from './td-body.js';

/** QE vendor id of Intel. */
export const INTEL_VENDOR_ID = '939a7233f79c4ca9940a0db3957f0607';

const TEE_SGX = 0;
const TEE_TDX = 0x81;

/** Size of a body of version 5 by its type. */
const BODY_BYTES: Readonly<Record<number, number>> = {
  1: SGX_BODY_BYTES,
  2: TD_10_BYTES,
  3: TD_15_BYTES,
  4: TD_15_EXTENDED_BYTES,
};

/** A decoded DCAP quote. Byte fields are views into one private copy. */
export interface DcapQuote {
  readonly header: QuoteHeader;
  readonly body:
    | { readonly kind: 'sgx'; readonly sgx: SgxBody }
    | { readonly kind: 'tdx'; readonly tdx: TdxBody };
  /** The bytes that `signature` covers. */
  readonly signed: Uint8Array;
  readonly signature: Uint8Array;
  readonly attestationKey: Uint8Array;
  readonly qeReport: Uint8Array;
  readonly qe: SgxBody;
  readonly qeSignature: Uint8Array;
  readonly qeAuthentication: Uint8Array;
  /** 1 to 5 or 7, and the data as they stand in the quote and decoded. */
  readonly certificationType: number;
  readonly certificationData: Uint8Array;
  readonly certification: Certification;
  /** Zero bytes after the quote, which some producers leave. */
  readonly padding: number;
}

/** True when `input` begins like a quote of version 3, 4 or 5. */
export function looksLikeQuote(input: Uint8Array): boolean {
  if (input.length < QUOTE_HEADER_BYTES) return false;
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  const version = view.getUint16(0, true);
  const keyType = view.getUint16(2, true);
  return version >= 3 && version <= 5 && keyType >= 1 && keyType <= 3;
}

function readHeader(reader: Reader): QuoteHeader {
  const header = readQuoteHeader(reader);
  const { version, teeType } = header;
  if (version < 3 || version > 5) reader.fail(`has version ${version}; 3, 4 and 5 are known`);
  if (header.attestationKeyType !== 2) {
    reader.fail(`has attestation key type ${header.attestationKeyType}; 2 (ECDSA P-256) is known`);
  }
  if (teeType !== TEE_SGX && (version === 3 || teeType !== TEE_TDX))
    reader.fail(`has TEE type 0x${teeType.toString(16)}`);
  const vendor = toHex(header.qeVendorId);
  if (vendor !== INTEL_VENDOR_ID) reader.fail(`is of QE vendor ${vendor}; Intel's is ${INTEL_VENDOR_ID}`);
  return header;
}

function bodySize(reader: Reader, { version, teeType }: QuoteHeader): number {
  if (version < 5) return teeType === TEE_SGX ? SGX_BODY_BYTES : TD_10_BYTES;
  const type = reader.u16('the body type');
  const size = reader.u32('the body size');
  if (size !== BODY_BYTES[type]) reader.fail(`has a body of type ${type} with ${size} bytes`);
  if ((type === 1) !== (teeType === TEE_SGX))
    reader.fail(`has body type ${type} under TEE type 0x${teeType.toString(16)}`);
  return size;
}

/** Decodes a quote strictly. @throws AttestError EVIDENCE_MALFORMED */
export function parseDcapQuote(input: Uint8Array): DcapQuote {
  const bytes = copyBytes(input);
  const reader = new Reader(bytes, 'quote');
  const header = readHeader(reader);
  const body = reader.view(bodySize(reader, header), 'the body');
  const signed = bytes.subarray(0, reader.at);
  const length = reader.u32('the length of the signature data');
  const data = new Reader(reader.view(length, 'the signature data'), 'signature data');
  const padding = reader.remaining;
  if (!allZero(reader.view(padding, 'padding')))
    reader.fail(`is followed by ${padding} bytes that are not zero`);
  const signature = data.view(64, 'the signature');
  const attestationKey = data.view(64, 'the attestation key');
  let inner = data;
  if (header.version > 3) {
    const type = data.u16('the certification data type');
    if (type !== CERTIFICATION.QE_REPORT)
      data.fail(`has outer certification data type ${type} instead of ${CERTIFICATION.QE_REPORT}`);
    const wrapped = data.view(data.u32('the certification data length'), 'certification data');
    inner = new Reader(wrapped, 'QE certification data');
    data.end();
  }
  const qeReport = inner.view(SGX_BODY_BYTES, 'the QE report');
  const qeSignature = inner.view(64, 'the QE report signature');
  const authenticationLength = inner.u16('the QE authentication data length');
  const qeAuthentication = inner.view(authenticationLength, 'QE authentication data');
  const certificationType = inner.u16('the certification data type');
  const certificationData = inner.view(inner.u32('the certification data length'), 'the certification data');
  inner.end();
  return {
    header,
    body:
      header.teeType === TEE_SGX
        ? { kind: 'sgx', sgx: parseSgxBody(body) }
        : { kind: 'tdx', tdx: parseTdxBody(body) },
    signed,
    signature,
    attestationKey,
    qeReport,
    qe: parseSgxBody(qeReport),
    qeSignature,
    qeAuthentication,
    certificationType,
    certificationData,
    certification: parseCertification(certificationType, certificationData),
    padding,
  };
}
