/** The ECREATE chunk at the start of an SGXS stream. Source: Intel SDM Vol. 3D, operation of ECREATE. */
import { NsgxError, readU32 } from '@nestedsgx/arch';
import { damaged, hasTag, hex, isZero } from './damage.js';
import { BLOCK, PAGE, type SgxsLimits, TAG } from './format.js';
import type { ByteSource } from './source.js';

/** The ECREATE chunk. */
export interface SgxsHeader {
  /** SECS.SIZE in bytes, a power of two. */
  readonly size: number;
  /** SECS.SSAFRAMESIZE in pages. */
  readonly ssaFrameSize: number;
}

/** Reads and checks the ECREATE block at the start of an SGXS stream. Throws IMAGE_TRUNCATED, IMAGE_TAG, IMAGE_ECREATE, IMAGE_TOO_LARGE. */
export function readSgxsHeader(source: ByteSource, limits: SgxsLimits): SgxsHeader {
  if (source.length > limits.maxFileBytes) {
    throw new NsgxError(
      'IMAGE_TOO_LARGE',
      `the image has ${source.length} bytes, more than ${limits.maxFileBytes}`,
    );
  }
  const block = new Uint8Array(BLOCK);
  const have = Math.min(BLOCK, source.length);
  source.readInto(block.subarray(0, have), 0);
  if (have >= 4 && readU32(block, 0) === 0x464c457f) {
    throw new NsgxError('IMAGE_TAG', 'the image begins with an ELF header: it is not SGXS', {
      advice: 'Give the NAME.sgxs file that the build wrote.',
    });
  }
  if (have < BLOCK)
    throw damaged('IMAGE_TRUNCATED', `the image ends at offset ${have}, inside its ECREATE chunk`);
  if (!hasTag(block, 0, TAG.ECREATE))
    throw damaged('IMAGE_TAG', 'the image does not begin with an ECREATE chunk: it is not SGXS');
  const ssaFrameSize = readU32(block, 8);
  const size = readU32(block, 12) + readU32(block, 16) * 2 ** 32;
  if (size < 2 * PAGE || !isPowerOfTwo(size)) {
    throw damaged(
      'IMAGE_ECREATE',
      `ECREATE at offset 0: SIZE ${hex(size)} is not a power of two of at least two pages`,
    );
  }
  if (size > limits.maxEnclaveBytes) {
    throw new NsgxError(
      'IMAGE_TOO_LARGE',
      `the enclave has ${size} bytes, more than ${limits.maxEnclaveBytes}`,
    );
  }
  if (ssaFrameSize < 1 || ssaFrameSize > limits.maxSsaFrameSize) {
    throw damaged(
      'IMAGE_ECREATE',
      `ECREATE at offset 0: SSAFRAMESIZE ${ssaFrameSize} is not in 1…${limits.maxSsaFrameSize}`,
    );
  }
  if (!isZero(block, 20, BLOCK))
    throw damaged('IMAGE_ECREATE', 'ECREATE at offset 0: reserved bytes are not zero');
  return { size, ssaFrameSize };
}

function isPowerOfTwo(n: number): boolean {
  return n > 0 && Number.isInteger(Math.log2(n));
}
