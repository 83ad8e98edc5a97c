/** Enclave memory as arrays of pages; a page that was discarded reads as zero. */
import type { EnclaveMemory } from '@nestedsgx/monitor';
import { PAGE } from '../layout.js';

/** Buffers of memories that were closed, for the next ones. */
const pool: Uint8Array[] = [];

/** Memory of one enclave. */
export class SimMemory implements EnclaveMemory {
  readonly size: number;
  readonly #pages = new Map<number, Uint8Array>();
  /** When it says so, a page that is not there yet cannot be had, as on a system without memory. */
  readonly fails: () => boolean;

  constructor(size: number, fails: () => boolean) {
    this.size = size;
    this.fails = fails;
  }

  read(offset: number, length: number): Uint8Array {
    const page = this.#pages.get(Math.floor(offset / PAGE));
    const at = offset % PAGE;
    if (at + length <= PAGE) return page === undefined ? new Uint8Array(length) : page.slice(at, at + length);
    const out = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const from = (offset + done) % PAGE;
      const n = Math.min(PAGE - from, length - done);
      const source = this.#pages.get(Math.floor((offset + done) / PAGE));
      if (source !== undefined) out.set(source.subarray(from, from + n), done);
      done += n;
    }
    return out;
  }

  readInto(offset: number, into: Uint8Array): void {
    into.set(this.read(offset, into.length));
  }

  /** The page without a copy, or undefined where nothing was written. */
  page(index: number): Uint8Array | undefined {
    return this.#pages.get(index);
  }

  write(offset: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const at = (offset + done) % PAGE;
      const n = Math.min(PAGE - at, bytes.length - done);
      const page = this.#take(Math.floor((offset + done) / PAGE), n === PAGE);
      page.set(n === bytes.length ? bytes : bytes.subarray(done, done + n), at);
      done += n;
    }
  }

  #take(index: number, whole: boolean): Uint8Array {
    let page = this.#pages.get(index);
    if (page === undefined) {
      if (this.fails()) throw new SimOsError('no memory');
      page = pool.pop() ?? new Uint8Array(PAGE);
      if (!whole) page.fill(0);
      this.#pages.set(index, page);
    }
    return page;
  }

  reserve(offset: number, length: number): void {
    for (let at = offset; at < offset + length; at += PAGE) this.#take(at / PAGE, false);
  }

  discard(offset: number, length: number): void {
    for (let at = offset; at < offset + length && this.#pages.size > 0; at += PAGE) {
      const page = this.#pages.get(at / PAGE);
      if (page === undefined) continue;
      this.#pages.delete(at / PAGE);
      pool.push(page);
    }
  }

  close(): void {
    for (const page of this.#pages.values()) pool.push(page);
    this.#pages.clear();
  }
}

/** What a lower layer throws when it has no resources. */
export class SimOsError extends Error {
  readonly code = 'ENOMEM';
}
