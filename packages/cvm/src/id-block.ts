import { createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ID_AUTH, ID_BLOCK, NsgxError } from '@nestedsgx/arch';
import { freshKey } from '@nestedsgx/arch/fresh-key';

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
 * The ID key of an installation, made on first use. The PSP mixes its digest into derived keys, so sealed data need the
 * same one at every launch. Null: a key for this launch only.
 * @throws NsgxError CVM_STATE_UNUSABLE
 */
export function openIdKey(stateDir: string | null): KeyObject {
  if (stateDir === null) return makeKey();
  const path = join(stateDir, 'id-key.pem');
  try {
    return readKey(path) ?? storeKey(stateDir, path);
  } catch (cause) {
    throw new NsgxError(
      'CVM_STATE_UNUSABLE',
      `the ID key ${path} cannot be used: ${(cause as Error).message}`,
      {
        cause,
        advice: 'Restore the file, or remove it: data sealed on this machine are then lost.',
      },
    );
  }
}

function readKey(path: string): KeyObject | null {
  let pem: Buffer;
  try {
    pem = readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  const key = createPrivateKey(pem);
  if (key.asymmetricKeyDetails?.namedCurve !== 'secp384r1') throw new Error('it is no key on P-384');
  return key;
}

/** Stores a new key so that, of two launches at once, both end up with the one that came first. */
function storeKey(stateDir: string, path: string): KeyObject {
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, makeKey().export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  try {
    linkSync(draft, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    rmSync(draft, { force: true });
  }
  return createPrivateKey(readFileSync(path));
}

function makeKey(): KeyObject {
  return freshKey({ curve: 'P-384' });
}

/**
 * ID block and its authentication for SNP_LAUNCH_FINISH (AMD 56860, "ID Block"): this is how FAMILY_ID and IMAGE_ID get
 * into every report that the PSP signs. Nothing trusts the ID key by itself.
 */
export function makeIdBlock(
  identity: LaunchIdentity,
  privateKey: KeyObject,
): { idBlock: Uint8Array; idAuth: Uint8Array } {
  const idBlock = ID_BLOCK.encode({
    LD: identity.launchDigest,
    FAMILY_ID: label(identity.familyId),
    IMAGE_ID: label(identity.imageId),
    VERSION: 1,
    GUEST_SVN: 0,
    POLICY: identity.policy,
  });
  const signature = sign('sha384', idBlock, { key: privateKey, dsaEncoding: 'ieee-p1363' });
  const idAuth = ID_AUTH.encode({
    ID_KEY_ALGO: ECDSA_P384,
    AUTH_KEY_ALGO: 0,
    ID_BLOCK_SIG: coordinates(512, 0, signature.subarray(0, 48), signature.subarray(48)),
    ID_KEY: encodeKey(createPublicKey(privateKey)),
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
