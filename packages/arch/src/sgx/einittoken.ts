/** EINITTOKEN. Source: Intel SDM Vol. 3D, "EINIT Token Structure (EINITTOKEN)". */
import { bytes, u16, u32 } from '../codec/field.js';
import { at, type StructValue, struct } from '../codec/struct.js';
import { ATTRIBUTES } from './attributes.js';

/** EINITTOKEN (304 bytes, 512-byte aligned). VALID bit 0; all zero where launch control is open. */
export const EINITTOKEN = struct('EINITTOKEN', 304, {
  VALID: at(0, u32),
  ATTRIBUTES: at(48, ATTRIBUTES),
  MRENCLAVE: at(64, bytes(32)),
  MRSIGNER: at(128, bytes(32)),
  CPUSVNLE: at(192, bytes(16)),
  ISVPRODIDLE: at(208, u16),
  ISVSVNLE: at(210, u16),
  MASKEDMISCSELECTLE: at(236, u32),
  MASKEDATTRIBUTESLE: at(240, ATTRIBUTES),
  KEYID: at(256, bytes(32)),
  MAC: at(288, bytes(16)),
});
/** Decoded {@link EINITTOKEN}. */
export type Einittoken = StructValue<typeof EINITTOKEN>;
