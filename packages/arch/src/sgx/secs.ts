/** SGX Enclave Control Structure. Source: Intel SDM Vol. 3D, "SGX Enclave Control Structure (SECS)". */
import { bytes, u8, u16, u32, u64 } from '../codec/field.js';
import { at, type StructValue, struct } from '../codec/struct.js';
import { ATTRIBUTES } from './attributes.js';

/** SECS (4096 bytes). SIZE in bytes, SSAFRAMESIZE in pages. The CET fields must be zero here. */
export const SECS = struct('SECS', 4096, {
  SIZE: at(0, u64),
  BASEADDR: at(8, u64),
  SSAFRAMESIZE: at(16, u32),
  MISCSELECT: at(20, u32),
  CET_LEG_BITMAP_OFFSET: at(24, u64),
  CET_ATTRIBUTES: at(32, u8),
  ATTRIBUTES: at(48, ATTRIBUTES),
  MRENCLAVE: at(64, bytes(32)),
  MRSIGNER: at(128, bytes(32)),
  CONFIGID: at(192, bytes(64)),
  ISVPRODID: at(256, u16),
  ISVSVN: at(258, u16),
  CONFIGSVN: at(260, u16),
});
/** Decoded {@link SECS}. */
export type Secs = StructValue<typeof SECS>;
