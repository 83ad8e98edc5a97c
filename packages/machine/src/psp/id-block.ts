/** Authentication of an ID block (SEV-SNP Firmware ABI, "ID Authentication Information Structure"). */
import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { ID_AUTH } from '@nestedsgx/arch';
import { PspCommandError } from './command-error.js';
import { littleEndianToFixed } from './signature.js';
import { PSP_STATUS } from './status.js';

/** ALGO of ECDSA P-384 with SHA-384. */
const ECDSA_P384 = 1;
/** Curve of a public key structure: P-384. */
const CURVE_P384 = 2;
/** A public key: curve u32, QX and QY (72 bytes each, little endian), zeros. */
const KEY_BYTES = 1028;

/** The public keys of an authenticated ID block, as the 1028 bytes they came in. */
export interface IdKeys {
  idKey: Uint8Array;
  authorKey?: Uint8Array;
}

/** Checks that ID_KEY signed the block and, when there is an author key, that it signed ID_KEY. Throws PSP_COMMAND. */
export function verifyIdAuth(command: string, idBlock: Uint8Array, idAuth: Uint8Array): IdKeys {
  if (idAuth.length !== ID_AUTH.size) {
    throw new PspCommandError(command, PSP_STATUS.INVALID_PARAM, `ID_AUTH has ${idAuth.length} bytes`);
  }
  const auth = ID_AUTH.decode(idAuth);
  if (auth.ID_KEY_ALGO !== ECDSA_P384)
    throw new PspCommandError(command, PSP_STATUS.INVALID_PARAM, 'ID_KEY_ALGO');
  check(command, 'the ID block', idBlock, auth.ID_BLOCK_SIG, auth.ID_KEY);
  if (auth.AUTH_KEY_ALGO === 0) return { idKey: auth.ID_KEY };
  if (auth.AUTH_KEY_ALGO !== ECDSA_P384)
    throw new PspCommandError(command, PSP_STATUS.INVALID_PARAM, 'AUTH_KEY_ALGO');
  check(command, 'the ID key', auth.ID_KEY, auth.ID_KEY_SIG, auth.AUTHOR_KEY);
  return { idKey: auth.ID_KEY, authorKey: auth.AUTHOR_KEY };
}

function check(
  command: string,
  what: string,
  data: Uint8Array,
  signature: Uint8Array,
  key: Uint8Array,
): void {
  const publicKey = importKey(key);
  const p1363 = Buffer.concat([
    littleEndianToFixed(signature.subarray(0, 72), 48),
    littleEndianToFixed(signature.subarray(72, 144), 48),
  ]);
  const good = publicKey && verify('sha384', data, { key: publicKey, dsaEncoding: 'ieee-p1363' }, p1363);
  if (!good)
    throw new PspCommandError(command, PSP_STATUS.BAD_SIGNATURE, `the signature of ${what} is wrong`);
}

function importKey(key: Uint8Array): KeyObject | undefined {
  if (
    key.length !== KEY_BYTES ||
    new DataView(key.buffer, key.byteOffset).getUint32(0, true) !== CURVE_P384
  ) {
    return undefined;
  }
  const coordinate = (at: number) =>
    Buffer.from(littleEndianToFixed(key.subarray(at, at + 72), 48)).toString('base64url');
  try {
    return createPublicKey({
      key: { kty: 'EC', crv: 'P-384', x: coordinate(4), y: coordinate(76) },
      format: 'jwk',
    });
  } catch {
    return undefined;
  }
}
