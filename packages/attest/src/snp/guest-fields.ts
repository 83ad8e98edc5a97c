/** GUEST_POLICY and PLATFORM_INFO of a report (SEV-SNP ABI, AMD 56860, "Guest Policy" and "ATTESTATION_REPORT"). */

/** GUEST_POLICY, decoded: what the guest's owner allowed its host. */
export interface GuestPolicy {
  readonly raw: bigint;
  /** False when a reserved bit does not have the value that the ABI prescribes. */
  readonly reservedAsDefined: boolean;
  readonly abiMinor: number;
  readonly abiMajor: number;
  readonly smtAllowed: boolean;
  readonly migrationAgentAllowed: boolean;
  readonly debugAllowed: boolean;
  readonly singleSocket: boolean;
  readonly cxlAllowed: boolean;
  readonly memAes256Xts: boolean;
  readonly raplDisabled: boolean;
  readonly ciphertextHiding: boolean;
  readonly pageSwapDisabled: boolean;
}

/** PLATFORM_INFO, decoded: how the host is set up. */
export interface PlatformInfo {
  readonly raw: bigint;
  /** False when a bit above 7 is set. Bit 6 has no name in the ABI, and firmware of Turins sets it. */
  readonly reservedAsDefined: boolean;
  readonly smtEnabled: boolean;
  readonly tsmeEnabled: boolean;
  readonly eccEnabled: boolean;
  readonly raplDisabled: boolean;
  readonly ciphertextHiding: boolean;
  readonly aliasCheckComplete: boolean;
  readonly tioEnabled: boolean;
}

/** Bits 63:26 must be zero and bit 17 must be one. */
const POLICY_KNOWN_BITS = 0x3ff_ffffn;
const POLICY_MUST_BE_ONE = 1n << 17n;
const PLATFORM_KNOWN_BITS = 0xffn;

/** Decodes GUEST_POLICY. */
export function decodePolicy(raw: bigint): GuestPolicy {
  const bit = (n: bigint) => ((raw >> n) & 1n) === 1n;
  return {
    raw,
    reservedAsDefined: (raw & ~POLICY_KNOWN_BITS) === 0n && (raw & POLICY_MUST_BE_ONE) !== 0n,
    abiMinor: Number(raw & 0xffn),
    abiMajor: Number((raw >> 8n) & 0xffn),
    smtAllowed: bit(16n),
    migrationAgentAllowed: bit(18n),
    debugAllowed: bit(19n),
    singleSocket: bit(20n),
    cxlAllowed: bit(21n),
    memAes256Xts: bit(22n),
    raplDisabled: bit(23n),
    ciphertextHiding: bit(24n),
    pageSwapDisabled: bit(25n),
  };
}

/** Decodes PLATFORM_INFO. */
export function decodePlatformInfo(raw: bigint): PlatformInfo {
  const bit = (n: bigint) => ((raw >> n) & 1n) === 1n;
  return {
    raw,
    reservedAsDefined: (raw & ~PLATFORM_KNOWN_BITS) === 0n,
    smtEnabled: bit(0n),
    tsmeEnabled: bit(1n),
    eccEnabled: bit(2n),
    raplDisabled: bit(3n),
    ciphertextHiding: bit(4n),
    aliasCheckComplete: bit(5n),
    tioEnabled: bit(7n),
  };
}
