/** Enclave Signature Structure. Source: Intel SDM Vol. 3D, "Enclave Signature Structure (SIGSTRUCT)". */
import { bytes, u8, u16, u32 } from '../codec/field.js';
import { at, type StructValue, struct } from '../codec/struct.js';
import { ATTRIBUTES } from './attributes.js';

/** SIGSTRUCT (1808 bytes, page aligned). MODULUS, SIGNATURE, Q1, Q2 are little-endian integers of 384 bytes. */
export const SIGSTRUCT = struct('SIGSTRUCT', 1808, {
  HEADER: at(0, bytes(16)),
  VENDOR: at(16, u32),
  DATE: at(20, u32),
  HEADER2: at(24, bytes(16)),
  SWDEFINED: at(40, u32),
  MODULUS: at(128, bytes(384)),
  EXPONENT: at(512, u32),
  SIGNATURE: at(516, bytes(384)),
  MISCSELECT: at(900, u32),
  MISCMASK: at(904, u32),
  CET_ATTRIBUTES: at(908, u8),
  CET_ATTRIBUTES_MASK: at(909, u8),
  ISVFAMILYID: at(912, bytes(16)),
  ATTRIBUTES: at(928, ATTRIBUTES),
  ATTRIBUTEMASK: at(944, ATTRIBUTES),
  ENCLAVEHASH: at(960, bytes(32)),
  ISVEXTPRODID: at(1008, bytes(16)),
  ISVPRODID: at(1024, u16),
  ISVSVN: at(1026, u16),
  Q1: at(1040, bytes(384)),
  Q2: at(1424, bytes(384)),
});
/** Decoded {@link SIGSTRUCT}. */
export type Sigstruct = StructValue<typeof SIGSTRUCT>;

/** The constant SIGSTRUCT.HEADER. */
export const SIGSTRUCT_HEADER = Object.freeze([6, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
/** The constant SIGSTRUCT.HEADER2. */
export const SIGSTRUCT_HEADER2 = Object.freeze([1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1, 0, 0, 0]);
/** SIGSTRUCT.VENDOR of Intel's own enclaves; all others have 0. */
export const SIGSTRUCT_VENDOR_INTEL = 0x8086;
