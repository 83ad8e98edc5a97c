/** The frames that can be reclaimed: which page each holds, and lists by age. */
import type { SgxEnclaveFile } from '../enclave-file.js';

const PAGE = 4096;
const NONE = -1;

/** Lists a frame can be in. */
export const LIST = Object.freeze({ NONE: 0, ACTIVE: 1, HOT: 2, AGED: 3 } as const);

/** Doubly linked lists over frame numbers, oldest first. */
export class FrameList {
  readonly #first: number;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  readonly #list: Uint8Array;
  readonly #page: Int32Array;
  readonly #file: Uint32Array;
  readonly #files: (SgxEnclaveFile | undefined)[] = [];
  readonly #numbers = new Map<SgxEnclaveFile, number>();
  readonly #heads = [NONE, NONE, NONE, NONE];
  readonly #tails = [NONE, NONE, NONE, NONE];
  readonly #lengths = [0, 0, 0, 0];

  /** @param first gPA of frame 0; @param count frames */
  constructor(first: number, count: number) {
    this.#first = first;
    this.#next = new Int32Array(count);
    this.#previous = new Int32Array(count);
    this.#list = new Uint8Array(count);
    this.#page = new Int32Array(count);
    this.#file = new Uint32Array(count);
  }

  /** Frames in a list. */
  length(list: number): number {
    return this.#lengths[list];
  }

  /** Oldest frame of a list, −1 when it is empty. */
  oldest(list: number): number {
    return this.#heads[list];
  }

  /** Frame that follows in the same list, −1 at the end. */
  next(frame: number): number {
    return this.#next[frame];
  }

  /** The list that a frame is in. */
  list(frame: number): number {
    return this.#list[frame];
  }

  /** Enclave whose page the frame holds. */
  file(frame: number): SgxEnclaveFile {
    return this.#files[this.#file[frame]] as SgxEnclaveFile;
  }

  /** Offset of the page that the frame holds. */
  offset(frame: number): number {
    return this.#page[frame] * PAGE;
  }

  gpa(frame: number): number {
    return this.#first + frame * PAGE;
  }

  /** Enters a page as the youngest of a list. */
  add(gpa: number, file: SgxEnclaveFile, offset: number, list: number = LIST.ACTIVE): void {
    const frame = (gpa - this.#first) / PAGE;
    if (this.#list[frame] !== LIST.NONE) this.#unlink(frame);
    let number = this.#numbers.get(file);
    if (number === undefined) {
      number = this.#files.indexOf(undefined);
      if (number < 0) number = this.#files.length;
      this.#files[number] = file;
      this.#numbers.set(file, number);
    }
    this.#file[frame] = number;
    this.#page[frame] = offset / PAGE;
    this.#append(frame, list);
  }

  /** Makes a frame the youngest of a list. */
  move(frame: number, list: number): void {
    this.#unlink(frame);
    this.#append(frame, list);
  }

  /** Makes the frame of a page the youngest of a list. */
  moveGpa(gpa: number, list: number): void {
    this.move((gpa - this.#first) / PAGE, list);
  }

  /** Forgets a frame. */
  remove(gpa: number): void {
    const frame = (gpa - this.#first) / PAGE;
    if (this.#list[frame] !== LIST.NONE) this.#unlink(frame);
  }

  /** Forgets an enclave; its frames have been removed before. */
  forget(file: SgxEnclaveFile): void {
    const number = this.#numbers.get(file);
    if (number === undefined) return;
    this.#files[number] = undefined;
    this.#numbers.delete(file);
  }

  #append(frame: number, list: number): void {
    const tail = this.#tails[list];
    this.#previous[frame] = tail;
    this.#next[frame] = NONE;
    if (tail === NONE) this.#heads[list] = frame;
    else this.#next[tail] = frame;
    this.#tails[list] = frame;
    this.#list[frame] = list;
    this.#lengths[list]++;
  }

  #unlink(frame: number): void {
    const list = this.#list[frame];
    const before = this.#previous[frame];
    const after = this.#next[frame];
    if (before === NONE) this.#heads[list] = after;
    else this.#next[before] = after;
    if (after === NONE) this.#tails[list] = before;
    else this.#previous[after] = before;
    this.#list[frame] = LIST.NONE;
    this.#lengths[list]--;
  }
}
