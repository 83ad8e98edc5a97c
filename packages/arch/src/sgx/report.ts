/** REPORT and TARGETINFO. Source: Intel SDM Vol. 3D, "Report (REPORT)", "Report Target Info (TARGETINFO)". */
import { bytes, u8, u16, u32 } from '../codec/field.js';
import { at, type StructValue, struct } from '../codec/struct.js';
import { ATTRIBUTES } from './attributes.js';

const body = {
  CPUSVN: at(0, bytes(16)),
  MISCSELECT: at(16, u32),
  CET_ATTRIBUTES: at(20, u8),
  ISVEXTPRODID: at(32, bytes(16)),
  ATTRIBUTES: at(48, ATTRIBUTES),
  MRENCLAVE: at(64, bytes(32)),
  MRSIGNER: at(128, bytes(32)),
  CONFIGID: at(192, bytes(64)),
  ISVPRODID: at(256, u16),
  ISVSVN: at(258, u16),
  CONFIGSVN: at(260, u16),
  ISVFAMILYID: at(304, bytes(16)),
  REPORTDATA: at(320, bytes(64)),
} as const;

/** The part of a REPORT that is MACed and that a quote carries (384 bytes). */
export const REPORT_BODY = struct('REPORT_BODY', 384, body);
/** Decoded {@link REPORT_BODY}. */
export type ReportBody = StructValue<typeof REPORT_BODY>;

/** REPORT (432 bytes): output of EREPORT. MAC is AES-128-CMAC over the first 384 bytes. */
export const REPORT = struct('REPORT', 432, { ...body, KEYID: at(384, bytes(32)), MAC: at(416, bytes(16)) });
/** Decoded {@link REPORT}. */
export type Report = StructValue<typeof REPORT>;

/** TARGETINFO (512 bytes, 512-byte aligned): for which enclave EREPORT makes its report. */
export const TARGETINFO = struct('TARGETINFO', 512, {
  MEASUREMENT: at(0, bytes(32)),
  ATTRIBUTES: at(32, ATTRIBUTES),
  CET_ATTRIBUTES: at(48, u8),
  CONFIGSVN: at(50, u16),
  MISCSELECT: at(52, u32),
  CONFIGID: at(64, bytes(64)),
});
/** Decoded {@link TARGETINFO}. */
export type Targetinfo = StructValue<typeof TARGETINFO>;
