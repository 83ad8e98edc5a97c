/**
 * The SNP attestation report (SEV-SNP ABI, AMD 56860, table "ATTESTATION_REPORT structure"), versions 2, 3
 * and 5: 1184 bytes, the signature over the first 0x2a0.
 */
import { allZero, copyBytes } from '../bytes.js';
import { AttestError } from '../errors.js';
import { decodePlatformInfo, decodePolicy, type GuestPolicy, type PlatformInfo } from './guest-fields.js';
import { decodeTcb, productOfCpu, type SnpProduct, type SnpTcb, type TcbLayout } from './tcb.js';

/** Size of a report, in bytes. */
export const SNP_REPORT_BYTES = 1184;
/** How many bytes from the start the signature covers. */
export const SNP_SIGNED_BYTES = 0x2a0;

/** Which key signed: SIGNING_KEY of the report's flags. */
export type SigningKey = 'VCEK' | 'VLEK' | 'none';

/** Version of the SEV firmware. */
export interface FirmwareVersion {
  readonly major: number;
  readonly minor: number;
  readonly build: number;
}

/** A decoded report. Byte fields keep their order in the report. */
export interface SnpReport {
  readonly raw: Uint8Array<ArrayBuffer>;
  readonly version: 2 | 3 | 5;
  readonly guestSvn: number;
  readonly policy: GuestPolicy;
  readonly familyId: Uint8Array;
  readonly imageId: Uint8Array;
  readonly vmpl: number;
  readonly signatureAlgorithm: number;
  readonly platformInfo: PlatformInfo;
  readonly authorKeyEnabled: boolean;
  readonly maskChipKey: boolean;
  readonly signingKey: SigningKey;
  readonly reportData: Uint8Array;
  readonly measurement: Uint8Array;
  readonly hostData: Uint8Array;
  readonly idKeyDigest: Uint8Array;
  readonly authorKeyDigest: Uint8Array;
  readonly reportId: Uint8Array;
  readonly reportIdMa: Uint8Array;
  readonly chipId: Uint8Array;
  /** From version 3 on; null in version 2. */
  readonly cpu: { readonly family: number; readonly model: number; readonly stepping: number } | null;
  /** The product that `cpu` names; null in version 2 and for unknown processors. */
  readonly product: SnpProduct | null;
  readonly tcbLayout: TcbLayout;
  readonly currentTcb: SnpTcb;
  readonly reportedTcb: SnpTcb;
  readonly committedTcb: SnpTcb;
  readonly launchTcb: SnpTcb;
  readonly currentFirmware: FirmwareVersion;
  readonly committedFirmware: FirmwareVersion;
  /** Mitigation vectors: version 5 only. */
  readonly launchMitigations: bigint | null;
  readonly currentMitigations: bigint | null;
  /** r ‖ s, each 48 bytes, big endian (the report has them little endian in 72 bytes each). */
  readonly signature: Uint8Array<ArrayBuffer>;
}

function refuse(reason: string): never {
  throw new AttestError('EVIDENCE_MALFORMED', `The SNP report ${reason}.`);
}

/** One signature component: 72 bytes little endian of which the top 24 must be zero, to 48 big endian. */
function component(bytes: Uint8Array, name: string): Uint8Array {
  if (!allZero(bytes.subarray(48))) refuse(`has ${name} of more than 384 bits`);
  return bytes.slice(0, 48).reverse();
}

/**
 * Decodes a report strictly: exact size, known version, reserved bytes zero.
 * @throws AttestError EVIDENCE_MALFORMED
 */
export function parseSnpReport(input: Uint8Array): SnpReport {
  if (input.length !== SNP_REPORT_BYTES) refuse(`has ${input.length} bytes instead of ${SNP_REPORT_BYTES}`);
  const raw = copyBytes(input);
  const at = new DataView(raw.buffer);
  const field = (offset: number, length: number) => raw.slice(offset, offset + length);
  const reserved = (offset: number, end: number) => {
    if (!allZero(raw.subarray(offset, end))) {
      refuse(`has reserved bytes set between 0x${offset.toString(16)} and 0x${end.toString(16)}`);
    }
  };
  const version = at.getUint32(0, true);
  if (version !== 2 && version !== 3 && version !== 5) refuse(`has version ${version}; 2, 3 and 5 are known`);
  const vmpl = at.getUint32(0x30, true);
  if (vmpl > 3 && vmpl !== 0xffff_ffff) refuse(`has VMPL ${vmpl}, of 0 to 3`);
  const signatureAlgorithm = at.getUint32(0x34, true);
  if (signatureAlgorithm !== 1)
    refuse(`has signature algorithm ${signatureAlgorithm}; 1 (ECDSA P-384 with SHA-384) is known`);
  const flags = at.getUint32(0x48, true);
  if (flags >>> 5 !== 0) refuse(`has reserved key flags set (0x${flags.toString(16)})`);
  const keySelector = (flags >>> 2) & 7;
  const signingKey =
    keySelector === 0 ? 'VCEK' : keySelector === 1 ? 'VLEK' : keySelector === 7 ? 'none' : null;
  if (signingKey === null) refuse(`names signing key ${keySelector}, which the ABI reserves`);
  reserved(0x4c, 0x50);
  if (version === 2) reserved(0x188, 0x1a0);
  else reserved(0x18b, 0x1a0);
  reserved(0x1eb, 0x1ec);
  reserved(0x1ef, 0x1f0);
  reserved(version === 5 ? 0x208 : 0x1f8, SNP_SIGNED_BYTES);
  reserved(0x330, SNP_REPORT_BYTES);
  const cpu = version === 2 ? null : { family: raw[0x188]!, model: raw[0x189]!, stepping: raw[0x18a]! };
  const product = cpu === null ? null : productOfCpu(cpu.family, cpu.model);
  const tcbLayout: TcbLayout = cpu !== null && cpu.family >= 0x1a ? 'turin' : 'milan';
  const tcb = (offset: number, name: string) => {
    const { reservedZero, ...value } = decodeTcb(raw.subarray(offset, offset + 8), tcbLayout);
    if (!reservedZero) refuse(`has reserved bytes set in its ${name} TCB`);
    return value;
  };
  const firmware = (offset: number): FirmwareVersion => ({
    major: raw[offset + 2]!,
    minor: raw[offset + 1]!,
    build: raw[offset]!,
  });
  const signature = new Uint8Array(96);
  signature.set(component(raw.subarray(0x2a0, 0x2e8), 'a signature value r'), 0);
  signature.set(component(raw.subarray(0x2e8, 0x330), 'a signature value s'), 48);
  return {
    raw,
    version,
    guestSvn: at.getUint32(4, true),
    policy: decodePolicy(at.getBigUint64(8, true)),
    familyId: field(0x10, 16),
    imageId: field(0x20, 16),
    vmpl,
    signatureAlgorithm,
    platformInfo: decodePlatformInfo(at.getBigUint64(0x40, true)),
    authorKeyEnabled: (flags & 1) !== 0,
    maskChipKey: (flags & 2) !== 0,
    signingKey,
    reportData: field(0x50, 64),
    measurement: field(0x90, 48),
    hostData: field(0xc0, 32),
    idKeyDigest: field(0xe0, 48),
    authorKeyDigest: field(0x110, 48),
    reportId: field(0x140, 32),
    reportIdMa: field(0x160, 32),
    chipId: field(0x1a0, 64),
    cpu,
    product,
    tcbLayout,
    currentTcb: tcb(0x38, 'current'),
    reportedTcb: tcb(0x180, 'reported'),
    committedTcb: tcb(0x1e0, 'committed'),
    launchTcb: tcb(0x1f0, 'launch'),
    currentFirmware: firmware(0x1e8),
    committedFirmware: firmware(0x1ec),
    launchMitigations: version === 5 ? at.getBigUint64(0x1f8, true) : null,
    currentMitigations: version === 5 ? at.getBigUint64(0x200, true) : null,
    signature,
  };
}
