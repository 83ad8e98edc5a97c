/** What this processor offers: the CPUID.12H leaves and control registers of the manual, as configuration. */
import {
  ATTRIBUTES_AEX_NOTIFY,
  ATTRIBUTES_DEBUG,
  ATTRIBUTES_EINITTOKEN_KEY,
  ATTRIBUTES_KSS,
  ATTRIBUTES_MODE64BIT,
  ATTRIBUTES_PROVISIONKEY,
  MISCSELECT_EXINFO,
} from '@nestedsgx/arch';

/** End (bytes from the start of the XSAVE area) of one XSAVE component, by XFRM bit. CPUID.0DH gives the real ones. */
export type XsaveLayout = Readonly<Record<number, number>>;

/** Platform configuration. */
export interface Platform {
  /** CR_SGX_ATTRIBUTES_MASK (CPUID.12H.1): FLAGS that ECREATE takes. */
  readonly attributesMask: bigint;
  /** XCR0: XFRM bits that may be set. */
  readonly xfrmMask: bigint;
  /** CPUID.12H.0.EBX. */
  readonly miscselectMask: number;
  /** CPUID.12H.0.EDX: SIZE must be below 2^n. */
  readonly maxSizeBits32: number;
  readonly maxSizeBits64: number;
  readonly xsave: XsaveLayout;
  /** CR_CPUSVN, 16 bytes. A request is beyond it when any byte is greater. */
  readonly cpuSvn: Uint8Array;
  /** IA32_SGXLEPUBKEYHASH (32 bytes) when it is locked; null: flexible launch, `launchSigners` decides. */
  readonly launchKeyHash: Uint8Array | null;
  /** With flexible launch: the MRSIGNERs that IA32_SGXLEPUBKEYHASH may be set to; null: any. */
  readonly launchSigners: readonly Uint8Array[] | null;
  /** PROVISIONKEY needs AUTHORIZE_PROVISION before EINIT. */
  readonly provisionNeedsAuthorization: boolean;
  /** RAM below this gPA is the machine's own (doorbell, GHCBs, calling areas) and cannot be deposited. */
  readonly depositBase: number;
  readonly maxEnclaves: number;
  readonly maxThreads: number;
  /** Hosts may grant descriptors of theirs to enclaves that ask for it. */
  readonly hostDescriptors: boolean;
}

/** Component ends in the standard format as Intel processors lay them out. */
export const INTEL_XSAVE: XsaveLayout = Object.freeze({
  0: 576,
  1: 576,
  2: 832,
  3: 1024,
  4: 1088,
  5: 1152,
  6: 1664,
  7: 2688,
  9: 2696,
  17: 2816,
  18: 11008,
});

/** The platform offered when nothing else is configured: x87 to AVX-512 and PKRU, EXINFO, KSS, AEX-Notify, flexible launch. */
export const DEFAULT_PLATFORM: Platform = Object.freeze({
  attributesMask:
    ATTRIBUTES_DEBUG |
    ATTRIBUTES_MODE64BIT |
    ATTRIBUTES_PROVISIONKEY |
    ATTRIBUTES_EINITTOKEN_KEY |
    ATTRIBUTES_KSS |
    ATTRIBUTES_AEX_NOTIFY,
  xfrmMask: 0x2e7n,
  miscselectMask: MISCSELECT_EXINFO,
  maxSizeBits32: 32,
  maxSizeBits64: 40,
  xsave: INTEL_XSAVE,
  cpuSvn: new Uint8Array(16).fill(1, 0, 2),
  launchKeyHash: null,
  launchSigners: null,
  provisionNeedsAuthorization: true,
  depositBase: 0,
  maxEnclaves: 4096,
  maxThreads: 1024,
  hostDescriptors: true,
});

const XFRM_AVX = 0x4n;
const XFRM_MPX = 0x18n;
const XFRM_AVX512 = 0xe0n;
const XFRM_AMX = 0x60000n;

/** True when XFRM could be loaded into XCR0 on this platform. SDM Vol. 1, "XCR0" and Vol. 3D, "XFRM". */
export function xfrmLegal(platform: Platform, xfrm: bigint): boolean {
  if ((xfrm & 3n) !== 3n || (xfrm & ~platform.xfrmMask) !== 0n) return false;
  const whole = (bits: bigint) => (xfrm & bits) === 0n || (xfrm & bits) === bits;
  if (!whole(XFRM_MPX) || !whole(XFRM_AVX512) || !whole(XFRM_AMX)) return false;
  return (xfrm & XFRM_AVX512) === 0n || (xfrm & XFRM_AVX) !== 0n;
}

/** Bytes of the XSAVE area for XFRM. SDM Vol. 3D, "compute_xsave_size". */
export function xsaveSize(platform: Platform, xfrm: bigint): number {
  const bits = Number(xfrm & 0x7fff_ffffn);
  let end = 576;
  for (let bit = 2; bit < 31; bit++) {
    if ((bits & (1 << bit)) !== 0) end = Math.max(end, platform.xsave[bit] ?? 0);
  }
  return end;
}

/** Bytes of the MISC area between XSAVE and GPRSGX. */
export function miscSize(miscselect: number): number {
  return (miscselect & MISCSELECT_EXINFO) !== 0 ? 16 : 0;
}

/** Size of GPRSGX. */
export const GPRSGX_SIZE = 184;

/** True when every byte of `svn` is at most the platform's. */
export function cpuSvnWithin(platform: Platform, bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < 16; i++) if (bytes[at + i] > platform.cpuSvn[i]) return false;
  return true;
}
