/**
 * Signing in two steps, for a key that is kept elsewhere. Source: Intel SDM Vol. 3D, "Enclave Signature
 * Structure (SIGSTRUCT)"; RFC 8017, section 8.2.
 */
import {
  attachSigstructSignature,
  type HashProvider,
  NsgxError,
  sigstructSigningData,
  unsignedSigstruct,
  verifySigstruct,
} from '@nestedsgx/arch';
import type { EnclaveImage } from '../image.js';
import { measureImage } from '../measure.js';
import { type SignOptions, sigstructFields } from './options.js';

/** What the first step gives. */
export interface SigningRequest {
  /** The SIGSTRUCT without MODULUS, SIGNATURE, Q1, Q2: keep it for the second step. */
  readonly unsigned: Uint8Array;
  /** The 256 bytes that are signed. */
  readonly data: Uint8Array;
  /** Their SHA-256, for signers that take a digest. */
  readonly digest: Uint8Array;
  readonly mrenclave: Uint8Array;
}

/**
 * First step: what is to be signed with RSASSA-PKCS1-v1_5, SHA-256, a key of 3072 bits and exponent 3. The
 * same image and options (the date among them) give the same bytes. Throws SIGN_OPTION and the image's errors.
 */
export function signingDigest(
  hash: HashProvider,
  image: EnclaveImage,
  options: SignOptions = {},
): SigningRequest {
  const mrenclave = measureImage(hash, image);
  const unsigned = unsignedSigstruct(sigstructFields(mrenclave, options));
  const data = sigstructSigningData(unsigned);
  return { unsigned, data, digest: hash.sha256().update(data).digest(), mrenclave };
}

/**
 * Second step: the SIGSTRUCT (1808 bytes) from the first step's `unsigned`, the public modulus and the
 * signature (384 bytes, big endian). Throws SIGN_RESULT when the signature is not one of these bytes by this key, SIGSTRUCT_KEY.
 */
export function attachSignature(
  hash: HashProvider,
  unsigned: Uint8Array,
  modulus: bigint,
  signature: Uint8Array,
): Uint8Array {
  const sigstruct = attachSigstructSignature(unsigned, modulus, signature);
  try {
    verifySigstruct(hash, sigstruct);
  } catch (cause) {
    throw new NsgxError('SIGN_RESULT', 'the signature is not one of this enclave by this key', {
      cause,
      advice:
        'Sign the data that the first step printed, with the same options and date, with RSA PKCS#1 v1.5 and SHA-256.',
    });
  }
  return sigstruct;
}
