/**
 * Signing and verifying SIGSTRUCT: RSA-3072, exponent 3, PKCS#1 v1.5 with SHA-256, and the quotients Q1 and
 * Q2 with which EINIT avoids long division. Source: Intel SDM Vol. 3D, "Enclave Signature Structure
 * (SIGSTRUCT)" and operation of EINIT; RFC 8017, section 8.2.
 */

import { copyBytes } from '../codec/field.js';
import type { StructInit } from '../codec/struct.js';
import { NsgxError } from '../errors.js';
import type { HashProvider } from '../hash/provider.js';
import { SGX_ERROR } from './error-codes.js';
import {
  SIGSTRUCT,
  SIGSTRUCT_HEADER,
  SIGSTRUCT_HEADER2,
  SIGSTRUCT_VENDOR_INTEL,
  type Sigstruct,
} from './sigstruct.js';

const KEY_BYTES = 384;

/** DigestInfo of SHA-256 (RFC 8017, section 9.2, note 1). */
const SHA256_DIGEST_INFO = [
  0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04,
  0x20,
];

/** A SIGSTRUCT that EINIT would refuse: which field, and with which of the manual's codes. */
export class SigstructError extends NsgxError {
  /** The field as the manual names it: HEADER, VENDOR, EXPONENT, SIGNATURE, Q1, RESERVED… */
  readonly field: string;
  /** SGX_INVALID_SIG_STRUCT or SGX_INVALID_SIGNATURE. */
  readonly sgxError: number;

  constructor(code: 'SIGSTRUCT_FIELD' | 'SIGSTRUCT_SIGNATURE', field: string, message: string) {
    super(code, message);
    this.field = field;
    this.sgxError =
      code === 'SIGSTRUCT_FIELD' ? SGX_ERROR.SGX_INVALID_SIG_STRUCT : SGX_ERROR.SGX_INVALID_SIGNATURE;
  }
}

/** The 256 signed bytes of a SIGSTRUCT: [0, 128) and [900, 1028). Throws CODEC_SHORT_INPUT. */
export function sigstructSigningData(sigstruct: Uint8Array): Uint8Array {
  if (sigstruct.length < SIGSTRUCT.size) {
    throw new NsgxError('CODEC_SHORT_INPUT', `SIGSTRUCT needs 1808 bytes, ${sigstruct.length} are there`);
  }
  const out = new Uint8Array(256);
  out.set(sigstruct.subarray(0, 128), 0);
  out.set(sigstruct.subarray(900, 1028), 128);
  return out;
}

/** MRSIGNER: SHA-256 of the 384-byte little-endian modulus. SDM Vol. 3D, operation of EINIT. */
export function mrsigner(hash: HashProvider, modulusLE: Uint8Array): Uint8Array {
  if (modulusLE.length !== KEY_BYTES) {
    throw new NsgxError('SIGSTRUCT_KEY', `a modulus has 384 bytes, not ${modulusLE.length}`);
  }
  return hash.sha256().update(modulusLE).digest();
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

/** The unsigned integer whose little-endian bytes these are. */
export function bigintFromLE(b: Uint8Array): bigint {
  let hex = '0x0';
  for (let i = b.length - 1; i >= 0; i--) hex += HEX[b[i]];
  return BigInt(hex);
}

/** `length` little-endian bytes of a non-negative integer. Throws CODEC_FIELD_RANGE when it does not fit. */
export function bigintToLE(v: bigint, length: number): Uint8Array {
  const hex = v.toString(16);
  if (v < 0n || hex.length > 2 * length) {
    throw new NsgxError('CODEC_FIELD_RANGE', `an integer does not fit ${length} bytes`);
  }
  const padded = hex.padStart(2 * length, '0');
  const out = new Uint8Array(length);
  for (let i = 0; i < length; i++) out[length - 1 - i] = Number.parseInt(padded.slice(2 * i, 2 * i + 2), 16);
  return out;
}

/** Q1 = ⌊S²/M⌋ and Q2 = ⌊(S³ − Q1·S·M)/M⌋. SDM Vol. 3D, "SIGSTRUCT", Q1 and Q2. */
export function sigstructQuotients(signature: bigint, modulus: bigint): { q1: bigint; q2: bigint } {
  const square = signature * signature;
  const q1 = square / modulus;
  return { q1, q2: (square * signature - q1 * signature * modulus) / modulus };
}

/** Who signs: the modulus and the private operation, wherever the key lies. */
export interface SigstructSigner {
  /** The RSA-3072 modulus; the public exponent is 3. */
  readonly modulus: bigint;
  /** RSASSA-PKCS1-v1_5 with SHA-256 over `data`: 384 bytes, big endian. */
  sign(data: Uint8Array): Uint8Array;
}

/** The fields a signer chooses; constants, key and signature fields are filled in. */
export type SigstructFields = Omit<
  StructInit<Sigstruct>,
  'HEADER' | 'HEADER2' | 'MODULUS' | 'EXPONENT' | 'SIGNATURE' | 'Q1' | 'Q2'
>;

/** A SIGSTRUCT with everything but MODULUS, SIGNATURE, Q1 and Q2: its signing data are final. */
export function unsignedSigstruct(fields: SigstructFields): Uint8Array {
  return SIGSTRUCT.encode({
    ...fields,
    HEADER: Uint8Array.from(SIGSTRUCT_HEADER),
    HEADER2: Uint8Array.from(SIGSTRUCT_HEADER2),
    EXPONENT: 3,
  });
}

/**
 * Signs: fills in the constants, MODULUS, EXPONENT = 3, SIGNATURE, Q1 and Q2 and returns the 1808 bytes.
 * Throws SIGSTRUCT_KEY when modulus or signature cannot be of an RSA-3072 key, and the codec's errors.
 * The result is not verified here: `verifySigstruct` shows a signer that signed something else.
 */
export function signSigstruct(fields: SigstructFields, signer: SigstructSigner): Uint8Array {
  const out = unsignedSigstruct(fields);
  return attachSigstructSignature(out, signer.modulus, signer.sign(sigstructSigningData(out)));
}

/** As the end of `signSigstruct`, for a signature made elsewhere (384 bytes, big endian). Throws SIGSTRUCT_KEY. */
export function attachSigstructSignature(
  unsigned: Uint8Array,
  modulus: bigint,
  signatureBE: Uint8Array,
): Uint8Array {
  if (modulus >> 3071n !== 1n) {
    throw new NsgxError('SIGSTRUCT_KEY', 'the modulus does not have 3072 bits', {
      advice: 'Sign with an RSA key of 3072 bits and public exponent 3.',
    });
  }
  if (signatureBE.length !== KEY_BYTES) {
    throw new NsgxError('SIGSTRUCT_KEY', `a signature has 384 bytes, not ${signatureBE.length}`);
  }
  const signature = bigintFromLE(Uint8Array.from(signatureBE).reverse());
  if (signature >= modulus) throw new NsgxError('SIGSTRUCT_KEY', 'the signature is not below the modulus');
  const { q1, q2 } = sigstructQuotients(signature, modulus);
  const out = copyBytes(unsigned, 0, SIGSTRUCT.size);
  SIGSTRUCT.patch(
    {
      MODULUS: bigintToLE(modulus, KEY_BYTES),
      SIGNATURE: bigintToLE(signature, KEY_BYTES),
      Q1: bigintToLE(q1, KEY_BYTES),
      Q2: bigintToLE(q2, KEY_BYTES),
    },
    out,
  );
  return out;
}

function sameBytes(a: Uint8Array, b: readonly number[]): boolean {
  return a.length === b.length && b.every((v, i) => a[i] === v);
}

/**
 * The checks of EINIT on SIGSTRUCT's constants, in the manual's order: HEADER, VENDOR, HEADER2, EXPONENT,
 * reserved fields (CET's, which is not offered, among them). Throws {@link SigstructError} SIGSTRUCT_FIELD, CODEC_SHORT_INPUT.
 */
export function checkSigstructFields(bytes: Uint8Array): Sigstruct {
  const s = SIGSTRUCT.decode(bytes);
  const refuse = (field: string, message: string) => new SigstructError('SIGSTRUCT_FIELD', field, message);
  if (!sameBytes(s.HEADER, SIGSTRUCT_HEADER))
    throw refuse('HEADER', 'HEADER of the SIGSTRUCT is not the constant');
  if (s.VENDOR !== 0 && s.VENDOR !== SIGSTRUCT_VENDOR_INTEL) {
    throw refuse('VENDOR', `VENDOR of the SIGSTRUCT is 0x${s.VENDOR.toString(16)}, not 0 or 0x8086`);
  }
  if (!sameBytes(s.HEADER2, SIGSTRUCT_HEADER2))
    throw refuse('HEADER2', 'HEADER2 of the SIGSTRUCT is not the constant');
  if (s.EXPONENT !== 3) throw refuse('EXPONENT', `EXPONENT of the SIGSTRUCT is ${s.EXPONENT}, not 3`);
  const reserved = SIGSTRUCT.firstReservedNonZero(bytes);
  if (reserved !== -1) throw refuse('RESERVED', `reserved byte ${reserved} of the SIGSTRUCT is not zero`);
  if (s.CET_ATTRIBUTES !== 0) throw refuse('CET_ATTRIBUTES', 'CET_ATTRIBUTES of the SIGSTRUCT is not zero');
  if (s.CET_ATTRIBUTES_MASK !== 0)
    throw refuse('CET_ATTRIBUTES_MASK', 'CET_ATTRIBUTES_MASK of the SIGSTRUCT is not zero');
  return s;
}

/**
 * Verifies a SIGSTRUCT as EINIT does: constants and reserved fields, S < M, Q1, Q2, and the whole PKCS#1
 * v1.5 encoded message. Returns its fields.
 *
 * Throws {@link SigstructError} (SIGSTRUCT_FIELD, SIGSTRUCT_SIGNATURE) naming the refused field, and
 * CODEC_SHORT_INPUT.
 */
export function verifySigstruct(hash: HashProvider, bytes: Uint8Array): Sigstruct {
  const s = checkSigstructFields(bytes);
  const refuse = (field: string, message: string) =>
    new SigstructError('SIGSTRUCT_SIGNATURE', field, message);
  const modulus = bigintFromLE(s.MODULUS);
  const signature = bigintFromLE(s.SIGNATURE);
  if (modulus >> 3071n !== 1n) throw refuse('MODULUS', 'MODULUS of the SIGSTRUCT does not have 3072 bits');
  if (signature >= modulus) throw refuse('SIGNATURE', 'SIGNATURE of the SIGSTRUCT is not below MODULUS');
  const { q1, q2 } = sigstructQuotients(signature, modulus);
  if (bigintFromLE(s.Q1) !== q1) throw refuse('Q1', 'Q1 of the SIGSTRUCT is not ⌊S²/M⌋');
  if (bigintFromLE(s.Q2) !== q2) throw refuse('Q2', 'Q2 of the SIGSTRUCT is not ⌊(S³ − Q1·S·M)/M⌋');
  // S³ mod M without a division: S³ − Q1·S·M is S·(S² mod M), and Q2 its quotient by M.
  const message = signature ** 3n - q1 * signature * modulus - q2 * modulus;
  const expected = encodedMessage(hash.sha256().update(sigstructSigningData(bytes)).digest());
  let difference = 0;
  const actual = bigintToLE(message, KEY_BYTES);
  for (let i = 0; i < KEY_BYTES; i++) difference |= actual[KEY_BYTES - 1 - i] ^ expected[i];
  if (difference !== 0)
    throw refuse('SIGNATURE', 'SIGNATURE does not sign these SIGSTRUCT fields with this MODULUS');
  return s;
}

/** EMSA-PKCS1-v1_5 of a SHA-256 digest: 00 01 FF… 00 DigestInfo digest, 384 bytes, big endian. */
function encodedMessage(digest: Uint8Array): Uint8Array {
  const out = new Uint8Array(KEY_BYTES).fill(0xff);
  out[0] = 0;
  out[1] = 1;
  const tail = KEY_BYTES - 32 - SHA256_DIGEST_INFO.length;
  out[tail - 1] = 0;
  out.set(SHA256_DIGEST_INFO, tail);
  out.set(digest, KEY_BYTES - 32);
  return out;
}
