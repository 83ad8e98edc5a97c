/** SECINFO as leaf functions look at it. Source: Intel SDM Vol. 3D, "Security Information (SECINFO)". */
import { SECINFO_PAGE_TYPE_SHIFT } from '@nestedsgx/arch';
import { allZero } from '../state/state.js';

/** True when FLAGS[7:6], FLAGS[63:16] and everything behind FLAGS are 0. */
export function secinfoReservedZero(secinfo: Uint8Array): boolean {
  return (secinfo[0] & 0xc0) === 0 && allZero(secinfo, 2);
}

/** FLAGS[15:0] of a SECINFO: rights, PENDING, MODIFIED, PR and the page type in the EPCM's bit positions. */
export function secinfoFlags(secinfo: Uint8Array): number {
  return secinfo[0] | (secinfo[1] << SECINFO_PAGE_TYPE_SHIFT);
}
