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

  /** How many pages from `page` on, at most `count`, have no frame. */
  absentRun(page: number, count: number): number {
    for (let n = 0; n < count; ) {
      const i = (page + n) % CHUNK;
      const end = Math.min(CHUNK, i + count - n);
      const frames = this.#chunks.get(Math.floor((page + n) / CHUNK))?.frames;
      if (frames !== undefined)
        for (let at = i; at < end; at++) if (frames[at] !== NO_FRAME) return n + at - i;
      n += end - i;
    }
    return count;
  }

  /**
   * How many pages from `page` on, at most `count`, have frames that follow one another; without a frame: how many have none.
   * At least one; a run may end before it has to.
   */
  run(page: number, count: number): number {
    const frames = this.#chunks.get(Math.floor(page / CHUNK))?.frames;
    const from = page % CHUNK;
    const end = Math.min(CHUNK, from + count);
    if (frames === undefined) return end - from;
    const step = frames[from] === NO_FRAME ? 0 : 1;
    let at = from + 1;
    while (at < end && frames[at] === frames[at - 1] + step) at++;
    return at - from;
  }

  /** Sets the frames of pages that have none: `frame` and those that follow it. */
  setRun(page: number, frame: number, count: number): void {
    for (let n = 0; n < count; ) {
      this.set(page + n, frame + n);
      const i = (page + n) % CHUNK;
      const end = Math.min(CHUNK, i + count - n);
      const chunk = this.#chunks.get(Math.floor((page + n) / CHUNK))!;
      for (let at = i + 1; at < end; at++) chunk.frames[at] = frame + n + at - i;
      chunk.used += end - i - 1;
      this.#count += end - i - 1;
      n += end - i;
    }
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
