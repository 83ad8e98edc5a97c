/** What a signer decides. Source: Intel SDM Vol. 3D, "Enclave Signature Structure (SIGSTRUCT)". */
import {
  ATTRIBUTES_DEBUG,
  ATTRIBUTES_INIT,
  ATTRIBUTES_KSS,
  ATTRIBUTES_MODE64BIT,
  type Attributes,
  NsgxError,
  SIGSTRUCT_VENDOR_INTEL,
  type SigstructFields,
  XFRM_LEGACY,
} from '@nestedsgx/arch';

/** Options of signing; what is left out has the default named with it. */
export interface SignOptions {
  /** ISVPRODID, 0…65535; 0. */
  readonly isvProdId?: number;
  /** ISVSVN, 0…65535; 0. */
  readonly isvSvn?: number;
  /** ATTRIBUTES; MODE64BIT and XFRM = x87 and SSE, with KSS when a KSS field is given. */
  readonly attributes?: Attributes;
  /** ATTRIBUTEMASK: the bits that must be as signed; all but DEBUG, and in XFRM all but AVX and AVX-512. */
  readonly attributesMask?: Attributes;
  /** MISCSELECT; 0. */
  readonly miscselect?: number;
  /** MISCMASK; all bits. */
  readonly miscmask?: number;
  /** The date of signing as YYYYMMDD in digits, `"20260131"`, or a Date (UTC); today. */
  readonly date?: string | Date;
  /** VENDOR: 0 or 0x8086; 0. */
  readonly vendor?: number;
  /** SWDEFINED, any u32; 0. */
  readonly swdefined?: number;
  /** ISVFAMILYID (16 bytes); needs KSS. */
  readonly isvFamilyId?: Uint8Array;
  /** ISVEXTPRODID (16 bytes); needs KSS. */
  readonly isvExtProdId?: Uint8Array;
}

const ALL_BITS = 0xffff_ffff_ffff_ffffn;
/** XFRM bits a host may choose by default: AVX, opmask, ZMM_Hi256, Hi16_ZMM. */
const XFRM_FREE = 0xe4n;

/** The default ATTRIBUTEMASK: DEBUG, AVX and AVX-512 are the loader's choice, all else is as signed. */
export const DEFAULT_ATTRIBUTES_MASK: Attributes = Object.freeze({
  FLAGS: ALL_BITS & ~ATTRIBUTES_DEBUG,
  XFRM: ALL_BITS & ~XFRM_FREE,
});

function option(message: string): NsgxError {
  return new NsgxError('SIGN_OPTION', message);
}

function inRange(name: string, value: number, limit: number): number {
  if (!Number.isInteger(value) || value < 0 || value > limit)
    throw option(`${name} ${value} is not an integer in 0…${limit}`);
  return value;
}

/** SIGSTRUCT.DATE: the digits of YYYYMMDD as binary-coded decimal. Throws SIGN_OPTION for what is no date. */
export function sigstructDate(date: string | Date): number {
  let text: string;
  if (typeof date === 'string') text = date;
  else if (Number.isNaN(date.getTime())) throw option('the date is invalid');
  else text = date.toISOString().slice(0, 10).replaceAll('-', '');
  const m = /^(\d{4})(\d{2})(\d{2})$/.exec(text);
  const iso = m === null ? '' : `${m[1]}-${m[2]}-${m[3]}`;
  const parsed = new Date(`${iso}T00:00:00Z`);
  if (m === null || Number.isNaN(parsed.getTime()) || !parsed.toISOString().startsWith(iso)) {
    throw option(`the date ${JSON.stringify(text)} is not a day as YYYYMMDD`);
  }
  return Number.parseInt(text, 16);
}

function identifier(name: string, value: Uint8Array | undefined): Uint8Array | undefined {
  if (value !== undefined && value.length !== 16) throw option(`${name} has 16 bytes, not ${value.length}`);
  return value;
}

/** The SIGSTRUCT fields of an enclave with this MRENCLAVE under these options. Throws SIGN_OPTION. */
export function sigstructFields(
  mrenclave: Uint8Array,
  options: SignOptions = {},
): SigstructFields & { ENCLAVEHASH: Uint8Array } {
  if (mrenclave.length !== 32) throw option(`MRENCLAVE has 32 bytes, not ${mrenclave.length}`);
  const isvFamilyId = identifier('isvFamilyId', options.isvFamilyId);
  const isvExtProdId = identifier('isvExtProdId', options.isvExtProdId);
  const kss = isvFamilyId !== undefined || isvExtProdId !== undefined;
  const attributes = options.attributes ?? {
    FLAGS: ATTRIBUTES_MODE64BIT | (kss ? ATTRIBUTES_KSS : 0n),
    XFRM: XFRM_LEGACY,
  };
  if (kss && (attributes.FLAGS & ATTRIBUTES_KSS) === 0n)
    throw option('isvFamilyId and isvExtProdId need ATTRIBUTES.KSS');
  if ((attributes.FLAGS & ATTRIBUTES_INIT) !== 0n)
    throw option('ATTRIBUTES.INIT is set by EINIT, not by a signer');
  if ((attributes.FLAGS & ATTRIBUTES_MODE64BIT) === 0n) throw option('ATTRIBUTES.MODE64BIT must be set');
  if ((attributes.XFRM & XFRM_LEGACY) !== XFRM_LEGACY) throw option('ATTRIBUTES.XFRM must have x87 and SSE');
  const vendor = options.vendor ?? 0;
  if (vendor !== 0 && vendor !== SIGSTRUCT_VENDOR_INTEL)
    throw option(`vendor 0x${vendor.toString(16)} is not 0 or 0x8086`);
  return {
    VENDOR: vendor,
    DATE: sigstructDate(options.date ?? new Date()),
    SWDEFINED: inRange('swdefined', options.swdefined ?? 0, 0xffff_ffff),
    MISCSELECT: inRange('miscselect', options.miscselect ?? 0, 0xffff_ffff),
    MISCMASK: inRange('miscmask', options.miscmask ?? 0xffff_ffff, 0xffff_ffff),
    ISVFAMILYID: isvFamilyId,
    ATTRIBUTES: attributes,
    ATTRIBUTEMASK: options.attributesMask ?? DEFAULT_ATTRIBUTES_MASK,
    ENCLAVEHASH: mrenclave,
    ISVEXTPRODID: isvExtProdId,
    ISVPRODID: inRange('isvProdId', options.isvProdId ?? 0, 0xffff),
    ISVSVN: inRange('isvSvn', options.isvSvn ?? 0, 0xffff),
  };
}
