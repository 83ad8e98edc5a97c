/**
 * An independent model of EPCM and enclave life cycle: objects in an array, one function for each leaf, written
 * from the manual's text and not from the monitor. Slow and plain on purpose.
 */

export interface ModelPage {
  type: 'SECS' | 'TCS' | 'REG';
  /** Frame of the SECS (for a SECS its own). */
  secs: number;
  address: number;
  r: boolean;
  w: boolean;
  x: boolean;
  /** SECS only. */
  initialized: boolean;
  base: number;
  size: number;
}

/** `ok`, a code in RAX, or the vector of a fault; `refused` for frames of somebody else. */
export type ModelResult = 'ok' | 'gp' | 'pf' | 'refused' | number;

export class Model {
  readonly frames: (ModelPage | null)[];
  readonly owned: number;

  constructor(frames: number, owned: number) {
    this.frames = new Array(frames).fill(null);
    this.owned = owned;
  }

  #where(frame: number): 'pf' | 'refused' | 'here' {
    if (frame < 0 || frame >= this.frames.length) return 'pf';
    return frame < this.owned ? 'here' : 'refused';
  }

  ecreate(frame: number, base: number, size: number): ModelResult {
    const where = this.#where(frame);
    if (where !== 'here') return where;
    if (this.frames[frame] !== null) return 'pf';
    if (size < 8192 || (size & (size - 1)) !== 0 || base % size !== 0) return 'gp';
    this.frames[frame] = {
      type: 'SECS',
      secs: frame,
      address: 0,
      r: false,
      w: false,
      x: false,
      initialized: false,
      base,
      size,
    };
    return 'ok';
  }

  eadd(frame: number, secs: number, address: number, type: 'TCS' | 'REG' | 'VA', rwx: number): ModelResult {
    const where = this.#where(frame);
    if (where !== 'here') return where;
    if (address % 4096 !== 0) return 'gp';
    const secsWhere = this.#where(secs);
    if (secsWhere !== 'here') return secsWhere;
    if (type === 'VA') return 'gp';
    if (this.frames[frame] !== null) return 'pf';
    const parent = this.frames[secs];
    if (parent === null || parent.type !== 'SECS') return 'pf';
    if (type === 'REG' && (rwx & 3) === 2) return 'gp';
    if (address < parent.base || address >= parent.base + parent.size) return 'gp';
    if (parent.initialized) return 'gp';
    if (this.frames.some((p) => p !== null && p.type !== 'SECS' && p.secs === secs && p.address === address))
      return 'gp';
    const rights = type === 'TCS' ? 0 : rwx;
    this.frames[frame] = {
      type,
      secs,
      address,
      r: (rights & 1) !== 0,
      w: (rights & 2) !== 0,
      x: (rights & 4) !== 0,
      initialized: false,
      base: 0,
      size: 0,
    };
    return 'ok';
  }

  eextend(secs: number, frame: number): ModelResult {
    const secsWhere = this.#where(secs);
    if (secsWhere !== 'here') return secsWhere;
    const where = this.#where(frame);
    if (where !== 'here') return where;
    const page = this.frames[frame];
    if (page === null || page.type === 'SECS') return 'pf';
    if (page.secs !== secs) return 'gp';
    return this.frames[secs]!.initialized ? 'gp' : 'ok';
  }

  einit(secs: number, goodHash: boolean): ModelResult {
    const where = this.#where(secs);
    if (where !== 'here') return where;
    const page = this.frames[secs];
    if (page === null || page.type !== 'SECS') return 'pf';
    if (page.initialized) return 'gp';
    if (!goodHash) return 4;
    page.initialized = true;
    return 'ok';
  }

  eremove(frame: number, threadsInside: boolean): ModelResult {
    const where = this.#where(frame);
    if (where !== 'here') return where;
    const page = this.frames[frame];
    if (page === null) return 'ok';
    if (page.type === 'SECS') {
      if (this.frames.some((p) => p !== null && p !== page && p.secs === frame)) return 13;
    } else if (threadsInside && this.frames[page.secs]!.initialized) return 14;
    this.frames[frame] = null;
    return 'ok';
  }
}
