/**
 * A protected file that an enclave has mapped. Intel's untrusted half maps the file itself; a runner sees guest RAM only, so
 * the file is copied there and what changes is written back.
 *
 * A write-back must be as safe against a crash as the enclave's own order of writes: recovery file, update flag, nodes, and
 * last the metadata node without the flag. So the flag is set in the file before other nodes are touched, and the metadata
 * node comes last. Each flush of the enclave gives the metadata node a new key, so a file is dirty exactly when that node
 * differs from what was written last.
 * Source: protected_fs_nodes.h (layout of the metadata node), file_flush.cpp (order of writes).
 */
import { closeSync, fstatSync, ftruncateSync, readSync, writeSync } from 'node:fs';
import type { GuestBlock } from '@nestedsgx/guest';
import { lockFile } from '@nestedsgx/os';
import type { BuiltinHost } from './builtin-host.js';
import { ERRNO, refuse } from './file-folder.js';

export const NODE_BYTES = 4096;
/** Offset of update_flag in the metadata node, the first of a file. */
const UPDATE_FLAG = 93;
/** Files are compared in pieces of this size. */
const PIECE = 256 * NODE_BYTES;
/** Larger files do not fit any slice of guest RAM. */
const MAX_FILE = 2 ** 37;

const buffer = new Uint8Array(PIECE);

/** One open mapping. */
export class MappedFile {
  readonly name: string;
  readonly readOnly: boolean;
  /** Bytes that the file had when it was opened; 0 for a new one, which gets one node. */
  readonly sizeAtOpen: number;
  readonly #fd: number;
  readonly #memory: BuiltinHost['memory'];
  #block: GuestBlock;
  /** The metadata node as it is in the file. */
  #written: Uint8Array;

  /**
   * Locks and reads the file behind a descriptor, which belongs to the mapping then.
   * @throws what `errnoOf` knows; the descriptor is closed then
   */
  constructor(fd: number, name: string, readOnly: boolean, memory: BuiltinHost['memory']) {
    this.#fd = fd;
    this.name = name;
    this.readOnly = readOnly;
    this.#memory = memory;
    let block: GuestBlock | undefined;
    try {
      lockFile(fd, !readOnly);
      this.sizeAtOpen = fstatSync(fd).size;
      if (this.sizeAtOpen === 0) ftruncateSync(fd, NODE_BYTES);
      block = this.#alloc(this.sizeAtOpen || NODE_BYTES);
      read(fd, block.bytes, 0);
      this.#block = block;
      this.#written = this.#head();
    } catch (error) {
      if (block !== undefined) memory.free(block);
      closeSync(fd);
      throw error;
    }
  }

  get address(): bigint {
    return BigInt(this.#block.address);
  }

  get size(): number {
    return this.#block.length;
  }

  /** Grows or shrinks file and mapping; the mapping moves. */
  resize(size: number): void {
    const block = this.#alloc(size);
    try {
      ftruncateSync(this.#fd, size);
    } catch (error) {
      this.#memory.free(block);
      throw error;
    }
    const kept = Math.min(size, this.size);
    block.bytes.set(this.#block.bytes.subarray(0, kept));
    block.bytes.fill(0, kept);
    this.#memory.free(this.#block);
    this.#block = block;
  }

  /** The nodes of these numbers, each behind its number: the contents of a recovery file. */
  *recoveryNodes(numbers: readonly bigint[]): Generator<Uint8Array> {
    const nodes = BigInt(Math.floor(this.size / NODE_BYTES));
    if (numbers.length > nodes || numbers.some((number) => number >= nodes)) refuse(ERRNO.EINVAL);
    for (const number of numbers) {
      const record = new Uint8Array(8 + NODE_BYTES);
      new DataView(record.buffer).setBigUint64(0, number, true);
      const at = Number(number) * NODE_BYTES;
      record.set(this.#block.bytes.subarray(at, at + NODE_BYTES), 8);
      yield record;
    }
  }

  /**
   * Writes back what changed.
   * @param settled whether the enclave is outside of a flush for sure; else a flush under way is left for later
   */
  writeBack(settled: boolean): void {
    if (this.readOnly) return;
    const head = this.#head();
    if (equal(head, this.#written) || (!settled && head[UPDATE_FLAG] !== 0)) return;
    this.#writeNodes();
    // A flush that began meanwhile: the flag stays in the file until its end has been written.
    if (!settled && !equal(head, this.#head())) return;
    write(this.#fd, head, 0);
    this.#written = head;
  }

  /** Writes back and ends the mapping. @throws what `errnoOf` knows when writing failed; the mapping is gone all the same */
  close(): void {
    try {
      this.writeBack(true);
    } finally {
      closeSync(this.#fd);
      this.#memory.free(this.#block);
    }
  }

  /** All but the metadata node; before the first that differs, the flag is set in the file. */
  #writeNodes(): void {
    const { bytes } = this.#block;
    let flagged = false;
    for (let at = NODE_BYTES; at < bytes.length; at += PIECE) {
      const piece = bytes.subarray(at, at + PIECE);
      const old = buffer.subarray(0, piece.length);
      read(this.#fd, old, at);
      for (let i = 0; i < piece.length; i += NODE_BYTES) {
        // A copy: the enclave may write meanwhile.
        const node = piece.slice(i, i + NODE_BYTES);
        if (equal(node, old.subarray(i, i + NODE_BYTES))) continue;
        if (!flagged) write(this.#fd, flaggedCopy(this.#written), 0);
        flagged = true;
        write(this.#fd, node, at + i);
      }
    }
  }

  #head(): Uint8Array {
    return this.#block.bytes.slice(0, NODE_BYTES);
  }

  #alloc(size: number): GuestBlock {
    if (size > MAX_FILE) refuse(ERRNO.EFBIG);
    return this.#memory.alloc(size, { alignment: NODE_BYTES });
  }
}

function flaggedCopy(head: Uint8Array): Uint8Array {
  const copy = head.slice();
  copy[UPDATE_FLAG] = 1;
  return copy;
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/** Reads until `into` is full; what lies behind the end of the file is zeros. */
export function read(fd: number, into: Uint8Array, at: number): number {
  let done = 0;
  while (done < into.length) {
    const n = readSync(fd, into, done, into.length - done, at + done);
    if (n === 0) break;
    done += n;
  }
  into.fill(0, done);
  return done;
}

/** Writes all of `from`; at the descriptor's position where `at` is null. */
export function write(fd: number, from: Uint8Array, at: number | null): void {
  for (let done = 0; done < from.length; )
    done += writeSync(fd, from, done, from.length - done, at === null ? null : at + done);
}
