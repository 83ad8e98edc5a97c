/** Page of the ELRANGE → EPC frame, in chunks of 512 pages. An enclave memory has room for one frame a page. */
import { NO_FRAME } from './epcm.js';

const CHUNK = 512;

/** Frames of one enclave by page number (offset from BASEADDR / 4096). */
export class EnclavePages {
  readonly #chunks = new Map<number, Int32Array>();
  #count = 0;

  /** Pages that have a frame. */
  get count(): number {
    return this.#count;
  }

  /** Frame of the page, or NO_FRAME. */
  get(page: number): number {
    const chunk = this.#chunks.get(Math.floor(page / CHUNK));
    return chunk === undefined ? NO_FRAME : chunk[page % CHUNK];
  }

  /** Sets the frame of a page that has none. */
  set(page: number, frame: number): void {
    const key = Math.floor(page / CHUNK);
    let chunk = this.#chunks.get(key);
    if (chunk === undefined) {
      chunk = new Int32Array(CHUNK).fill(NO_FRAME);
      this.#chunks.set(key, chunk);
    }
    if (chunk[page % CHUNK] === NO_FRAME) this.#count++;
    chunk[page % CHUNK] = frame;
  }

  /** Forgets the frame of a page. */
  delete(page: number): void {
    const chunk = this.#chunks.get(Math.floor(page / CHUNK));
    if (chunk === undefined || chunk[page % CHUNK] === NO_FRAME) return;
    chunk[page % CHUNK] = NO_FRAME;
    this.#count--;
  }

  /** Calls `visit(page, frame)` for every page, in order of page numbers. */
  forEach(visit: (page: number, frame: number) => void): void {
    for (const key of [...this.#chunks.keys()].sort((a, b) => a - b)) {
      const chunk = this.#chunks.get(key)!;
      for (let i = 0; i < CHUNK; i++) if (chunk[i] !== NO_FRAME) visit(key * CHUNK + i, chunk[i]);
    }
  }
}
