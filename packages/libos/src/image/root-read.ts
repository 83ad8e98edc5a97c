/** Reads the description of a root back (see manifest.ts), and holds the contents against it. */
import { createHash } from 'node:crypto';
import type { RootSource } from '../run/root.js';
import { malformed } from './app-format.js';
import { ENTRY_BYTES, ROOT_BLOCK, SIGNATURE, STORE, STORE_PROVISIONED, STORE_SIGNER } from './manifest.js';
import { decodeSource, type StoreKey } from './store-key.js';

const KINDS = ['', 'file', 'folder', 'link', 'start'] as const;
const MOUNT = 16;
const MOUNT_WRITABLE = 32;
const DIGEST = 32;

/** A file, folder or link as an image has it. */
export interface RootFile {
  readonly path: string;
  readonly kind: 'file' | 'folder' | 'link' | 'start';
  readonly mode: number;
  readonly size: number;
  readonly target?: string;
  /** Bytes of code behind the contents. */
  readonly code: number;
  /** Where the contents begin, and the SHA-256 of each block. */
  readonly offset: number;
  readonly blocks: readonly Uint8Array[];
  /** Whether it lies in place in the enclave. */
  readonly inPlace: boolean;
  /** Of a place for a folder of the host. */
  readonly mount?: 'ro' | 'rw';
  /** Of the folder of the store: whose key it has. */
  readonly store?: StoreKey;
}

/** Whose key a store has; undefined for what is none. */
function storeKey(flags: number, source: Buffer): StoreKey | undefined {
  if ((flags & STORE_PROVISIONED) !== 0) return decodeSource(source);
  return (flags & STORE_SIGNER) !== 0 ? 'mrsigner' : 'mrenclave';
}

/** The entries of a description. @throws APP_IMAGE_MALFORMED */
export function readRoot(path: string, bytes: Uint8Array): RootFile[] {
  const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const wrong = () => malformed(path, 'has a damaged description of its root');
  if (data.length < 8 || data.readUInt32LE(0) !== SIGNATURE) throw wrong();
  const files: RootFile[] = [];
  let at = 8;
  for (let i = data.readUInt32LE(4); i > 0; i--) {
    if (at + ENTRY_BYTES > data.length) throw wrong();
    const [pathBytes, targetBytes, digests] = [4, 48, 52].map((k) => data.readUInt32LE(at + k));
    const names = at + ENTRY_BYTES;
    const tail = names + Math.ceil((pathBytes + targetBytes) / 8) * 8;
    const end = tail + digests * DIGEST;
    const kind = KINDS[data[at]];
    if (end > data.length || !kind) throw wrong();
    const target = data.subarray(names + pathBytes, names + pathBytes + targetBytes);
    const flags = data[at + 1];
    const store = (flags & STORE) === 0 ? undefined : storeKey(flags, target);
    if ((flags & STORE) !== 0 && store === undefined) throw wrong();
    files.push({
      path: data.toString('utf8', names, names + pathBytes),
      kind,
      mode: data.readUInt16LE(at + 2),
      size: Number(data.readBigUInt64LE(at + 8)),
      code: data.readUInt32LE(at + 60),
      ...(kind === 'link' ? { target: target.toString('utf8') } : {}),
      ...((flags & MOUNT) !== 0 ? { mount: (flags & MOUNT_WRITABLE) !== 0 ? 'rw' : 'ro' } : {}),
      ...(store === undefined ? {} : { store }),
      offset: Number(data.readBigUInt64LE(at + 24)),
      blocks: Array.from({ length: digests }, (_, k) =>
        data.subarray(tail + k * DIGEST, tail + (k + 1) * DIGEST),
      ),
      inPlace: data.readBigUInt64LE(at + 32) !== 0n,
    });
    at = end;
  }
  return files;
}

/** SHA-256 of a file of the root (hex), and whether each block has the digest that was measured. */
export function digestFile(file: RootFile, root: RootSource): { sha256: string; intact: boolean } {
  const hash = createHash('sha256');
  const all = file.size + file.code;
  let intact = file.blocks.length === Math.ceil(all / ROOT_BLOCK);
  for (const [i, digest] of file.blocks.entries()) {
    const from = i * ROOT_BLOCK;
    const block = root.read(file.offset + from, Math.min(ROOT_BLOCK, all - from));
    hash.update(block.subarray(0, Math.max(0, file.size - from)));
    intact &&= createHash('sha256').update(block).digest().equals(digest);
  }
  return { sha256: hash.digest('hex'), intact };
}
