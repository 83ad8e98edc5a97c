/** Quote header and SGX report body, common to this system's quotes and Intel's ("SGX ECDSA Quote Library API", Quote v3). */
import { Reader, toHex } from '../bytes.js';

/** Size of the header, in bytes. */
export const QUOTE_HEADER_BYTES = 48;
/** Size of an SGX report body, in bytes. */
export const SGX_BODY_BYTES = 384;

/** The 48-byte quote header. */
export interface QuoteHeader {
  readonly version: number;
  /** 2 = ECDSA P-256, 3 = ECDSA P-384. */
  readonly attestationKeyType: number;
  /** 0 = SGX, 0x81 = TDX; reserved (zero) in version 3. */
  readonly teeType: number;
  readonly qeSvn: number;
  readonly pceSvn: number;
  readonly qeVendorId: Uint8Array;
  readonly userData: Uint8Array;
}

/** ATTRIBUTES.FLAGS bits that verification names (Intel SDM vol. 3D, "ATTRIBUTES"). */
export const ATTRIBUTE_INIT = 1n;
export const ATTRIBUTE_DEBUG = 2n;

/** REPORT.BODY (Intel SDM vol. 3D, "REPORT"). */
export interface SgxBody {
  readonly cpuSvn: Uint8Array;
  readonly miscSelect: number;
  readonly isvExtProdId: Uint8Array;
  readonly attributes: Uint8Array;
  /** ATTRIBUTES.FLAGS and XFRM as numbers. */
  readonly flags: bigint;
  readonly xfrm: bigint;
  readonly mrEnclave: Uint8Array;
  readonly mrSigner: Uint8Array;
  readonly configId: Uint8Array;
  readonly isvProdId: number;
  readonly isvSvn: number;
  readonly configSvn: number;
  readonly isvFamilyId: Uint8Array;
  readonly reportData: Uint8Array;
}

/** Reads the header at the cursor. @throws AttestError when cut short */
export function readQuoteHeader(reader: Reader): QuoteHeader {
  return {
    version: reader.u16('the version'),
    attestationKeyType: reader.u16('the attestation key type'),
    teeType: reader.u32('the TEE type'),
    qeSvn: reader.u16('QE SVN'),
    pceSvn: reader.u16('PCE SVN'),
    qeVendorId: reader.take(16, 'QE vendor id'),
    userData: reader.take(20, 'user data'),
  };
}

/**
 * Decodes a report body; reserved fields are covered by its signature and not interpreted. The fields are
 * views into `bytes`, which must not change any more.
 */
export function parseSgxBody(bytes: Uint8Array): SgxBody {
  const reader = new Reader(bytes, 'SGX report body');
  const cpuSvn = reader.view(16, 'CPUSVN');
  const miscSelect = reader.u32('MISCSELECT');
  reader.view(12, 'reserved bytes');
  const isvExtProdId = reader.view(16, 'ISVEXTPRODID');
  const attributes = reader.view(16, 'ATTRIBUTES');
  const mrEnclave = reader.view(32, 'MRENCLAVE');
  reader.view(32, 'reserved bytes');
  const mrSigner = reader.view(32, 'MRSIGNER');
  reader.view(32, 'reserved bytes');
  const configId = reader.view(64, 'CONFIGID');
  const isvProdId = reader.u16('ISVPRODID');
  const isvSvn = reader.u16('ISVSVN');
  const configSvn = reader.u16('CONFIGSVN');
  reader.view(42, 'reserved bytes');
  const isvFamilyId = reader.view(16, 'ISVFAMILYID');
  const reportData = reader.view(64, 'REPORTDATA');
  reader.end();
  const masks = new DataView(attributes.buffer, attributes.byteOffset, attributes.length);
  return {
    cpuSvn,
    miscSelect,
    isvExtProdId,
    attributes,
    flags: masks.getBigUint64(0, true),
    xfrm: masks.getBigUint64(8, true),
    mrEnclave,
    mrSigner,
    configId,
    isvProdId,
    isvSvn,
    configSvn,
    isvFamilyId,
    reportData,
  };
}

/** Header fields as JSON. */
export function headerFields(header: QuoteHeader) {
  return {
    version: header.version,
    attestationKeyType: header.attestationKeyType,
    teeType: header.teeType,
    qeSvn: header.qeSvn,
    pceSvn: header.pceSvn,
    qeVendorId: toHex(header.qeVendorId),
    userData: toHex(header.userData),
  };
}

/** Report body fields as JSON. */
export function sgxBodyFields(body: SgxBody) {
  return {
    cpuSvn: toHex(body.cpuSvn),
    miscselect: body.miscSelect,
    isvExtProdId: toHex(body.isvExtProdId),
    attributes: toHex(body.attributes),
    debug: (body.flags & ATTRIBUTE_DEBUG) !== 0n,
    mrenclave: toHex(body.mrEnclave),
    mrsigner: toHex(body.mrSigner),
    configId: toHex(body.configId),
    isvProdId: body.isvProdId,
    isvSvn: body.isvSvn,
    configSvn: body.configSvn,
    isvFamilyId: toHex(body.isvFamilyId),
    reportData: toHex(body.reportData),
  };
}
