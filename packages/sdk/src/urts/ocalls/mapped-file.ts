/**
 * A protected file that an enclave has mapped. Intel's untrusted half maps the file itself; a runner sees guest RAM only, so
 * the file is copied there and what changes is written back.
 *
 * A write-back must be as safe against a crash as the enclave's own order of writes: recovery file, update flag, nodes, and
 * last the metadata node without the flag. So the flag is set in the file before other nodes are touched, and the metadata
 * node comes last. Each flush of the enclave gives the metadata node a new key, so a file is dirty exactly when that node
 * differs from what was written last; and a flush changes nodes of its recovery file and those behind the former end, so
 * only these are written meanwhile. Closing compares all of a file that changed.
 * Source: protected_fs_nodes.h (layout of the metadata node), file_flush.cpp (order of writes).
 */
import { closeSync, fstatSync, ftruncateSync, readSync, writeSync } from 'node:fs';
import type { GuestBlock } from '@nestedsgx/guest';
import { lockFile } from '@nestedsgx/os';
import type { BuiltinHost } from './builtin-host.js';
import { ERRNO, errnoOf, refuse } from './file-folder.js';

export const NODE_BYTES = 4096;
/** Offset of update_flag in the metadata node, the first of a file. */
const UPDATE_FLAG = 93;
/** Files are compared and written in pieces of this size. */
const PIECE = 256 * NODE_BYTES;
/** Larger files do not fit any slice of guest RAM. */
const MAX_FILE = 2 ** 37;
/** Most guest RAM that a growing file takes in advance. */
const MAX_SPARE = 64 * 2 ** 20;

const buffer = new Uint8Array(PIECE);

/** One open mapping. */
export class MappedFile {
  readonly name: string;
  readonly readOnly: boolean;
  /** Bytes that the file had when it was opened; 0 for a new one, which gets one node. */
  readonly sizeAtOpen: number;
  readonly #fd: number;
  readonly #memory: BuiltinHost['memory'];
  /** May be longer than the file. */
  #block: GuestBlock;
  #size: number;
  /** The metadata node as it is in the file. */
  #written: Uint8Array;
  /** Nodes that flushes since the last write-back may have changed, and how many nodes the file had then. */
  readonly #touched = new Set<number>();
  #known: number;
  #changed = false;

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
      this.#size = this.sizeAtOpen || NODE_BYTES;
      this.#known = Math.floor(this.#size / NODE_BYTES);
      block = this.#alloc(this.#size);
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
    return this.#size;
  }

  /** Grows or shrinks file and mapping, which may move. */
  resize(size: number): void {
    const grown = size > this.#block.length ? this.#allocMore(size) : undefined;
    try {
      ftruncateSync(this.#fd, size);
    } catch (error) {
      if (grown !== undefined) this.#memory.free(grown);
      throw error;
    }
    const kept = Math.min(size, this.#size);
    if (grown !== undefined) {
      grown.bytes.set(this.#block.bytes.subarray(0, kept));
      this.#memory.free(this.#block);
      this.#block = grown;
    }
    this.#block.bytes.fill(0, kept, size);
    this.#size = size;
    this.#known = Math.min(this.#known, Math.floor(size / NODE_BYTES));
  }

  /**
   * A flush begins that will change the nodes of these numbers: writes back what the one before left.
   * @returns the nodes as they are, each behind its number: the contents of the recovery file
   */
  beginFlush(numbers: readonly bigint[]): Iterable<Uint8Array> {
    const nodes = BigInt(Math.floor(this.#size / NODE_BYTES));
    if (numbers.length > nodes || numbers.some((number) => number >= nodes)) refuse(ERRNO.EINVAL);
    this.writeBack(true);
    for (const number of numbers) this.#touched.add(Number(number));
    return this.#records(numbers);
  }

  /**
   * Writes back what changed.
   * @param settled whether the enclave is outside of a flush for sure; else a flush under way is left for later
   */
  writeBack(settled: boolean): void {
    if (this.readOnly) return;
    const head = this.#head();
    if (equal(head, this.#written) || (!settled && head[UPDATE_FLAG] !== 0)) return;
    this.#changed = true;
    this.#writeTouched();
    // A flush that began meanwhile: the flag stays in the file until its end has been written.
    if (settled || equal(head, this.#head())) this.#finish(head);
  }

  /** Writes back and ends the mapping. @throws what `errnoOf` knows when writing failed; the mapping is gone all the same */
  close(): void {
    try {
      this.writeBack(true);
      if (this.#changed && this.#writeDifferent()) this.#finish(this.#head());
    } finally {
      closeSync(this.#fd);
      this.#memory.free(this.#block);
    }
  }

  *#records(numbers: readonly bigint[]): Generator<Uint8Array> {
    for (const number of numbers) {
      const record = new Uint8Array(8 + NODE_BYTES);
      new DataView(record.buffer).setBigUint64(0, number, true);
      const at = Number(number) * NODE_BYTES;
      record.set(this.#block.bytes.subarray(at, at + NODE_BYTES), 8);
      yield record;
    }
  }

  #finish(head: Uint8Array): void {
    write(this.#fd, head, 0);
    this.#written = head;
    this.#touched.clear();
    this.#known = Math.floor(this.#size / NODE_BYTES);
  }

  /** Writes the nodes that flushes may have changed, but for the metadata. */
  #writeTouched(): void {
    const known = Math.max(this.#known, 1);
    const old = [...this.#touched].filter((number) => number > 0 && number < known).sort((a, b) => a - b);
    const end = this.#size;
    if (old.length > 0 || known * NODE_BYTES < end) this.#flag();
    for (const number of old) this.#writePart(number * NODE_BYTES, NODE_BYTES);
    for (let at = known * NODE_BYTES; at < end; at += PIECE) this.#writePart(at, Math.min(PIECE, end - at));
  }

  /** Compares all but the metadata with the file and writes what differs. @returns whether anything did */
  #writeDifferent(): boolean {
    let different = false;
    for (let at = NODE_BYTES; at < this.#size; at += PIECE) {
      const piece = this.#block.bytes.subarray(at, Math.min(at + PIECE, this.#size));
      const old = buffer.subarray(0, piece.length);
      read(this.#fd, old, at);
      if (equal(piece, old)) continue;
      if (!different) this.#flag();
      different = true;
      this.#writePart(at, piece.length);
    }
    return different;
  }

  #flag(): void {
    const copy = this.#written.slice();
    copy[UPDATE_FLAG] = 1;
    write(this.#fd, copy, 0);
  }

  /** A copy, for the enclave may write meanwhile. */
  #writePart(at: number, length: number): void {
    write(this.#fd, this.#block.bytes.slice(at, at + length), at);
  }

  #head(): Uint8Array {
    return this.#block.bytes.slice(0, Math.min(NODE_BYTES, this.#size));
  }

  #alloc(size: number): GuestBlock {
    if (size > MAX_FILE) refuse(ERRNO.EFBIG);
    return this.#memory.alloc(size, { alignment: NODE_BYTES });
  }

  /** With room to grow into, for files grow by little at a time. */
  #allocMore(size: number): GuestBlock {
    const spare = Math.min(Math.ceil(size / 2 / NODE_BYTES) * NODE_BYTES, MAX_SPARE);
    try {
      return this.#alloc(size + spare);
    } catch (error) {
      if (errnoOf(error) !== ERRNO.ENOMEM) throw error;
      return this.#alloc(size);
    }
  }
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
