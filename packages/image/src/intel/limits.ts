/** Limits on `.signed.so` files. */
export interface SignedSoLimits {
  /** Largest file in bytes. */
  readonly maxFileBytes: number;
  /** Largest enclave_size or ELRANGE in bytes. */
  readonly maxEnclaveBytes: number;
}

/** The limits that hold unless others are given: 1 GiB files, 64 GiB enclaves. */
export const DEFAULT_SIGNED_SO_LIMITS: SignedSoLimits = Object.freeze({
  maxFileBytes: 2 ** 30,
  maxEnclaveBytes: 64 * 2 ** 30,
});

/** Metadata blocks in one file. */
export const MAX_METADATA_BLOCKS = 8;
/** Bytes of one metadata block; the SDK's METADATA_SIZE is 0x6000. */
export const MAX_METADATA_BYTES = 0x40000;
/** Program headers and sections of an ELF file. */
export const MAX_PROGRAM_HEADERS = 64;
export const MAX_SECTIONS = 4096;
/** Ranges of pages after groups are repeated. */
export const MAX_LAYOUT_RANGES = 65536;
