/** The EPC frames that the confidential VM lets one connection use; the monitor checks ownership again on every leaf. */
import { guestError } from './errors.js';

/** A run of consecutive frames: guest-physical address of the first one, and their number. */
export interface FrameRun {
  gpa: number;
  count: number;
}

const PAGE = 4096;

/** First-fit allocator of EPC frames that hands out runs as long as it can. */
export class EpcFrames {
  readonly first: number;
  readonly count: number;
  readonly #runs: { frame: number; count: number }[];
  readonly #used: Uint8Array;
  #free: number;

  /** @param first guest-physical address of the first frame; @param count number of frames */
  constructor(first: number, count: number) {
    if (first % PAGE !== 0 || !Number.isSafeInteger(first) || count <= 0 || count > 2 ** 28)
      throw guestError('GUEST_PROTOCOL', `EPC range ${first}+${count} frames is not usable`);
    this.first = first;
    this.count = count;
    this.#runs = [{ frame: 0, count }];
    this.#used = new Uint8Array(count);
    this.#free = count;
  }

  /** Frames not in use. */
  get free(): number {
    return this.#free;
  }

  /**
   * Takes up to `wanted` consecutive frames and at least one.
   * @throws EPC_EXHAUSTED when none is left
   */
  take(wanted: number): FrameRun {
    let index = this.#runs.findIndex((run) => run.count >= wanted);
    if (index < 0) {
      index = 0;
      for (let i = 1; i < this.#runs.length; i++)
        if (this.#runs[i].count > this.#runs[index].count) index = i;
    }
    const run = this.#runs[index];
    if (run === undefined)
      throw guestError(
        'EPC_EXHAUSTED',
        `all ${this.count} EPC pages of this connection are in use`,
        'close enclaves that are no longer needed, or start the confidential VM with a larger EPC',
      );
    const count = Math.min(run.count, wanted);
    const gpa = this.first + run.frame * PAGE;
    this.#used.fill(1, run.frame, run.frame + count);
    run.frame += count;
    run.count -= count;
    if (run.count === 0) this.#runs.splice(index, 1);
    this.#free -= count;
    return { gpa, count };
  }

  /**
   * Gives frames back.
   * @throws GUEST_MEMORY_BAD_FREE when one of them is not in use
   */
  give(gpa: number, count: number): void {
    const frame = (gpa - this.first) / PAGE;
    if (!Number.isInteger(frame) || frame < 0 || count <= 0 || frame + count > this.count)
      throw guestError('GUEST_MEMORY_BAD_FREE', `EPC frame ${gpa.toString(16)} is not of this connection`);
    for (let i = frame; i < frame + count; i++)
      if (this.#used[i] === 0)
        throw guestError(
          'GUEST_MEMORY_BAD_FREE',
          `EPC frame ${(this.first + i * PAGE).toString(16)} is not in use`,
        );
    this.#used.fill(0, frame, frame + count);
    this.#free += count;
    let low = 0;
    let high = this.#runs.length;
    while (low < high) {
      const mid = (low + high) >>> 1;
      if (this.#runs[mid].frame < frame) low = mid + 1;
      else high = mid;
    }
    const left = this.#runs[low - 1];
    const right = this.#runs[low];
    const joinsLeft = left !== undefined && left.frame + left.count === frame;
    const joinsRight = right !== undefined && frame + count === right.frame;
    if (joinsLeft && joinsRight) {
      left.count += count + right.count;
      this.#runs.splice(low, 1);
    } else if (joinsLeft) left.count += count;
    else if (joinsRight) {
      right.frame = frame;
      right.count += count;
    } else this.#runs.splice(low, 0, { frame, count });
  }
}
