/**
 * The description of the root: a tree with the SHA-256 of every block of every file. It is measured with the enclave, so
 * what the host serves is checked against it. core/boot.ts reads it. Integers are little-endian; an entry is
 *
 *     u8 kind  u8 flags  u16 mode  u32 path bytes  u64 size  u64 time (ns)  u64 offset in the root  u64 image offset
 *     u64 image bytes  u32 target bytes  u32 digests  u32 code pages  u32 code bytes  path  target  (padding to 8)  digests
 *
 * Of a store whose key is provisioned, what stands as the target is who provisions it (store-key.ts).
 *
 * Code is what calls of a binary were made to jump to: it belongs behind so many pages of the binary in memory, and stands behind the
 * contents, under the same digests.
 */
import { createHash } from 'node:crypto';
import { encodeSource, type StoreKey } from './store-key.js';

/** First word, and bytes of an entry's head. */
export const SIGNATURE = 0x314d534e;
export const ENTRY_BYTES = 64;
const READ_ONLY = 1;
const IMAGE_TAKEN = 2;
export const STORE = 4;
export const STORE_SIGNER = 8;
const MOUNT = 16;
const MOUNT_WRITABLE = 32;
export const STORE_PROVISIONED = 64;

/** Bytes under one digest; native/src/host.c and core/fs/inode.ts know it too. */
export const ROOT_BLOCK = 65536;

/** A file, folder or link of the root, by absolute path. */
export interface RootEntry {
  readonly path: string;
  /** `start`: no file, but the folder that the program starts in. */
  readonly kind: 'file' | 'folder' | 'link' | 'start';
  readonly mode: number;
  /** Contents of a file. */
  readonly bytes?: Uint8Array;
  /** Target of a link. */
  readonly target?: string;
  /** Where the image has the file's segments in place. */
  readonly image?: { readonly offset: number; readonly size: number; readonly taken: boolean };
  readonly writable?: boolean;
  /** The store is mounted on this folder: who can read it. */
  readonly store?: StoreKey;
  /** A folder of the host is mounted on this folder: whether the program may change it. */
  readonly mount?: 'ro' | 'rw';
  /** What belongs behind the binary, and the pages before it. */
  readonly code?: { readonly pages: number; readonly bytes: Uint8Array };
}

/** The description and the bytes that it describes. */
export interface BuiltRoot {
  readonly manifest: Uint8Array;
  /** Files in the order of their offsets: what the host serves. */
  readonly contents: readonly Uint8Array[];
}

const KIND = Object.freeze({ file: 1, folder: 2, link: 3, start: 4 });

function digests(bytes: Uint8Array): Buffer[] {
  const list: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += ROOT_BLOCK)
    list.push(
      createHash('sha256')
        .update(bytes.subarray(at, at + ROOT_BLOCK))
        .digest(),
    );
  return list;
}

/** Describes entries; parents are put before what they hold. */
export function buildRoot(entries: readonly RootEntry[]): BuiltRoot {
  const sorted = [...entries].sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
  const parts: Buffer[] = [Buffer.alloc(8)];
  parts[0].writeUInt32LE(SIGNATURE, 0);
  parts[0].writeUInt32LE(sorted.length, 4);
  const contents: Uint8Array[] = [];
  let offset = 0;
  for (const entry of sorted) {
    const path = Buffer.from(entry.path, 'utf8');
    const target =
      typeof entry.store === 'object' ? encodeSource(entry.store) : Buffer.from(entry.target ?? '', 'utf8');
    const bytes = entry.bytes ?? new Uint8Array(0);
    const code = entry.code?.bytes ?? new Uint8Array(0);
    const whole = code.length === 0 ? bytes : Buffer.concat([bytes, code]);
    const hashes = digests(whole);
    const head = Buffer.alloc(ENTRY_BYTES);
    head[0] = KIND[entry.kind];
    head[1] = (entry.writable ? 0 : READ_ONLY) | (entry.image?.taken ? IMAGE_TAKEN : 0);
    if (entry.store) head[1] |= STORE | (entry.store === 'mrsigner' ? STORE_SIGNER : 0);
    if (typeof entry.store === 'object') head[1] |= STORE_PROVISIONED;
    if (entry.mount) head[1] |= entry.mount === 'rw' ? MOUNT | MOUNT_WRITABLE : MOUNT;
    head.writeUInt16LE(entry.mode & 0o7777, 2);
    head.writeUInt32LE(path.length, 4);
    head.writeBigUInt64LE(BigInt(bytes.length), 8);
    head.writeBigUInt64LE(BigInt(offset), 24);
    head.writeBigUInt64LE(BigInt(entry.image?.offset ?? 0), 32);
    head.writeBigUInt64LE(BigInt(entry.image?.size ?? 0), 40);
    head.writeUInt32LE(target.length, 48);
    head.writeUInt32LE(hashes.length, 52);
    head.writeUInt32LE(code.length === 0 ? 0 : entry.code!.pages, 56);
    head.writeUInt32LE(code.length, 60);
    const padding = Buffer.alloc((8 - ((path.length + target.length) % 8)) % 8);
    parts.push(head, path, target, padding, ...hashes);
    if (whole.length > 0) contents.push(whole);
    offset += whole.length;
  }
  return { manifest: Buffer.concat(parts), contents };
}
