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

/** A TD report body, TDX 1.0 (584 bytes) or 1.5 (648 bytes; the last two fields). */
export interface TdxBody {
  readonly teeTcbSvn: Uint8Array;
  readonly mrSeam: Uint8Array;
  readonly mrSignerSeam: Uint8Array;
  readonly seamAttributes: Uint8Array;
  readonly tdAttributes: Uint8Array;
  readonly xfam: Uint8Array;
  readonly mrTd: Uint8Array;
  readonly mrConfigId: Uint8Array;
  readonly mrOwner: Uint8Array;
  readonly mrOwnerConfig: Uint8Array;
  readonly rtmr: readonly Uint8Array[];
  readonly reportData: Uint8Array;
  readonly teeTcbSvn2: Uint8Array | null;
  readonly mrServiceTd: Uint8Array | null;
}

/** A decoded DCAP quote. */
export interface DcapQuote {
  readonly header: QuoteHeader;
  readonly body:
    | { readonly kind: 'sgx'; readonly sgx: SgxBody }
    | { readonly kind: 'tdx'; readonly tdx: TdxBody };
  /** The bytes that `signature` covers. */
  readonly signed: Uint8Array<ArrayBuffer>;
  readonly signature: Uint8Array<ArrayBuffer>;
  readonly attestationKey: Uint8Array<ArrayBuffer>;
  readonly qeReport: Uint8Array<ArrayBuffer>;
  readonly qe: SgxBody;
  readonly qeSignature: Uint8Array<ArrayBuffer>;
  readonly qeAuthentication: Uint8Array<ArrayBuffer>;
  /** 1 to 4: identifiers of the PCK certificate; 5: the PCK chain in PEM; others as numbered by Intel. */
  readonly certificationType: number;
  readonly certificationData: Uint8Array<ArrayBuffer>;
  /** Zero bytes after the quote, which some producers leave. */
  readonly padding: number;
}

const TDX_10_BYTES = 584;
const TDX_15_BYTES = 648;

function parseTdxBody(bytes: Uint8Array): TdxBody {
  const reader = new Reader(bytes, 'TD report body');
  const body = {
    teeTcbSvn: reader.take(16, 'TEE_TCB_SVN'),
    mrSeam: reader.take(48, 'MRSEAM'),
    mrSignerSeam: reader.take(48, 'MRSIGNERSEAM'),
    seamAttributes: reader.take(8, 'SEAMATTRIBUTES'),
    tdAttributes: reader.take(8, 'TDATTRIBUTES'),
    xfam: reader.take(8, 'XFAM'),
    mrTd: reader.take(48, 'MRTD'),
    mrConfigId: reader.take(48, 'MRCONFIGID'),
    mrOwner: reader.take(48, 'MROWNER'),
    mrOwnerConfig: reader.take(48, 'MROWNERCONFIG'),
    rtmr: [0, 1, 2, 3].map((i) => reader.take(48, `RTMR${i}`)),
    reportData: reader.take(64, 'REPORTDATA'),
    teeTcbSvn2: bytes.length === TDX_15_BYTES ? reader.take(16, 'TEE_TCB_SVN2') : null,
    mrServiceTd: bytes.length === TDX_15_BYTES ? reader.take(48, 'MRSERVICETD') : null,
  };
  reader.end();
  return body;
}

/** True when `input` begins like a quote of version 3, 4 or 5. */
export function looksLikeQuote(input: Uint8Array): boolean {
  if (input.length < QUOTE_HEADER_BYTES) return false;
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  const version = view.getUint16(0, true);
  const keyType = view.getUint16(2, true);
  return version >= 3 && version <= 5 && keyType >= 1 && keyType <= 3;
}

/** Decodes a quote strictly. @throws AttestError EVIDENCE_MALFORMED */
export function parseDcapQuote(input: Uint8Array): DcapQuote {
  const bytes = copyBytes(input);
  const reader = new Reader(bytes, 'quote');
  const header = readQuoteHeader(reader);
  const { version, teeType } = header;
  if (version < 3 || version > 5) reader.fail(`has version ${version}; 3, 4 and 5 are known`);
  if (header.attestationKeyType !== 2) {
    reader.fail(`has attestation key type ${header.attestationKeyType}; 2 (ECDSA P-256) is known`);
  }
  if (teeType !== 0 && (version === 3 || teeType !== 0x81))
    reader.fail(`has TEE type 0x${teeType.toString(16)}`);
  let size = teeType === 0 ? SGX_BODY_BYTES : TDX_10_BYTES;
  if (version === 5) {
    const type = reader.u16('the body type');
    size = reader.u32('the body size');
    const expected = type === 1 ? SGX_BODY_BYTES : type === 2 ? TDX_10_BYTES : type === 3 ? TDX_15_BYTES : -1;
    if (size !== expected) reader.fail(`has a body of type ${type} with ${size} bytes`);
    if ((type === 1) !== (teeType === 0))
      reader.fail(`has body type ${type} under TEE type 0x${teeType.toString(16)}`);
  }
  const body = reader.take(size, 'the body');
  const signed = bytes.slice(0, reader.at);
  const length = reader.u32('the length of the signature data');
  const data = new Reader(reader.take(length, 'the signature data'), 'signature data');
  const padding = reader.remaining;
  if (!allZero(reader.take(padding, 'padding')))
    reader.fail(`is followed by ${padding} bytes that are not zero`);
  const signature = data.take(64, 'the signature');
  const attestationKey = data.take(64, 'the attestation key');
  let inner = data;
  if (version > 3) {
    const type = data.u16('the certification data type');
    if (type !== 6) data.fail(`has outer certification data type ${type} instead of 6`);
    inner = new Reader(
      data.take(data.u32('the certification data length'), 'certification data'),
      'QE certification data',
    );
    data.end();
  }
  const qeReport = inner.take(SGX_BODY_BYTES, 'the QE report');
  const qeSignature = inner.take(64, 'the QE report signature');
  const qeAuthentication = inner.take(
    inner.u16('the QE authentication data length'),
    'QE authentication data',
  );
  const certificationType = inner.u16('the certification data type');
  const certificationData = inner.take(inner.u32('the certification data length'), 'the certification data');
  inner.end();
  return {
    header,
    body: teeType === 0 ? { kind: 'sgx', sgx: parseSgxBody(body) } : { kind: 'tdx', tdx: parseTdxBody(body) },
    signed,
    signature,
    attestationKey,
    qeReport,
    qe: parseSgxBody(qeReport),
    qeSignature,
    qeAuthentication,
    certificationType,
    certificationData,
    padding,
  };
}

/** TD report fields as JSON. */
export function tdxBodyFields(body: TdxBody) {
  return {
    teeTcbSvn: toHex(body.teeTcbSvn),
    mrseam: toHex(body.mrSeam),
    mrsignerseam: toHex(body.mrSignerSeam),
    seamAttributes: toHex(body.seamAttributes),
    tdAttributes: toHex(body.tdAttributes),
    debug: (body.tdAttributes[0]! & 1) !== 0,
    xfam: toHex(body.xfam),
    mrtd: toHex(body.mrTd),
    mrconfigid: toHex(body.mrConfigId),
    mrowner: toHex(body.mrOwner),
    mrownerconfig: toHex(body.mrOwnerConfig),
    rtmr0: toHex(body.rtmr[0]!),
    rtmr1: toHex(body.rtmr[1]!),
    rtmr2: toHex(body.rtmr[2]!),
    rtmr3: toHex(body.rtmr[3]!),
    reportData: toHex(body.reportData),
    teeTcbSvn2: body.teeTcbSvn2 === null ? null : toHex(body.teeTcbSvn2),
    mrservicetd: body.mrServiceTd === null ? null : toHex(body.mrServiceTd),
  };
}
