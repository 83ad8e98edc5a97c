/** TD report bodies ("Intel TDX DCAP Quoting Library API", appendix "Quote Format"; TDREPORT_STRUCT of the TDX module). */
import { Reader, toHex } from '../bytes.js';

/** Sizes of the bodies: TDX 1.0, TDX 1.5, and TDX 1.5 with the fields of migrated and partitioned TDs. */
export const TD_10_BYTES = 584;
export const TD_15_BYTES = 648;
export const TD_15_EXTENDED_BYTES = 885;

/** What body type 4 adds: which partition reports, and the TCB and service TDs that the TD began with. */
export interface TdExtension {
  /** Number of the partition (L2 VM) that asked for the report; 0 is the TD itself. */
  readonly vmId: number;
  readonly tdId: Uint8Array;
  readonly deviceInfo: Uint8Array;
  readonly initialServiceTdHash: Uint8Array;
  readonly initialServiceTdAttributes: Uint8Array;
  readonly initialCpuSvn: Uint8Array;
  readonly initialTeeTcbSvn: Uint8Array;
  readonly initialFmspc: Uint8Array;
  readonly currentServiceTdHash: Uint8Array;
  readonly currentServiceTdAttributes: Uint8Array;
}

/** A TD report body. Fields that its version does not have are null. */
export interface TdxBody {
  readonly teeTcbSvn: Uint8Array;
  readonly mrSeam: Uint8Array;
  readonly mrSignerSeam: Uint8Array;
  readonly seamAttributes: Uint8Array;
  readonly tdAttributes: Uint8Array;
  readonly xfam: Uint8Array;
  readonly mrTd: Uint8Array;
  readonly mrConfigId: Uint8Array;
  readonly mrOwner: Uint8Array;
  readonly mrOwnerConfig: Uint8Array;
  readonly rtmr: readonly Uint8Array[];
  readonly reportData: Uint8Array;
  /** The TCB that the platform has now; `teeTcbSvn` is the one that the TD was launched under. */
  readonly teeTcbSvn2: Uint8Array | null;
  readonly mrServiceTd: Uint8Array | null;
  readonly extension: TdExtension | null;
}

function parseExtension(reader: Reader): TdExtension {
  return {
    vmId: reader.u8('VMID'),
    tdId: reader.view(32, 'TD_ID'),
    deviceInfo: reader.view(48, 'the device information'),
    initialServiceTdHash: reader.view(48, 'the first service TD hash'),
    initialServiceTdAttributes: reader.view(8, 'the first service TD attributes'),
    initialCpuSvn: reader.view(16, 'the first CPUSVN'),
    initialTeeTcbSvn: reader.view(16, 'the first TEE_TCB_SVN'),
    initialFmspc: reader.view(12, 'the first FMSPC'),
    currentServiceTdHash: reader.view(48, 'the service TD hash'),
    currentServiceTdAttributes: reader.view(8, 'the service TD attributes'),
  };
}

/** Decodes a body; its fields are views into `bytes`. @throws AttestError EVIDENCE_MALFORMED for another size */
export function parseTdxBody(bytes: Uint8Array): TdxBody {
  const reader = new Reader(bytes, 'TD report body');
  const later = bytes.length > TD_10_BYTES;
  const body = {
    teeTcbSvn: reader.view(16, 'TEE_TCB_SVN'),
    mrSeam: reader.view(48, 'MRSEAM'),
    mrSignerSeam: reader.view(48, 'MRSIGNERSEAM'),
    seamAttributes: reader.view(8, 'SEAMATTRIBUTES'),
    tdAttributes: reader.view(8, 'TDATTRIBUTES'),
    xfam: reader.view(8, 'XFAM'),
    mrTd: reader.view(48, 'MRTD'),
    mrConfigId: reader.view(48, 'MRCONFIGID'),
    mrOwner: reader.view(48, 'MROWNER'),
    mrOwnerConfig: reader.view(48, 'MROWNERCONFIG'),
    rtmr: [0, 1, 2, 3].map((i) => reader.view(48, `RTMR${i}`)),
    reportData: reader.view(64, 'REPORTDATA'),
    teeTcbSvn2: later ? reader.view(16, 'TEE_TCB_SVN2') : null,
    mrServiceTd: later ? reader.view(48, 'MRSERVICETD') : null,
    extension: bytes.length > TD_15_BYTES ? parseExtension(reader) : null,
  };
  reader.end();
  return body;
}

function extensionFields(extension: TdExtension) {
  return {
    vmId: extension.vmId,
    tdId: toHex(extension.tdId),
    deviceInfo: toHex(extension.deviceInfo),
    initialServiceTdHash: toHex(extension.initialServiceTdHash),
    initialServiceTdAttributes: toHex(extension.initialServiceTdAttributes),
    initialCpuSvn: toHex(extension.initialCpuSvn),
    initialTeeTcbSvn: toHex(extension.initialTeeTcbSvn),
    initialFmspc: toHex(extension.initialFmspc),
    currentServiceTdHash: toHex(extension.currentServiceTdHash),
    currentServiceTdAttributes: toHex(extension.currentServiceTdAttributes),
  };
}

/** TD report fields as JSON. */
export function tdxBodyFields(body: TdxBody) {
  return {
    teeTcbSvn: toHex(body.teeTcbSvn),
    mrseam: toHex(body.mrSeam),
    mrsignerseam: toHex(body.mrSignerSeam),
    seamAttributes: toHex(body.seamAttributes),
    tdAttributes: toHex(body.tdAttributes),
    debug: (body.tdAttributes[0]! & 1) !== 0,
    xfam: toHex(body.xfam),
    mrtd: toHex(body.mrTd),
    mrconfigid: toHex(body.mrConfigId),
    mrowner: toHex(body.mrOwner),
    mrownerconfig: toHex(body.mrOwnerConfig),
    rtmr0: toHex(body.rtmr[0]!),
    rtmr1: toHex(body.rtmr[1]!),
    rtmr2: toHex(body.rtmr[2]!),
    rtmr3: toHex(body.rtmr[3]!),
    reportData: toHex(body.reportData),
    teeTcbSvn2: body.teeTcbSvn2 === null ? null : toHex(body.teeTcbSvn2),
    mrservicetd: body.mrServiceTd === null ? null : toHex(body.mrServiceTd),
    ...(body.extension === null ? {} : extensionFields(body.extension)),
  };
}
