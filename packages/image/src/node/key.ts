/**
 * Signing keys: RSA-3072 with public exponent 3, the only kind SIGSTRUCT knows (Intel SDM Vol. 3D,
 * "Enclave Signature Structure (SIGSTRUCT)"). PEM in PKCS#1 or PKCS#8 form, plain or encrypted.
 */
import { createPrivateKey, createPublicKey, generateKeyPair, type KeyObject, sign } from 'node:crypto';
import { promisify } from 'node:util';
import { NsgxError, type SigstructSigner } from '@nestedsgx/arch';

/** A passphrase, or how to ask for one; asked only when the key is encrypted. Bytes that were asked for are wiped. */
export type Passphrase = string | (() => string | Uint8Array);

/** Largest PEM that is read, in bytes. */
const MAX_PEM = 64 * 1024;

/** A loaded private key. */
export interface SigningKey extends SigstructSigner {
  /** SubjectPublicKeyInfo as PEM. */
  readonly publicKeyPem: string;
}

/** The PEM as a view of the caller's bytes, so that wiping them leaves no copy here. */
function pemBytes(pem: string | Uint8Array): Buffer {
  const b =
    typeof pem === 'string'
      ? Buffer.from(pem, 'latin1')
      : Buffer.from(pem.buffer, pem.byteOffset, pem.length);
  if (b.length > MAX_PEM) throw malformed(`the key has ${b.length} bytes, more than ${MAX_PEM}`);
  if (!b.includes('-----BEGIN ')) throw malformed('the key is not PEM');
  return b;
}

function malformed(message: string, cause?: unknown): NsgxError {
  return new NsgxError('SIGN_KEY_MALFORMED', message, {
    cause,
    advice: 'Give a PEM file with an RSA-3072 key; `openssl genrsa -3 3072` makes one.',
  });
}

/** The modulus of an RSA-3072 key with exponent 3. Throws SIGN_KEY_TYPE, SIGN_KEY_SIZE, SIGN_KEY_EXPONENT. */
function checkedModulus(key: KeyObject): bigint {
  if (key.asymmetricKeyType !== 'rsa') {
    throw new NsgxError(
      'SIGN_KEY_TYPE',
      `the key is of type ${key.asymmetricKeyType ?? 'unknown'}, not RSA`,
      {
        advice: 'SIGSTRUCT knows RSA-3072 with exponent 3 only.',
      },
    );
  }
  const { modulusLength, publicExponent } = key.asymmetricKeyDetails ?? {};
  if (modulusLength !== 3072) {
    throw new NsgxError('SIGN_KEY_SIZE', `the RSA key has ${modulusLength} bits, not 3072`, {
      advice: 'Make one with `openssl genrsa -3 3072`.',
    });
  }
  if (publicExponent !== 3n) {
    throw new NsgxError('SIGN_KEY_EXPONENT', `the RSA key's public exponent is ${publicExponent}, not 3`, {
      advice: 'Make one with `openssl genrsa -3 3072`.',
    });
  }
  const { n } = (key.type === 'private' ? createPublicKey(key) : key).export({ format: 'jwk' });
  return BigInt(`0x${Buffer.from(n as string, 'base64url').toString('hex')}`);
}

/** Whether a PEM text holds an encrypted private key (PKCS#8, or PKCS#1 with a DEK-Info header). */
function isEncrypted(pem: Buffer): boolean {
  return pem.includes('-----BEGIN ENCRYPTED PRIVATE KEY-----') || pem.includes('\nProc-Type: 4,ENCRYPTED');
}

function openPrivateKey(pem: Buffer, passphrase: Passphrase | undefined): KeyObject {
  if (!isEncrypted(pem)) {
    try {
      return createPrivateKey(pem);
    } catch (cause) {
      throw malformed('the private key cannot be read', cause);
    }
  }
  const secret = typeof passphrase === 'function' ? passphrase() : passphrase;
  if (secret === undefined || secret.length === 0) {
    throw new NsgxError('SIGN_KEY_PASSPHRASE', 'the key is encrypted and no passphrase was given', {
      advice: 'Give the passphrase of the key.',
    });
  }
  try {
    return createPrivateKey({
      key: pem,
      passphrase:
        typeof secret === 'string' ? secret : Buffer.from(secret.buffer, secret.byteOffset, secret.length),
    });
  } catch (cause) {
    throw new NsgxError('SIGN_KEY_PASSPHRASE', 'the encrypted key does not open with this passphrase', {
      cause,
      advice: 'Give the right passphrase, or check that the key file is whole.',
    });
  } finally {
    if (typeof secret !== 'string') secret.fill(0);
  }
}

/**
 * Loads a private signing key from PEM (PKCS#1 or PKCS#8, also encrypted).
 * Throws SIGN_KEY_MALFORMED, SIGN_KEY_PUBLIC, SIGN_KEY_PASSPHRASE, SIGN_KEY_TYPE, SIGN_KEY_SIZE, SIGN_KEY_EXPONENT.
 */
export function loadSigningKey(pem: string | Uint8Array, passphrase?: Passphrase): SigningKey {
  const bytes = pemBytes(pem);
  if (!bytes.includes('PRIVATE KEY-----')) {
    throw new NsgxError('SIGN_KEY_PUBLIC', 'the PEM holds no private key', {
      advice: 'Give the private key, or sign in two steps with `--print-digest` and `--signature`.',
    });
  }
  const key = openPrivateKey(bytes, passphrase);
  const modulus = checkedModulus(key);
  return {
    modulus,
    publicKeyPem: createPublicKey(key).export({ type: 'spki', format: 'pem' }) as string,
    sign: (data) => new Uint8Array(sign('sha256', data, key)),
  };
}

/** The modulus of a public (or private, unencrypted) key in PEM, for two-step signing. Throws as `loadSigningKey`. */
export function loadPublicModulus(pem: string | Uint8Array): bigint {
  const bytes = pemBytes(pem);
  let key: KeyObject;
  try {
    key = createPublicKey(bytes);
  } catch (cause) {
    throw malformed('the public key cannot be read', cause);
  }
  return checkedModulus(key);
}

/** A new key pair in PEM. */
export interface GeneratedKey {
  /** PKCS#8; encrypted with AES-256-CBC when a passphrase was given. */
  readonly privateKeyPem: string;
  /** SubjectPublicKeyInfo. */
  readonly publicKeyPem: string;
}

/** Makes an RSA-3072 key with public exponent 3 (takes about a second, off the main thread). */
export async function generateKey(options: { readonly passphrase?: string } = {}): Promise<GeneratedKey> {
  const { passphrase } = options;
  const encryption = passphrase === undefined ? {} : { cipher: 'aes-256-cbc', passphrase };
  // Encoded by the job that makes it: see `freshKey` for what may happen to a key taken from one.
  const { privateKey, publicKey } = await promisify(generateKeyPair)('rsa', {
    modulusLength: 3072,
    publicExponent: 3,
    privateKeyEncoding: { type: 'pkcs8', format: 'pem', ...encryption },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  });
  return { privateKeyPem: privateKey, publicKeyPem: publicKey };
}
