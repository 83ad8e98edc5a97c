/**
 * Releases of Intel's SDK and what their signing tools write differently. Source: Intel SGX SDK for Linux,
 * common/inc/internal/se_version.h, metadata.h, global_data.h of each release.
 */

/** What depends on the release that an enclave was built with. */
export interface SdkRelease {
  /** g_global_data.sdk_version in the unsigned file: major << 32 | minor << 16 | revision. */
  readonly version: bigint;
  /** Minor number of metadata 3.x (loaders with EDMM) and 1.x (without). */
  readonly minor: { readonly sgx2: number; readonly sgx1: number };
  /** METADATA_SIZE: what the signing tool overwrites in the file. */
  readonly metadataSize: number;
  /** Whether metadata tells the MISCSELECT asked for, and SIGSTRUCT only its bits that are compared. */
  readonly desiredMiscSelect: boolean;
  /** Whether global_data_t ends with fips_on. */
  readonly fipsField: boolean;
  /** Whether global_data_t.elrange_size is enclave_size when no ELRANGE is set (else 0). */
  readonly elrangeDefaultsToEnclave: boolean;
}

const release = (major: number, minor: number, rest: Omit<SdkRelease, 'version'>): SdkRelease =>
  Object.freeze({ version: (BigInt(major) << 32n) | (BigInt(minor) << 16n) | 100n, ...rest });

const LATEST = {
  minor: { sgx2: 3, sgx1: 5 },
  metadataSize: 0x6000,
  desiredMiscSelect: true,
  fipsField: true,
  elrangeDefaultsToEnclave: false,
};
const AT_2_25 = { ...LATEST, minor: { sgx2: 2, sgx1: 5 } };
const AT_2_24 = { ...AT_2_25, fipsField: false, elrangeDefaultsToEnclave: true };
const AT_2_23 = { ...AT_2_24, minor: { sgx2: 1, sgx1: 4 }, metadataSize: 0x5000 };
const AT_2_21 = { ...AT_2_23, minor: { sgx2: 0, sgx1: 4 }, desiredMiscSelect: false };

/** The releases that can be signed for, newest first. */
export const SDK_RELEASES: readonly SdkRelease[] = Object.freeze([
  ...[30, 29, 28, 27, 26].map((minor) => release(2, minor, LATEST)),
  release(2, 25, AT_2_25),
  release(2, 24, AT_2_24),
  release(2, 23, AT_2_23),
  release(2, 22, AT_2_23),
  release(2, 21, AT_2_21),
  release(2, 20, AT_2_21),
]);

/** sdk_version as major.minor.revision. */
export function sdkVersionText(version: bigint): string {
  return `${version >> 32n}.${(version >> 16n) & 0xffffn}.${version & 0xffffn}`;
}
