/** New asymmetric keys by node:crypto, free of the job that made them. */
import {
  createPrivateKey,
  type ECKeyPairOptions,
  generateKeyPairSync,
  type KeyObject,
  type RSAKeyPairOptions,
} from 'node:crypto';

/** What kind of key. */
export type FreshKeyKind =
  | { readonly curve: 'P-256' | 'P-384' }
  | { readonly rsaBits: number; readonly exponent: number };

const PKCS8 = Object.freeze({ format: 'der', type: 'pkcs8' } as const);
const SPKI = Object.freeze({ format: 'der', type: 'spki' } as const);

/**
 * A new private key. Node's job of generating a key locks that key once more when it is garbage collected; a key object
 * taken from it directly can so lock itself out for ever, when the collection comes while the key is being exported
 * (Node 20: `export({ format: 'jwk' })`). A key that went through its encoding shares no lock with the job.
 * @example
 * const key = freshKey({ curve: 'P-384' });
 */
export function freshKey(kind: FreshKeyKind): KeyObject {
  const encoded = encodedKey(kind);
  try {
    return createPrivateKey({ key: encoded, ...PKCS8 });
  } finally {
    encoded.fill(0);
  }
}

function encodedKey(kind: FreshKeyKind): Buffer {
  const encoding = { privateKeyEncoding: PKCS8, publicKeyEncoding: SPKI };
  if ('curve' in kind) {
    const options: ECKeyPairOptions<'der', 'der'> = { namedCurve: kind.curve, ...encoding };
    return generateKeyPairSync('ec', options).privateKey;
  }
  const { rsaBits: modulusLength, exponent: publicExponent } = kind;
  const options: RSAKeyPairOptions<'der', 'der'> = { modulusLength, publicExponent, ...encoding };
  return generateKeyPairSync('rsa', options).privateKey;
}
