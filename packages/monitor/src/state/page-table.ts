/** Page of the ELRANGE → EPC frame, in chunks of 512 pages. An enclave memory has room for one frame a page. */
import { NO_FRAME } from './epcm.js';

const CHUNK = 512;

interface Chunk {
  readonly frames: Int32Array;
  /** Pages that have a frame; a chunk without any is given back. */
  used: number;
}

/** Frames of one enclave by page number (offset from BASEADDR / 4096). */
export class EnclavePages {
  readonly #chunks = new Map<number, Chunk>();
  #count = 0;

  /** Chunks of 2 MiB of the ELRANGE that hold a page. */
  get chunks(): number {
    return this.#chunks.size;
  }

  /** Pages that have a frame. */
  get count(): number {
    return this.#count;
  }

  /** Frame of the page, or NO_FRAME. */
  get(page: number): number {
    const chunk = this.#chunks.get(Math.floor(page / CHUNK));
    return chunk === undefined ? NO_FRAME : chunk.frames[page % CHUNK];
  }

  /** Sets the frame of a page that has none. */
  set(page: number, frame: number): void {
    const key = Math.floor(page / CHUNK);
    let chunk = this.#chunks.get(key);
    if (chunk === undefined) {
      chunk = { frames: new Int32Array(CHUNK).fill(NO_FRAME), used: 0 };
      this.#chunks.set(key, chunk);
    }
    if (chunk.frames[page % CHUNK] === NO_FRAME) {
      this.#count++;
      chunk.used++;
    }
    chunk.frames[page % CHUNK] = frame;
  }

  /** Forgets the frame of a page. */
  delete(page: number): void {
    const key = Math.floor(page / CHUNK);
    const chunk = this.#chunks.get(key);
    if (chunk === undefined || chunk.frames[page % CHUNK] === NO_FRAME) return;
    chunk.frames[page % CHUNK] = NO_FRAME;
    this.#count--;
    if (--chunk.used === 0) this.#chunks.delete(key);
  }

  /** Calls `visit(page, frame)` for every page, in order of page numbers. */
  forEach(visit: (page: number, frame: number) => void): void {
    for (const key of [...this.#chunks.keys()].sort((a, b) => a - b)) {
      const { frames } = this.#chunks.get(key)!;
      for (let i = 0; i < CHUNK; i++) if (frames[i] !== NO_FRAME) visit(key * CHUNK + i, frames[i]);
    }
  }
}
