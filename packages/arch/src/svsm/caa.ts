/** SVSM calling area, protocols and result codes. Source: AMD 58019, "Secure VM Service Module for SEV-SNP Guests". */
import { u8, u16, u32, u64 } from '../codec/field.js';
import { at, type StructValue, struct } from '../codec/struct.js';

/** CAA (8 bytes; the rest of its page is the guest's). CALL_PENDING is 1 from the call until it is served. */
export const CAA = struct('CAA', 8, {
  CALL_PENDING: at(0, u8),
  MEM_AVAILABLE: at(1, u8),
  NO_EOI_REQUIRED: at(2, u8),
});
/** Decoded {@link CAA}. */
export type Caa = StructValue<typeof CAA>;

/** SVSM result codes (RAX). AMD 58019, "Result Codes". */
export const SVSM = Object.freeze({
  SUCCESS: 0,
  INCOMPLETE: 0x8000_0000,
  UNSUPPORTED_PROTOCOL: 0x8000_0001,
  UNSUPPORTED_CALL: 0x8000_0002,
  INVALID_ADDRESS: 0x8000_0003,
  INVALID_FORMAT: 0x8000_0004,
  INVALID_PARAMETER: 0x8000_0005,
  INVALID_REQUEST: 0x8000_0006,
  BUSY: 0x8000_0007,
  /** Protocol-specific results are this plus a code. */
  PROTOCOL_BASE: 0x8000_1000,
  PVALIDATE_FAIL_INPUT: 0x8000_1001,
  PVALIDATE_FAIL_SIZEMISMATCH: 0x8000_1006,
  PVALIDATE_FAIL_UNCHANGED: 0x8000_1010,
} as const);

const names = new Map<number, string>(Object.entries(SVSM).map(([k, v]) => [v, `SVSM_${k}`]));

/** The name of an SVSM result code, or `SVSM_0x…`. */
export function svsmResultName(n: number): string {
  return names.get(n) ?? `SVSM_0x${n.toString(16)}`;
}

/** SVSM protocol numbers (RAX bits 63:32). */
export const SVSM_PROTOCOL = Object.freeze({ CORE: 0, ATTEST: 1, VTPM: 2, APIC: 3 } as const);

/** Calls of the core protocol. AMD 58019, "Core Protocol". */
export const SVSM_CORE = Object.freeze({
  REMAP_CA: 0,
  PVALIDATE: 1,
  CREATE_VCPU: 2,
  DELETE_VCPU: 3,
  DEPOSIT_MEM: 4,
  WITHDRAW_MEM: 5,
  QUERY_PROTOCOL: 6,
  CONFIGURE_VTOM: 7,
} as const);

/** Header (8 bytes) of the lists of SVSM_CORE_PVALIDATE, DEPOSIT_MEM and WITHDRAW_MEM; u64 entries follow. */
export const SVSM_LIST_HEADER = struct('SVSM_LIST_HEADER', 8, { ENTRIES: at(0, u16), NEXT: at(2, u16) });
/** Decoded {@link SVSM_LIST_HEADER}. */
export type SvsmListHeader = StructValue<typeof SVSM_LIST_HEADER>;

/** Operation structure of SVSM_ATTEST_SERVICES (0x40 bytes). AMD 58019, "Attestation Protocol". */
export const SVSM_ATTEST_OP = struct('SVSM_ATTEST_OP', 0x40, {
  REPORT_GPA: at(0x00, u64),
  REPORT_SIZE: at(0x08, u32),
  NONCE_GPA: at(0x10, u64),
  NONCE_SIZE: at(0x18, u16),
  MANIFEST_GPA: at(0x20, u64),
  MANIFEST_SIZE: at(0x28, u32),
  CERTIFICATE_GPA: at(0x30, u64),
  CERTIFICATE_SIZE: at(0x38, u32),
});
/** Decoded {@link SVSM_ATTEST_OP}. */
export type SvsmAttestOp = StructValue<typeof SVSM_ATTEST_OP>;
