/** An image in whatever format its first bytes say. */
import { NsgxError } from '@nestedsgx/arch';
import type { EnclaveImage } from './image.js';
import { isElf } from './intel/elf.js';
import { loadSignedSo } from './intel/intel-image.js';
import type { SignedSoOptions } from './intel/signed-so.js';
import { hasTag } from './sgxs/damage.js';
import { TAG } from './sgxs/format.js';
import { readSgxs } from './sgxs/read.js';

/**
 * Opens an SGXS stream or a `.signed.so` in memory, by magic. Throws IMAGE_TAG when it is neither, and the
 * errors of `readSgxs` and `loadSignedSo`.
 */
export function openImage(bytes: Uint8Array, options: Pick<SignedSoOptions, 'edmm'> = {}): EnclaveImage {
  if (isElf(bytes)) return loadSignedSo(bytes, options);
  if (bytes.length >= 8 && hasTag(bytes, 0, TAG.ECREATE)) return readSgxs(bytes);
  throw new NsgxError('IMAGE_TAG', 'the image begins neither with an ECREATE chunk nor with an ELF header', {
    advice: 'Give a NAME.sgxs or NAME.signed.so file.',
  });
}
