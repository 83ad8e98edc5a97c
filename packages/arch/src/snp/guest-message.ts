/** PSP guest messages. Source: AMD 56860, "Guest Messages": "Message Header Format", MSG_REPORT_REQ, MSG_KEY_REQ. */
import { bytes, u8, u16, u32, u64 } from '../codec/field.js';
import { at, type StructValue, struct } from '../codec/struct.js';

/** GUEST_MESSAGE header (0x60 bytes); the encrypted payload follows. Bytes 0x30…0x5f are authenticated. */
export const GUEST_MESSAGE = struct('GUEST_MESSAGE', 0x60, {
  AUTHTAG: at(0x00, bytes(32)),
  MSG_SEQNO: at(0x20, u64),
  ALGO: at(0x30, u8),
  HDR_VERSION: at(0x31, u8),
  HDR_SIZE: at(0x32, u16),
  MSG_TYPE: at(0x34, u8),
  MSG_VERSION: at(0x35, u8),
  MSG_SIZE: at(0x36, u16),
  MSG_VMPCK: at(0x3c, u8),
});
/** Decoded {@link GUEST_MESSAGE}. */
export type GuestMessage = StructValue<typeof GUEST_MESSAGE>;

/** Where the authenticated part of a guest message header begins. */
export const GUEST_MESSAGE_AAD_OFFSET = 0x30;
/** ALGO of AES-256-GCM. */
export const GUEST_MESSAGE_ALGO_AES_256_GCM = 1;
/** The one header version. */
export const GUEST_MESSAGE_HDR_VERSION = 1;
/** Largest payload in bytes: a message fits one page. */
export const GUEST_MESSAGE_MAX_PAYLOAD = 4096 - 0x60;

/** MSG_TYPE. AMD 56860, "Message Type Encodings". */
export const GUEST_MSG_TYPE = Object.freeze({
  CPUID_REQ: 1,
  CPUID_RSP: 2,
  KEY_REQ: 3,
  KEY_RSP: 4,
  REPORT_REQ: 5,
  REPORT_RSP: 6,
  EXPORT_REQ: 7,
  EXPORT_RSP: 8,
  IMPORT_REQ: 9,
  IMPORT_RSP: 10,
  ABSORB_REQ: 11,
  ABSORB_RSP: 12,
  VMRK_REQ: 13,
  VMRK_RSP: 14,
} as const);

/** STATUS of MSG_REPORT_RSP and MSG_KEY_RSP. */
export const GUEST_MSG_STATUS = Object.freeze({
  SUCCESS: 0,
  INVALID_PARAMETERS: 0x16,
  INVALID_KEY_SELECTION: 0x27,
} as const);

/** MSG_REPORT_REQ (0x60 bytes). KEY_SEL bits 1:0: 0 = VLEK if installed, else VCEK; 1 = VCEK; 2 = VLEK. */
export const MSG_REPORT_REQ = struct('MSG_REPORT_REQ', 0x60, {
  REPORT_DATA: at(0x00, bytes(64)),
  VMPL: at(0x40, u32),
  KEY_SEL: at(0x44, u32),
});
/** Decoded {@link MSG_REPORT_REQ}. */
export type MsgReportReq = StructValue<typeof MSG_REPORT_REQ>;

/** MSG_REPORT_RSP (0x20 + 1184 bytes). */
export const MSG_REPORT_RSP = struct('MSG_REPORT_RSP', 0x20 + 0x4a0, {
  STATUS: at(0x00, u32),
  REPORT_SIZE: at(0x04, u32),
  REPORT: at(0x20, bytes(0x4a0)),
});
/** Decoded {@link MSG_REPORT_RSP}. */
export type MsgReportRsp = StructValue<typeof MSG_REPORT_RSP>;

/** MSG_KEY_REQ (0x20 bytes). ROOT_KEY_SELECT bit 0: 0 = the chip's endorsement key, 1 = VMRK; bits 2:1 KEY_SEL. */
export const MSG_KEY_REQ = struct('MSG_KEY_REQ', 0x20, {
  ROOT_KEY_SELECT: at(0x00, u32),
  GUEST_FIELD_SELECT: at(0x08, u64),
  VMPL: at(0x10, u32),
  GUEST_SVN: at(0x14, u32),
  TCB_VERSION: at(0x18, u64),
});
/** Decoded {@link MSG_KEY_REQ}. */
export type MsgKeyReq = StructValue<typeof MSG_KEY_REQ>;

/** GUEST_FIELD_SELECT bits: what is mixed into a derived key. */
export const GUEST_FIELD_SELECT = Object.freeze({
  GUEST_POLICY: 1n << 0n,
  IMAGE_ID: 1n << 1n,
  FAMILY_ID: 1n << 2n,
  MEASUREMENT: 1n << 3n,
  GUEST_SVN: 1n << 4n,
  TCB_VERSION: 1n << 5n,
} as const);

/** MSG_KEY_RSP (0x40 bytes). */
export const MSG_KEY_RSP = struct('MSG_KEY_RSP', 0x40, {
  STATUS: at(0x00, u32),
  DERIVED_KEY: at(0x20, bytes(32)),
});
/** Decoded {@link MSG_KEY_RSP}. */
export type MsgKeyRsp = StructValue<typeof MSG_KEY_RSP>;
