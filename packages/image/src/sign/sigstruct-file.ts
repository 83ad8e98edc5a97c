/** Signature files: the raw 1808 bytes of a SIGSTRUCT. Source: Intel SDM Vol. 3D, "Enclave Signature Structure (SIGSTRUCT)". */
import { copyBytes, NsgxError, SIGSTRUCT } from '@nestedsgx/arch';

/** Checks the length of a signature file and returns a copy of its 1808 bytes. Throws IMAGE_SIGNATURE_FILE. */
export function parseSigstructFile(bytes: Uint8Array): Uint8Array {
  if (bytes.length !== SIGSTRUCT.size) {
    throw new NsgxError(
      'IMAGE_SIGNATURE_FILE',
      `the signature has ${bytes.length} bytes, a SIGSTRUCT has 1808`,
      {
        advice: 'Sign the image again with `nsgx sign`.',
      },
    );
  }
  return copyBytes(bytes);
}
