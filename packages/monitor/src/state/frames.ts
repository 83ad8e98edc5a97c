/**
 * Which guest-physical pages are EPC, their frame indices, and to which connection each belongs. Frames below
 * `regular` are the EPC range; above them are pages of guest RAM deposited later.
 */
import { MonitorError } from '../errors.js';

/** `resolve` of an address outside the EPC. */
export const NOT_EPC = -1;
/** `resolve` of EPC that belongs to another connection. */
export const FOREIGN = -2;

const PAGE = 4096;

/** Frames of one connection: a range of the EPC, and what it deposited. */
export interface FrameOwner {
  readonly id: number;
  readonly first: number;
  readonly count: number;
}

/** Frame indices and their owners. */
export class FrameSpace {
  /** gPA of frame 0. */
  readonly base: number;
  /** Frames of the EPC range. */
  readonly regular: number;
  readonly #deposited = new Map<number, number>();
  readonly #depositGpa: number[] = [];
  readonly #depositOwner: number[] = [];
  readonly #freeSlots: number[] = [];

  constructor(base: number, bytes: number) {
    if (base % PAGE !== 0 || bytes % PAGE !== 0 || bytes < 0 || !Number.isSafeInteger(base + bytes))
      throw new MonitorError('MONITOR_CONFIG', `EPC 0x${base.toString(16)}+${bytes} is not a range of pages`);
    this.base = base;
    this.regular = bytes / PAGE;
  }

  /** All indices in use are below this. */
  get limit(): number {
    return this.regular + this.#depositGpa.length;
  }

  /** Pages of guest RAM that are EPC now. */
  get depositedCount(): number {
    return this.#deposited.size;
  }

  /** Frame of the page that holds `gpa`, or NOT_EPC, or FOREIGN. */
  resolve(owner: FrameOwner, gpa: number): number {
    const frame = Math.floor((gpa - this.base) / PAGE);
    if (frame >= 0 && frame < this.regular)
      return frame >= owner.first && frame < owner.first + owner.count ? frame : FOREIGN;
    if (this.#deposited.size === 0) return NOT_EPC;
    const slot = this.#deposited.get(gpa - (gpa % PAGE));
    if (slot === undefined) return NOT_EPC;
    return this.#depositOwner[slot] === owner.id ? this.regular + slot : FOREIGN;
  }

  /** How many frames from `frame` on, at most `count`, have guest-physical addresses that follow one another. At least one. */
  adjacent(frame: number, count: number): number {
    return frame < this.regular ? Math.min(count, this.regular - frame) : 1;
  }

  /** As {@link adjacent} of those that are `owner`'s, as `frame` is. */
  owned(owner: FrameOwner, frame: number, count: number): number {
    return frame < this.regular ? Math.min(count, owner.first + owner.count - frame) : 1;
  }

  /** True when the page is EPC, whoever owns it. */
  isEpc(gpa: number): boolean {
    const frame = Math.floor((gpa - this.base) / PAGE);
    return (frame >= 0 && frame < this.regular) || this.#deposited.has(gpa - (gpa % PAGE));
  }

  /** gPA of a frame. */
  gpa(frame: number): number {
    return frame < this.regular ? this.base + frame * PAGE : this.#depositGpa[frame - this.regular];
  }

  /** Makes a page of RAM a frame of `owner`; returns its index. The caller checked that it is none yet. */
  deposit(ownerId: number, gpa: number): number {
    const slot = this.#freeSlots.pop() ?? this.#depositGpa.length;
    this.#depositGpa[slot] = gpa;
    this.#depositOwner[slot] = ownerId;
    this.#deposited.set(gpa, slot);
    return this.regular + slot;
  }

  /** Forgets a deposited frame and returns its gPA. */
  withdraw(frame: number): number {
    const slot = frame - this.regular;
    const gpa = this.#depositGpa[slot];
    this.#deposited.delete(gpa);
    this.#depositOwner[slot] = -1;
    this.#freeSlots.push(slot);
    return gpa;
  }

  /** Frames that `ownerId` deposited. */
  depositsOf(ownerId: number): number[] {
    const out: number[] = [];
    for (const slot of this.#deposited.values())
      if (this.#depositOwner[slot] === ownerId) out.push(this.regular + slot);
    return out;
  }
}
