/** Whose key a store has: what images say of it, and how it stands in the description of the root. */
import { ECDH } from 'node:crypto';
import { libosError } from '../errors.js';

/** A key that a key server gives to enclaves that it accepts. */
export interface ProvisionedKey {
  /** The name of the key: letters, digits, `.`, `_` and `-`, up to 64. */
  readonly provisioned: string;
  /** The server's public key, as `nsgx keyserver` says it: a compressed point of P-256, 66 hexadecimal digits. */
  readonly server: string;
  /** `HOST:PORT` where it listens. Images say it, but it is not measured: who runs one may name another place. */
  readonly address?: string;
}

/**
 * Who can read a store: this image alone; images of the same signer and product with the same or a higher SVN; or whom a
 * key server accepts, on any machine.
 */
export type StoreKey = 'mrenclave' | 'mrsigner' | ProvisionedKey;

/** Names of keys. */
export const KEY_NAME = /^[A-Za-z0-9._-]{1,64}$/;
const COMPRESSED = /^0[23][0-9a-fA-F]{64}$/;
const POINT_BYTES = 64;

/** The point (X and Y) of the server, then the name: native/src/provision.c. @throws KEY_SERVER_INVALID */
export function encodeSource({ provisioned, server }: ProvisionedKey): Buffer {
  if (!KEY_NAME.test(provisioned))
    throw libosError('KEY_SERVER_INVALID', `"${provisioned}" is no name of a key`, {
      advice: 'Use letters, digits, ".", "_" and "-", 64 at most.',
    });
  try {
    if (!COMPRESSED.test(server)) throw new Error('it has not 66 hexadecimal digits from 02 or 03 on');
    const point = ECDH.convertKey(
      server,
      'prime256v1',
      'hex',
      undefined,
      'uncompressed',
    ) as unknown as Buffer;
    return Buffer.concat([point.subarray(1), Buffer.from(provisioned, 'latin1')]);
  } catch (cause) {
    throw libosError('KEY_SERVER_INVALID', `"${server}" is no public key: ${(cause as Error).message}`, {
      cause,
      advice: 'Copy it from nsgx keyserver --master FILE.',
    });
  }
}

/** The reverse; undefined for what images cannot say. */
export function decodeSource(bytes: Buffer): ProvisionedKey | undefined {
  const provisioned = bytes.toString('latin1', POINT_BYTES);
  if (!KEY_NAME.test(provisioned)) return undefined;
  const server = Buffer.alloc(33);
  bytes.copy(server, 1, 0, 32);
  server[0] = 2 | (bytes[POINT_BYTES - 1] & 1);
  return { provisioned, server: server.toString('hex') };
}
