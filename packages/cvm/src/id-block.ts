import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { ID_AUTH, ID_BLOCK } from '@nestedsgx/arch';

const ECDSA_P384 = 1;
const CURVE_P384 = 2;
const KEY_BYTES = 1028;
const COORDINATE_BYTES = 72;

/** What the launch says about itself, beside its digest. */
export interface LaunchIdentity {
  /** 48 bytes: SNP_LAUNCH_FINISH refuses any other launch. */
  launchDigest: Uint8Array;
  policy: bigint;
  /** At most 16 ASCII characters each; reports carry them zero padded. */
  familyId: string;
  imageId: string;
}

/**
 * ID block and its authentication for SNP_LAUNCH_FINISH (AMD 56860, "ID Block"): this is how FAMILY_ID and IMAGE_ID get
 * into every report that the PSP signs. The ID key is made for this one launch; nothing trusts it by itself.
 */
export function makeIdBlock(identity: LaunchIdentity): { idBlock: Uint8Array; idAuth: Uint8Array } {
  const idBlock = ID_BLOCK.encode({
    LD: identity.launchDigest,
    FAMILY_ID: label(identity.familyId),
    IMAGE_ID: label(identity.imageId),
    VERSION: 1,
    GUEST_SVN: 0,
    POLICY: identity.policy,
  });
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' });
  const signature = sign('sha384', idBlock, { key: privateKey, dsaEncoding: 'ieee-p1363' });
  const idAuth = ID_AUTH.encode({
    ID_KEY_ALGO: ECDSA_P384,
    AUTH_KEY_ALGO: 0,
    ID_BLOCK_SIG: coordinates(512, 0, signature.subarray(0, 48), signature.subarray(48)),
    ID_KEY: encodeKey(publicKey),
  });
  return { idBlock, idAuth };
}

function label(text: string): Uint8Array {
  const bytes = new Uint8Array(16);
  bytes.set(new TextEncoder().encode(text));
  return bytes;
}

function encodeKey(key: KeyObject): Uint8Array {
  const { x, y } = key.export({ format: 'jwk' });
  const bytes = coordinates(
    KEY_BYTES,
    4,
    Buffer.from(x ?? '', 'base64url'),
    Buffer.from(y ?? '', 'base64url'),
  );
  new DataView(bytes.buffer).setUint32(0, CURVE_P384, true);
  return bytes;
}

/** Two big-endian numbers as the firmware wants them: little endian, 72 bytes each, from byte `at` on. */
function coordinates(size: number, at: number, first: Uint8Array, second: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(size);
  bytes.set(Uint8Array.from(first).reverse(), at);
  bytes.set(Uint8Array.from(second).reverse(), at + COORDINATE_BYTES);
  return bytes;
}
