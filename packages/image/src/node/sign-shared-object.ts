/** Signing an enclave of Intel's SDK with a key at hand. Source: as of sign/signed-so.ts. */
import { NsgxError } from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import type { EnclaveConfig } from '../intel/config.js';
import { DEFAULT_SIGNED_SO_LIMITS, type SignedSoLimits } from '../intel/limits.js';
import {
  attachToSharedObject,
  type SignSharedObjectOptions,
  sharedObjectRequest,
} from '../sign/signed-so.js';
import { fileSource } from './files.js';
import { loadSigningKey, type Passphrase, type SigningKey } from './key.js';

/**
 * Signs a linked enclave; the result is the contents of its `.signed.so`, its signature verified. `key` is PEM or a
 * loaded key. Throws the errors of `loadSigningKey` and `sharedObjectRequest`, and SIGN_RESULT.
 */
export function signSharedObject(
  file: Uint8Array,
  config: EnclaveConfig,
  key: string | Uint8Array | SigningKey,
  options: SignSharedObjectOptions & { readonly passphrase?: Passphrase } = {},
): Uint8Array {
  const { passphrase, ...signOptions } = options;
  const signer = typeof key === 'string' || key instanceof Uint8Array ? loadSigningKey(key, passphrase) : key;
  const request = sharedObjectRequest(nodeHash, file, config, signOptions);
  return attachToSharedObject(nodeHash, request, signer.modulus, signer.sign(request.data));
}

/** The bytes of a shared object that is to be signed. Throws IMAGE_FILE, IMAGE_TOO_LARGE. */
export function readSharedObjectFile(path: string, limits: Partial<SignedSoLimits> = {}): Uint8Array {
  const { maxFileBytes } = { ...DEFAULT_SIGNED_SO_LIMITS, ...limits };
  const opened = fileSource(path).open();
  try {
    const { length } = opened.source;
    if (length > maxFileBytes)
      throw new NsgxError('IMAGE_TOO_LARGE', `${path} has ${length} bytes, more than ${maxFileBytes}`);
    const bytes = new Uint8Array(length);
    opened.source.readInto(bytes, 0);
    return bytes;
  } finally {
    opened.close();
  }
}
