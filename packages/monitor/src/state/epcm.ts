/**
 * The Enclave Page Cache Map: one entry per EPC frame, in typed arrays that are allocated 16,384 frames at a
 * time when first written. Source: Intel SDM Vol. 3D, "Enclave Page Cache Map (EPCM)".
 */

/** EPCM.R, W, X have SECINFO's bit positions. */
export const EPCM_R = 1 << 0;
export const EPCM_W = 1 << 1;
export const EPCM_X = 1 << 2;
/** EPCM.PENDING, MODIFIED, PR have SECINFO's bit positions too. */
export const EPCM_PENDING = 1 << 3;
export const EPCM_MODIFIED = 1 << 4;
export const EPCM_PR = 1 << 5;
export const EPCM_BLOCKED = 1 << 6;
export const EPCM_VALID = 1 << 7;
/** R | W | X. */
export const EPCM_RWX = EPCM_R | EPCM_W | EPCM_X;
/** EPCM.PT is bits 15:8, as SECINFO.FLAGS.PAGE_TYPE. */
export const EPCM_PT_SHIFT = 8;

/** Place of the rights of the present mapping, beside those of the guest's page table. */
const MAPPED_SHIFT = 4;
const PAGE = 4096;
const CHUNK_BITS = 14;
const CHUNK = 1 << CHUNK_BITS;
const MASK = CHUNK - 1;

/** No SECS: value of `secs()` for a frame that belongs to none. */
export const NO_FRAME = -1;

/** EPCM entries by frame index (0 … frames−1). An entry never written reads as invalid. */
export class Epcm {
  readonly #bits: (Uint16Array | undefined)[] = [];
  readonly #secs: (Int32Array | undefined)[] = [];
  readonly #address: (Float64Array | undefined)[] = [];
  readonly #stamp: (Float64Array | undefined)[] = [];
  /** Page table in bits 2:0, present mapping in bits 6:4. */
  readonly #pte: (Uint8Array | undefined)[] = [];
  #valid = 0;

  /** Frames with VALID = 1. */
  get validCount(): number {
    return this.#valid;
  }

  /** VALID, R, W, X, PT, BLOCKED, PENDING, MODIFIED and PR in one word. */
  bits(frame: number): number {
    const chunk = this.#bits[frame >>> CHUNK_BITS];
    return chunk === undefined ? 0 : chunk[frame & MASK];
  }

  /** EPCM.VALID. */
  valid(frame: number): boolean {
    return (this.bits(frame) & EPCM_VALID) !== 0;
  }

  /** EPCM.PT; 0 (PT_SECS) for an invalid entry, so check VALID first. */
  type(frame: number): number {
    return this.bits(frame) >>> EPCM_PT_SHIFT;
  }

  /** EPCM.ENCLAVESECS: frame of the SECS, or NO_FRAME (for a SECS or version array itself, or an invalid entry). */
  secs(frame: number): number {
    const chunk = this.#secs[frame >>> CHUNK_BITS];
    return chunk === undefined ? NO_FRAME : chunk[frame & MASK];
  }

  /** EPCM.ENCLAVEADDRESS in bytes (page aligned); 0 for a SECS. */
  address(frame: number): number {
    const chunk = this.#address[frame >>> CHUNK_BITS];
    return chunk === undefined ? 0 : chunk[frame & MASK];
  }

  /** Epoch of its enclave in which the page was last blocked or modified (EBLOCK, EMODPR, EMODT); 0 before. */
  stamp(frame: number): number {
    const chunk = this.#stamp[frame >>> CHUNK_BITS];
    return chunk === undefined ? 0 : chunk[frame & MASK];
  }

  /** Sets {@link stamp} of a valid entry. */
  setStamp(frame: number, epoch: number): void {
    const chunk = this.#stamp[frame >>> CHUNK_BITS];
    if (chunk !== undefined) chunk[frame & MASK] = epoch;
  }

  /** What the guest's page table allows on this page: R | W | X; 0 = not present. All of it when the page is new. */
  pte(frame: number): number {
    const chunk = this.#pte[frame >>> CHUNK_BITS];
    return chunk === undefined ? 0 : chunk[frame & MASK] & EPCM_RWX;
  }

  /** Sets {@link pte} of a valid entry. */
  setPte(frame: number, rights: number): void {
    const chunk = this.#pte[frame >>> CHUNK_BITS];
    if (chunk !== undefined) chunk[frame & MASK] = (chunk[frame & MASK] & ~EPCM_RWX) | (rights & EPCM_RWX);
  }

  /** R | W | X that the mapping of this page has in the running enclave; 0 where it is not mapped. */
  mapped(frame: number): number {
    const chunk = this.#pte[frame >>> CHUNK_BITS];
    return chunk === undefined ? 0 : chunk[frame & MASK] >>> MAPPED_SHIFT;
  }

  /** Sets {@link mapped} of a valid entry. */
  setMapped(frame: number, rights: number): void {
    const chunk = this.#pte[frame >>> CHUNK_BITS];
    if (chunk !== undefined)
      chunk[frame & MASK] = (chunk[frame & MASK] & EPCM_RWX) | ((rights & EPCM_RWX) << MAPPED_SHIFT);
  }

  /** Makes the entry valid: `bits` is R/W/X | PT << 8, all other flags 0. */
  fill(frame: number, bits: number, secs: number, address: number): void {
    const c = frame >>> CHUNK_BITS;
    let chunk = this.#bits[c];
    if (chunk === undefined) {
      chunk = new Uint16Array(CHUNK);
      this.#bits[c] = chunk;
      this.#secs[c] = new Int32Array(CHUNK).fill(NO_FRAME);
      this.#address[c] = new Float64Array(CHUNK);
      this.#stamp[c] = new Float64Array(CHUNK);
      this.#pte[c] = new Uint8Array(CHUNK);
    }
    const i = frame & MASK;
    if ((chunk[i] & EPCM_VALID) === 0) this.#valid++;
    chunk[i] = bits | EPCM_VALID;
    this.#secs[c]![i] = secs;
    this.#address[c]![i] = address;
    this.#stamp[c]![i] = 0;
    this.#pte[c]![i] = EPCM_RWX;
  }

  /** How many frames from `frame` on, at most `count`, have VALID = 0. */
  freeRun(frame: number, count: number): number {
    for (let n = 0; n < count; ) {
      const i = (frame + n) & MASK;
      const end = Math.min(CHUNK, i + count - n);
      const chunk = this.#bits[(frame + n) >>> CHUNK_BITS];
      if (chunk !== undefined)
        for (let at = i; at < end; at++) if ((chunk[at] & EPCM_VALID) !== 0) return n + at - i;
      n += end - i;
    }
    return count;
  }

  /**
   * How many frames from `frame` on, at most `count`, are in the state that it is in: flags, page table, mapping and stamp.
   * At least one; a run may end before it has to.
   */
  alikeRun(frame: number, count: number): number {
    const c = frame >>> CHUNK_BITS;
    const bits = this.#bits[c];
    if (bits === undefined) return 1;
    const pte = this.#pte[c]!;
    const stamp = this.#stamp[c]!;
    const from = frame & MASK;
    const end = Math.min(CHUNK, from + count);
    const wantedBits = bits[from];
    const wantedPte = pte[from];
    const wantedStamp = stamp[from];
    let at = from + 1;
    while (at < end && bits[at] === wantedBits && pte[at] === wantedPte && stamp[at] === wantedStamp) at++;
    return at - from;
  }

  /** As {@link fill} for frames that follow one another, over addresses that do. */
  fillRun(frame: number, count: number, bits: number, secs: number, address: number): void {
    for (let n = 0; n < count; ) {
      this.fill(frame + n, bits, secs, address + n * PAGE);
      const c = (frame + n) >>> CHUNK_BITS;
      const i = (frame + n) & MASK;
      const end = Math.min(CHUNK, i + count - n);
      const chunk = this.#bits[c]!;
      for (let at = i + 1; at < end; at++) if ((chunk[at] & EPCM_VALID) === 0) this.#valid++;
      chunk.fill(bits | EPCM_VALID, i, end);
      this.#secs[c]!.fill(secs, i, end);
      this.#stamp[c]!.fill(0, i, end);
      this.#pte[c]!.fill(EPCM_RWX, i, end);
      const addresses = this.#address[c]!;
      for (let at = i + 1; at < end; at++) addresses[at] = addresses[at - 1] + PAGE;
      n += end - i;
    }
  }

  /** {@link setBits} of frames that follow one another. */
  setBitsRun(frame: number, count: number, bits: number): void {
    for (let n = 0; n < count; n++) this.setBits(frame + n, bits);
  }

  /** {@link setMapped} of frames that follow one another. */
  setMappedRun(frame: number, count: number, rights: number): void {
    for (let n = 0; n < count; n++) this.setMapped(frame + n, rights);
  }

  /** Changes flags of a valid entry (never VALID). */
  setBits(frame: number, bits: number): void {
    const chunk = this.#bits[frame >>> CHUNK_BITS];
    if (chunk !== undefined) chunk[frame & MASK] = bits | (chunk[frame & MASK] & EPCM_VALID);
  }

  /** VALID := 0, and everything else with it. */
  clear(frame: number): void {
    const c = frame >>> CHUNK_BITS;
    const chunk = this.#bits[c];
    if (chunk === undefined) return;
    const i = frame & MASK;
    if ((chunk[i] & EPCM_VALID) !== 0) this.#valid--;
    chunk[i] = 0;
    this.#secs[c]![i] = NO_FRAME;
    this.#address[c]![i] = 0;
    this.#stamp[c]![i] = 0;
    this.#pte[c]![i] = 0;
  }
}
