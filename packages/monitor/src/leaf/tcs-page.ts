/** A TCS page as EADD and EACCEPT take it. Source: Intel SDM Vol. 3D, "Thread Control Structure (TCS)". */
import { readU32, TCS } from '@nestedsgx/arch';
import { allZero } from '../state/state.js';

const PAGE = 4096;
const o = TCS.offsets;

/** FLAGS[63:2] and everything from byte 72 (the CET fields, which are not offered, and the reserved rest) are 0. */
export function tcsReservedZero(bytes: Uint8Array, at = 0): boolean {
  return (
    (bytes[at + o.FLAGS] & 0xfc) === 0 &&
    allZero(bytes, at + o.FLAGS + 1, at + o.OSSA) &&
    allZero(bytes, at + o.OCETSSA, at + PAGE)
  );
}

/** FSLIMIT and GSLIMIT end in FFFH, as a 32-bit enclave needs. */
export function tcsLimitsWhole(bytes: Uint8Array, at = 0): boolean {
  const both = readU32(bytes, at + o.FSLIMIT) & readU32(bytes, at + o.GSLIMIT);
  return (both & 0xfff) === 0xfff;
}

/** DBGOPTIN, AEP and STATE are 0 and CSSA is below NSSA. */
export function tcsInitial(bytes: Uint8Array): boolean {
  return (
    (bytes[o.FLAGS] & 1) === 0 &&
    readU32(bytes, o.CSSA) < readU32(bytes, o.NSSA) &&
    allZero(bytes, o.AEP, o.OFSBASE) &&
    allZero(bytes, o.STATE, o.FLAGS)
  );
}
