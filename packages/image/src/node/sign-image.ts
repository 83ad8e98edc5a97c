/** Signing an image with a key at hand. Source: Intel SDM Vol. 3D, "Enclave Signature Structure (SIGSTRUCT)". */
import { nodeHash } from '@nestedsgx/arch/node';
import type { EnclaveImage } from '../image.js';
import type { SignOptions } from '../sign/options.js';
import { attachSignature, signingDigest } from '../sign/two-step.js';
import { loadSigningKey, type Passphrase, type SigningKey } from './key.js';

/**
 * Measures and signs an image; the result (1808 bytes) has been verified. `key` is PEM or a loaded key.
 * Throws the errors of `loadSigningKey` and `signingDigest`, and SIGN_RESULT.
 */
export function signImage(
  image: EnclaveImage,
  key: string | Uint8Array | SigningKey,
  options: SignOptions & { readonly passphrase?: Passphrase } = {},
): Uint8Array {
  const { passphrase, ...signOptions } = options;
  const signer = typeof key === 'string' || key instanceof Uint8Array ? loadSigningKey(key, passphrase) : key;
  const request = signingDigest(nodeHash, image, signOptions);
  return attachSignature(nodeHash, request.unsigned, signer.modulus, signer.sign(request.data));
}
