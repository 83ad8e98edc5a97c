/** Signing an enclave of Intel's SDK with a key at hand. Source: as of sign/signed-so.ts. */
import { sign } from 'node:crypto';
import { NsgxError } from '@nestedsgx/arch';
import { freshKey } from '@nestedsgx/arch/fresh-key';
import { nodeHash } from '@nestedsgx/arch/node';
import type { EnclaveConfig } from '../intel/config.js';
import { DEFAULT_SIGNED_SO_LIMITS, type SignedSoLimits } from '../intel/limits.js';
import { CSS_KEY } from '../intel/metadata-format.js';
import {
  type SharedObjectRequest,
  type SignSharedObjectOptions,
  sharedObjectRequest,
} from '../sign/signed-so.js';
import { attachSignature } from '../sign/two-step.js';
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
  return attachToSharedObject(request, signer.modulus, signer.sign(request.data));
}

/**
 * Second step: the `.signed.so` from the first step's request, the public modulus and the signature (384 bytes, big
 * endian). With EnableIPPFIPS a fresh key makes the second signature, so that no two files are alike. Throws
 * SIGN_RESULT and SIGSTRUCT_KEY.
 */
export function attachToSharedObject(
  request: SharedObjectRequest,
  modulus: bigint,
  signature: Uint8Array,
): Uint8Array {
  return finishSharedObject(request, attachSignature(nodeHash, request.unsigned, modulus, signature));
}

/** The `.signed.so` for a request and its finished SIGSTRUCT. */
export function finishSharedObject(request: SharedObjectRequest, sigstruct: Uint8Array): Uint8Array {
  return request.signedFile(sigstruct, request.needsFipsSignature ? fipsSignature(sigstruct) : undefined);
}

/** A css_key_t over a SIGSTRUCT by a key that nobody keeps. */
function fipsSignature(sigstruct: Uint8Array): Uint8Array {
  const key = freshKey({ rsaBits: 3072, exponent: 65537 });
  const modulus = Buffer.from(key.export({ format: 'jwk' }).n as string, 'base64url');
  const signature = new Uint8Array(sign('sha256', sigstruct, key));
  return CSS_KEY.encode({ modulus: new Uint8Array(modulus).reverse(), exponent: 65537, signature });
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
