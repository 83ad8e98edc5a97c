/** The SVSM protocol through which VMPL1 reaches the SGX leaf functions. Source: this project's ARCHITECTURE, section 3. */
import { u64 } from '../codec/field.js';
import { at, type StructValue, struct } from '../codec/struct.js';

/** Protocol number (RAX bits 63:32): "NS". */
export const SVSM_PROTOCOL_SGX = 0x4e53;
/** The one version. */
export const SVSM_PROTOCOL_SGX_VERSION = 1;

/** Calls from 0x100; calls below it are ENCLS leaf numbers (RCX = RBX, RDX = RCX, R8 = RDX of the leaf). */
export const SGX_CALL = Object.freeze({
  QUERY: 0x100,
  ADD_RANGE: 0x101,
  BIND_GATES: 0x102,
  QUOTE: 0x103,
  QE_TARGETINFO: 0x104,
  KICK: 0x105,
  ENCLAVE_STATUS: 0x106,
  AUTHORIZE_PROVISION: 0x107,
} as const);

/** A leaf that faulted answers RAX = this + vector; RCX = error code, RDX = address, R8 = number of the refused check. */
export const SGX_CALL_FAULT = 0x8000_1000;

/** Operand of ADD_RANGE (56 bytes); addresses are gPAs, LENGTH in bytes, FLAGS bit 0 = measure. */
export const ADD_RANGE = struct('ADD_RANGE', 56, {
  SECS: at(0, u64),
  LINADDR: at(8, u64),
  SRC: at(16, u64),
  LENGTH: at(24, u64),
  SECINFO: at(32, u64),
  EPC: at(40, u64),
  FLAGS: at(48, u64),
});
/** Decoded {@link ADD_RANGE}. */
export type AddRange = StructValue<typeof ADD_RANGE>;

/** ADD_RANGE.FLAGS: measure each page with EEXTEND. */
export const ADD_RANGE_MEASURE = 1n << 0n;
/** Largest LENGTH of one ADD_RANGE, in bytes. */
export const ADD_RANGE_MAX_LENGTH = 16 * 1024 * 1024;
