/** SNP attestation report. Source: AMD 56860, "ATTESTATION_REPORT Structure" (versions 2, 3, 4 and 5). */
import { bytes, copyBytes, u8, u32, u64 } from '../codec/field.js';
import { at, type StructValue, struct } from '../codec/struct.js';
import { NsgxError } from '../errors.js';
import { decodeTcbVersion, type SnpProduct, snpProduct, type TcbVersion } from './tcb-version.js';

/** SIGNATURE of a report (512 bytes): ECDSA P-384, R and S little endian, zero extended to 72 bytes. */
export const SNP_SIGNATURE = struct('SNP_SIGNATURE', 512, { R: at(0, bytes(72)), S: at(72, bytes(72)) });

/**
 * ATTESTATION_REPORT (1184 bytes). CPUID_* exist from version 3, the mitigation vectors from version 5;
 * both are reserved (zero) before. FLAGS: bit 0 AUTHOR_KEY_EN, 1 MASK_CHIP_KEY, 4:2 SIGNING_KEY.
 */
export const ATTESTATION_REPORT = struct('ATTESTATION_REPORT', 0x4a0, {
  VERSION: at(0x000, u32),
  GUEST_SVN: at(0x004, u32),
  POLICY: at(0x008, u64),
  FAMILY_ID: at(0x010, bytes(16)),
  IMAGE_ID: at(0x020, bytes(16)),
  VMPL: at(0x030, u32),
  SIGNATURE_ALGO: at(0x034, u32),
  CURRENT_TCB: at(0x038, u64),
  PLATFORM_INFO: at(0x040, u64),
  FLAGS: at(0x048, u32),
  REPORT_DATA: at(0x050, bytes(64)),
  MEASUREMENT: at(0x090, bytes(48)),
  HOST_DATA: at(0x0c0, bytes(32)),
  ID_KEY_DIGEST: at(0x0e0, bytes(48)),
  AUTHOR_KEY_DIGEST: at(0x110, bytes(48)),
  REPORT_ID: at(0x140, bytes(32)),
  REPORT_ID_MA: at(0x160, bytes(32)),
  REPORTED_TCB: at(0x180, u64),
  CPUID_FAM_ID: at(0x188, u8),
  CPUID_MOD_ID: at(0x189, u8),
  CPUID_STEP: at(0x18a, u8),
  CHIP_ID: at(0x1a0, bytes(64)),
  COMMITTED_TCB: at(0x1e0, u64),
  CURRENT_BUILD: at(0x1e8, u8),
  CURRENT_MINOR: at(0x1e9, u8),
  CURRENT_MAJOR: at(0x1ea, u8),
  COMMITTED_BUILD: at(0x1ec, u8),
  COMMITTED_MINOR: at(0x1ed, u8),
  COMMITTED_MAJOR: at(0x1ee, u8),
  LAUNCH_TCB: at(0x1f0, u64),
  LAUNCH_MIT_VECTOR: at(0x1f8, u64),
  CURRENT_MIT_VECTOR: at(0x200, u64),
  SIGNATURE: at(0x2a0, SNP_SIGNATURE),
});
/** The raw fields of {@link ATTESTATION_REPORT}. */
export type AttestationReportFields = StructValue<typeof ATTESTATION_REPORT>;

/** How many bytes of a report are signed: [0, 0x2a0). */
export const SNP_REPORT_SIGNED_BYTES = 0x2a0;
/** SIGNATURE_ALGO of ECDSA P-384 with SHA-384. */
export const SNP_SIGNATURE_ALGO_ECDSA_P384_SHA384 = 1;

/** Guest policy. AMD 56860, "Guest Policy". */
export interface SnpPolicy {
  abiMinor: number;
  abiMajor: number;
  smt: boolean;
  migrateMa: boolean;
  debug: boolean;
  singleSocket: boolean;
  cxlAllow: boolean;
  memAes256Xts: boolean;
  raplDis: boolean;
  ciphertextHiding: boolean;
  pageSwapDisable: boolean;
}

/** Bits of the guest policy quadword. AMD 56860, "Guest Policy". */
export const SNP_POLICY = Object.freeze({
  SMT: 1n << 16n,
  RESERVED_MUST_BE_ONE: 1n << 17n,
  MIGRATE_MA: 1n << 18n,
  DEBUG: 1n << 19n,
  SINGLE_SOCKET: 1n << 20n,
  CXL_ALLOW: 1n << 21n,
  MEM_AES_256_XTS: 1n << 22n,
  RAPL_DIS: 1n << 23n,
  CIPHERTEXT_HIDING: 1n << 24n,
  PAGE_SWAP_DISABLE: 1n << 25n,
} as const);

/** PLATFORM_INFO. AMD 56860, "PLATFORM_INFO Field". */
export interface SnpPlatformInfo {
  smtEn: boolean;
  tsmeEn: boolean;
  eccEn: boolean;
  raplDis: boolean;
  ciphertextHidingEn: boolean;
  aliasCheckComplete: boolean;
  tioEn: boolean;
}

/** Which key signed the report. */
export type SnpSigningKey = 'VCEK' | 'VLEK' | 'none';

/** A strictly parsed report: the raw fields and what their bits mean. */
export interface AttestationReport extends AttestationReportFields {
  /** The 1184 bytes as they came (a copy). */
  readonly raw: Uint8Array;
  readonly policy: SnpPolicy;
  readonly platformInfo: SnpPlatformInfo;
  readonly authorKeyEn: boolean;
  readonly maskChipKey: boolean;
  readonly signingKey: SnpSigningKey;
  /** From CPUID_*; undefined for version 2 (which does not say) and for an unknown family or model. */
  readonly product: SnpProduct | undefined;
}

function bit(v: bigint, n: number): boolean {
  return ((v >> BigInt(n)) & 1n) === 1n;
}

/** Decodes the guest policy quadword. */
export function decodeSnpPolicy(v: bigint): SnpPolicy {
  return {
    abiMinor: Number(v & 0xffn),
    abiMajor: Number((v >> 8n) & 0xffn),
    smt: bit(v, 16),
    migrateMa: bit(v, 18),
    debug: bit(v, 19),
    singleSocket: bit(v, 20),
    cxlAllow: bit(v, 21),
    memAes256Xts: bit(v, 22),
    raplDis: bit(v, 23),
    ciphertextHiding: bit(v, 24),
    pageSwapDisable: bit(v, 25),
  };
}

/** Decodes PLATFORM_INFO. */
export function decodeSnpPlatformInfo(v: bigint): SnpPlatformInfo {
  return {
    smtEn: bit(v, 0),
    tsmeEn: bit(v, 1),
    eccEn: bit(v, 2),
    raplDis: bit(v, 3),
    ciphertextHidingEn: bit(v, 4),
    aliasCheckComplete: bit(v, 5),
    tioEn: bit(v, 7),
  };
}

const SIGNING_KEYS: ReadonlyMap<number, SnpSigningKey> = new Map([
  [0, 'VCEK'],
  [1, 'VLEK'],
  [7, 'none'],
]);

function firstNonZero(b: Uint8Array, from: number, to: number): number {
  for (let i = from; i < to; i++) if (b[i] !== 0) return i;
  return -1;
}

/**
 * Parses a report strictly: exact size, a known version, reserved bytes of that version zero, VMPL 0…3 (or
 * 0xffffffff, host requested), a known signature algorithm. The signature itself is not checked here.
 *
 * Throws SNP_REPORT_SIZE, SNP_REPORT_VERSION, SNP_REPORT_RESERVED, SNP_REPORT_FIELD.
 */
export function parseAttestationReport(input: Uint8Array): AttestationReport {
  if (!(input instanceof Uint8Array) || input.length !== ATTESTATION_REPORT.size) {
    const got = input instanceof Uint8Array ? input.length : typeof input;
    throw new NsgxError('SNP_REPORT_SIZE', `an SNP attestation report has 1184 bytes, not ${got}`);
  }
  const raw = copyBytes(input);
  const f = ATTESTATION_REPORT.decode(raw);
  if (f.VERSION < 2 || f.VERSION > 5) {
    throw new NsgxError('SNP_REPORT_VERSION', `report version ${f.VERSION} is not one of 2, 3, 4, 5`);
  }
  checkReserved(raw, f.VERSION);
  if (f.VMPL > 3 && f.VMPL !== 0xffff_ffff) throw field('VMPL', f.VMPL, '0…3 or 0xffffffff');
  if (f.SIGNATURE_ALGO !== SNP_SIGNATURE_ALGO_ECDSA_P384_SHA384) {
    throw field('SIGNATURE_ALGO', f.SIGNATURE_ALGO, '1 (ECDSA P-384 with SHA-384)');
  }
  if (f.FLAGS >>> 5 !== 0) throw reserved(0x48);
  const signingKey = SIGNING_KEYS.get((f.FLAGS >>> 2) & 7);
  if (signingKey === undefined)
    throw field('SIGNING_KEY', (f.FLAGS >>> 2) & 7, '0 (VCEK), 1 (VLEK) or 7 (none)');
  return {
    ...f,
    raw,
    policy: decodeSnpPolicy(f.POLICY),
    platformInfo: decodeSnpPlatformInfo(f.PLATFORM_INFO),
    authorKeyEn: (f.FLAGS & 1) !== 0,
    maskChipKey: (f.FLAGS & 2) !== 0,
    signingKey,
    product: f.VERSION >= 3 ? snpProduct(f.CPUID_FAM_ID, f.CPUID_MOD_ID) : undefined,
  };
}

function reserved(offset: number): NsgxError {
  return new NsgxError(
    'SNP_REPORT_RESERVED',
    `reserved byte 0x${offset.toString(16)} of the report is not zero`,
  );
}

function field(name: string, value: number, allowed: string): NsgxError {
  return new NsgxError('SNP_REPORT_FIELD', `${name} of the report is ${value}, not ${allowed}`);
}

function checkReserved(raw: Uint8Array, version: number): void {
  const gap = ATTESTATION_REPORT.firstReservedNonZero(raw);
  if (gap !== -1) throw reserved(gap);
  const later = version < 3 ? firstNonZero(raw, 0x188, 0x18b) : -1;
  if (later !== -1) throw reserved(later);
  const vectors = version < 5 ? firstNonZero(raw, 0x1f8, 0x208) : -1;
  if (vectors !== -1) throw reserved(vectors);
  const signature = SNP_SIGNATURE.firstReservedNonZero(raw, ATTESTATION_REPORT.offsets.SIGNATURE);
  if (signature !== -1) throw reserved(ATTESTATION_REPORT.offsets.SIGNATURE + signature);
}

/** The four TCB versions of a report in the layout of `product` (the report's own product by default, else Milan's). */
export function reportTcbs(
  report: AttestationReport,
  product: SnpProduct = report.product ?? 'Milan',
): { current: TcbVersion; reported: TcbVersion; committed: TcbVersion; launch: TcbVersion } {
  return {
    current: decodeTcbVersion(report.CURRENT_TCB, product),
    reported: decodeTcbVersion(report.REPORTED_TCB, product),
    committed: decodeTcbVersion(report.COMMITTED_TCB, product),
    launch: decodeTcbVersion(report.LAUNCH_TCB, product),
  };
}
