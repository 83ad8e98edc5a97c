/**
 * Signing in two steps, for a key that is kept elsewhere. Source: Intel SDM Vol. 3D, "Enclave Signature
 * Structure (SIGSTRUCT)"; RFC 8017, section 8.2.
 */
import {
  attachSigstructSignature,
  type HashProvider,
  NsgxError,
  readU32,
  SIGSTRUCT,
  type SigstructFields,
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
  return requestOf(hash, sigstructFields(mrenclave, options));
}

/** The request for a SIGSTRUCT with these fields, ENCLAVEHASH among them. */
export function requestOf(
  hash: HashProvider,
  fields: SigstructFields & { ENCLAVEHASH: Uint8Array },
): SigningRequest {
  const unsigned = unsignedSigstruct(fields);
  const data = sigstructSigningData(unsigned);
  return { unsigned, data, digest: hash.sha256().update(data).digest(), mrenclave: fields.ENCLAVEHASH };
}

/** Where the signed bytes have SIGSTRUCT.DATE. */
const DATE_AT = 20;

/** The date (YYYYMMDD) that the first step's bytes were made with. Throws SIGN_REQUEST. */
export function signingDate(data: Uint8Array): string {
  if (data.length !== SIGNING_DATA_SIZE)
    throw otherRequest(`the file of the first step has ${data.length} bytes, not ${SIGNING_DATA_SIZE}`);
  return readU32(data, DATE_AT).toString(16).padStart(8, '0');
}

/** Compares the first step's bytes with those of now. Throws SIGN_REQUEST, naming the field that differs. */
export function checkSigningData(data: Uint8Array, request: SigningRequest): void {
  signingDate(data);
  if (request.data.every((byte, i) => byte === data[i])) return;
  const [before, now] = [data, request.data].map((bytes) => {
    const sigstruct = new Uint8Array(SIGSTRUCT.size);
    sigstruct.set(bytes.subarray(0, SIGNING_DATA_SIZE / 2), 0);
    sigstruct.set(bytes.subarray(SIGNING_DATA_SIZE / 2), SIGSTRUCT.offsets.MISCSELECT);
    return sigstruct;
  });
  const places = Object.entries(SIGSTRUCT.offsets).sort(([, a], [, b]) => b - a);
  const first = before.findIndex((byte, i) => byte !== now[i]);
  const [field] = places.find(([, offset]) => offset <= first)!;
  throw otherRequest(
    `the file of the first step differs in ${field}: it is of another enclave or configuration`,
  );
}

const SIGNING_DATA_SIZE = 256;

function otherRequest(message: string): NsgxError {
  return new NsgxError('SIGN_REQUEST', message, {
    advice: 'Give what the first step wrote, and the same enclave, configuration and options.',
  });
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
