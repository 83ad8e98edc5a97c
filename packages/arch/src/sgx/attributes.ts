/** ATTRIBUTES and MISCSELECT. Source: Intel SDM Vol. 3D, "ATTRIBUTES" and "SECS.MISCSELECT Field". */
import { u64 } from '../codec/field.js';
import { at, type StructValue, struct } from '../codec/struct.js';

/** ATTRIBUTES (16 bytes): FLAGS and XFRM (the XCR0 the enclave runs with). SDM Vol. 3D, "ATTRIBUTES". */
export const ATTRIBUTES = struct('ATTRIBUTES', 16, { FLAGS: at(0, u64), XFRM: at(8, u64) });
/** Decoded {@link ATTRIBUTES}. */
export type Attributes = StructValue<typeof ATTRIBUTES>;

/** ATTRIBUTES.INIT: EINIT has completed. */
export const ATTRIBUTES_INIT = 1n << 0n;
/** ATTRIBUTES.DEBUG: a debugger may read and write the enclave (EDBGRD, EDBGWR). */
export const ATTRIBUTES_DEBUG = 1n << 1n;
/** ATTRIBUTES.MODE64BIT: the enclave runs in 64-bit mode. */
export const ATTRIBUTES_MODE64BIT = 1n << 2n;
/** ATTRIBUTES.PROVISIONKEY: EGETKEY may give the provisioning key. */
export const ATTRIBUTES_PROVISIONKEY = 1n << 4n;
/** ATTRIBUTES.EINITTOKEN_KEY: EGETKEY may give the EINIT token key. */
export const ATTRIBUTES_EINITTOKEN_KEY = 1n << 5n;
/** ATTRIBUTES.CET: control-flow enforcement; not offered here, so it must be zero. */
export const ATTRIBUTES_CET = 1n << 6n;
/** ATTRIBUTES.KSS: key separation and sharing (CONFIGID, ISVFAMILYID, ISVEXTPRODID). */
export const ATTRIBUTES_KSS = 1n << 7n;
/** ATTRIBUTES.AEXNOTIFY: threads may ask to be told of asynchronous exits. */
export const ATTRIBUTES_AEX_NOTIFY = 1n << 10n;
/** Every FLAGS bit the manual defines; the others are reserved. */
export const ATTRIBUTES_DEFINED =
  ATTRIBUTES_INIT |
  ATTRIBUTES_DEBUG |
  ATTRIBUTES_MODE64BIT |
  ATTRIBUTES_PROVISIONKEY |
  ATTRIBUTES_EINITTOKEN_KEY |
  ATTRIBUTES_CET |
  ATTRIBUTES_KSS |
  ATTRIBUTES_AEX_NOTIFY;

/** MISCSELECT.EXINFO: #PF and #GP details are saved in the SSA's EXINFO. */
export const MISCSELECT_EXINFO = 1 << 0;
/** MISCSELECT.CPINFO: #CP details; CET is not offered here. */
export const MISCSELECT_CPINFO = 1 << 1;

/** XFRM bits that must always be set: x87 and SSE. SDM Vol. 3D, "SECS.ATTRIBUTES.XFRM". */
export const XFRM_LEGACY = 3n;
/** XFRM.AVX. */
export const XFRM_AVX = 1n << 2n;
/** XFRM of AVX-512: opmask, ZMM_Hi256, Hi16_ZMM. */
export const XFRM_AVX512 = 7n << 5n;
/** XFRM.PKRU. */
export const XFRM_PKRU = 1n << 9n;
