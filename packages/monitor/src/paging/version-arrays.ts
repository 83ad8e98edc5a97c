/** Version arrays: 512 slots in a PT_VA page, each empty (0) or the version of one evicted page. Never visible to anyone. */
import { readU64, writeU64 } from '@nestedsgx/arch';

const PAGE = 4096;
/** Slots of a version array. */
export const VA_SLOTS = 512;
/** First version; EDBGRD masks the low three bits of a slot. */
const FIRST_VERSION = 8;

/** The version arrays of all PT_VA frames, and the counter that versions come from. */
export class VersionArrays {
  readonly #arrays = new Map<number, Float64Array>();
  #next = FIRST_VERSION;

  /** PT_VA frames. */
  get count(): number {
    return this.#arrays.size;
  }

  /** True when the frame has an array. */
  has(frame: number): boolean {
    return this.#arrays.has(frame);
  }

  /** A version that no page had before. */
  newVersion(): number {
    return this.#next++;
  }

  /** An empty array for a frame (EPA). */
  create(frame: number): void {
    this.#arrays.set(frame, new Float64Array(VA_SLOTS));
  }

  /** Forgets a frame's array. */
  drop(frame: number): void {
    this.#arrays.delete(frame);
  }

  /** The version in a slot; 0 when it is empty or there is no such array. */
  get(frame: number, slot: number): number {
    return this.#arrays.get(frame)?.[slot] ?? 0;
  }

  /** Sets a slot. */
  set(frame: number, slot: number, version: number): void {
    const array = this.#arrays.get(frame);
    if (array !== undefined) array[slot] = version;
  }

  /** True when a slot of the frame holds the version. */
  holds(frame: number, version: number): boolean {
    return this.#arrays.get(frame)?.includes(version) ?? false;
  }

  /** The versions in the slots of a frame. */
  held(frame: number): ReadonlySet<number> {
    const held = new Set(this.#arrays.get(frame));
    held.delete(0);
    return held;
  }

  /** The page that EWB encrypts: 512 little-endian u64. */
  page(frame: number): Uint8Array {
    const bytes = new Uint8Array(PAGE);
    this.#arrays.get(frame)?.forEach((version, slot) => {
      writeU64(bytes, slot * 8, BigInt(version));
    });
    return bytes;
  }

  /** The array of a page that ELD verified. */
  load(frame: number, page: Uint8Array): void {
    const array = new Float64Array(VA_SLOTS);
    for (let slot = 0; slot < VA_SLOTS; slot++) array[slot] = Number(readU64(page, slot * 8));
    this.#arrays.set(frame, array);
  }
}
