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
  REMOVE_RANGE: 0x108,
  SET_PTE: 0x109,
  EVICT: 0x10a,
  LOAD: 0x10b,
  AUG_RANGE: 0x10c,
  STOP: 0x10d,
  RESTRICT: 0x10e,
} as const);

/** Bit of R9 of BIND_GATES: the host will grant descriptors of its own to the enclave. */
export const GATES_DESCRIPTORS = 8;

/** Entries of one SET_PTE, EVICT, LOAD or RESTRICT at most. */
export const PAGE_LIST_MAX = 512;

/** Entry of EVICT (32 bytes): gPAs of the frame, its version slot, and where page and PCMD go. */
export const EVICT_ENTRY = struct('EVICT_ENTRY', 32, {
  FRAME: at(0, u64),
  VASLOT: at(8, u64),
  SRCPGE: at(16, u64),
  PCMD: at(24, u64),
});

/** Entry of LOAD (40 bytes): as EVICT, and the linear address. */
export const LOAD_ENTRY = struct('LOAD_ENTRY', 40, {
  FRAME: at(0, u64),
  VASLOT: at(8, u64),
  SRCPGE: at(16, u64),
  PCMD: at(24, u64),
  LINADDR: at(32, u64),
});

/** Operand of AUG_RANGE (32 bytes); LENGTH in bytes, EPC = gPA of the first of consecutive frames. */
export const AUG_RANGE = struct('AUG_RANGE', 32, {
  SECS: at(0, u64),
  LINADDR: at(8, u64),
  LENGTH: at(16, u64),
  EPC: at(24, u64),
});

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
