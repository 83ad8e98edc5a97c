/** PAGEINFO and PCMD. Source: Intel SDM Vol. 3D, "Page Information (PAGEINFO)", "Paging Crypto MetaData (PCMD)". */
import { bytes, u64 } from '../codec/field.js';
import { at, type StructValue, struct } from '../codec/struct.js';
import { SECINFO } from './secinfo.js';

/** PAGEINFO (32 bytes, 32-byte aligned). SECINFO holds the address of a SECINFO or, for paging, of a PCMD. */
export const PAGEINFO = struct('PAGEINFO', 32, {
  LINADDR: at(0, u64),
  SRCPGE: at(8, u64),
  SECINFO: at(16, u64),
  SECS: at(24, u64),
});
/** Decoded {@link PAGEINFO}. */
export type Pageinfo = StructValue<typeof PAGEINFO>;

/** PCMD (128 bytes, 128-byte aligned): what EWB writes beside an evicted page. */
export const PCMD = struct('PCMD', 128, {
  SECINFO: at(0, SECINFO),
  ENCLAVEID: at(64, u64),
  MAC: at(112, bytes(16)),
});
/** Decoded {@link PCMD}. */
export type Pcmd = StructValue<typeof PCMD>;
