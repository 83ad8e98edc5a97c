/**
 * The SGXS format: exactly the stream that MRENCLAVE hashes, plus chunks that are not measured.
 * Source: Fortanix, "SGX Stream format" (sgxs crate); Intel SDM Vol. 3D, operation of ECREATE, EADD, EEXTEND.
 *
 * Each chunk begins with a 64-byte block: an 8-byte tag and operands. EEXTEND and UNMEASRD carry 256 bytes.
 */

/** Bytes of a page. */
export const PAGE = 4096;
/** Bytes of one EEXTEND. */
export const CHUNK = 256;
/** Bytes of a block. */
export const BLOCK = 64;
/** Longest form of one page: its EADD and sixteen chunks. */
export const PAGE_RECORD = BLOCK + (PAGE / CHUNK) * (BLOCK + CHUNK);

function tag(text: string): Uint8Array {
  const b = new Uint8Array(8);
  for (let i = 0; i < text.length; i++) b[i] = text.charCodeAt(i);
  return b;
}

/** The tags of SGXS chunks. */
export const TAG = Object.freeze({
  ECREATE: tag('ECREATE'),
  EADD: tag('EADD'),
  EEXTEND: tag('EEXTEND'),
  UNMEASRD: tag('UNMEASRD'),
});

/** Limits on what is read or written. */
export interface SgxsLimits {
  /** Largest file in bytes. */
  readonly maxFileBytes: number;
  /** Largest SECS.SIZE in bytes. */
  readonly maxEnclaveBytes: number;
  /** Largest SSAFRAMESIZE in pages. */
  readonly maxSsaFrameSize: number;
}

/** The limits that hold unless others are given: 8 GiB files, 64 GiB enclaves, 64 pages of SSA frame. */
export const DEFAULT_SGXS_LIMITS: SgxsLimits = Object.freeze({
  maxFileBytes: 8 * 2 ** 30,
  maxEnclaveBytes: 64 * 2 ** 30,
  maxSsaFrameSize: 64,
});
