/** The model: all EPCM entries, and what the leaf functions of the model share. Plain on purpose. */
import { EPC_BASE, FRAMES, frameGpa, OWN_FRAMES, PAGE } from '../layout.js';
import { type Outcome, pf, REFUSED } from './outcome.js';
import type { ModelParameters } from './parameters.js';
import { clear, type Enclave, type Entry, freeEntry, type Sealed } from './state.js';

export const PT = Object.freeze({ SECS: 0, TCS: 1, REG: 2, VA: 3, TRIM: 4 });
export const FLAG = Object.freeze({
  DEBUG: 2,
  MODE64BIT: 4,
  PROVISIONKEY: 0x10,
  EINITTOKEN_KEY: 0x20,
  KSS: 0x80,
});

/** What the model is told and cannot compute: signatures and MACs. */
export interface Oracle {
  /** The SIGSTRUCT that lies at the driver's place for it. */
  sigstruct: {
    fieldsRight: boolean;
    signatureRight: boolean;
    signer: number;
    /** Measurement hash that ENCLAVEHASH stands for (its low bits). */
    hash: number;
    familyIdUsed: boolean;
    attributes: number;
    attributeMask: number;
    miscselect: number;
    miscMask: number;
    isvSvn: number;
  };
  /** The EINITTOKEN that lies at the driver's place for it. */
  token: {
    valid: boolean;
    debugLauncher: boolean;
    reservedZero: boolean;
    cpuSvnRight: boolean;
    macRight: boolean;
    hash: number;
    signer: number;
    attributes: number;
  };
}

/** A write to guest memory that the model expects. `bytes` null: contents that it cannot compute. */
export interface Write {
  gpa: number;
  length: number;
  bytes: Uint8Array | null;
}

/** Bytes of an enclave page whose contents only keys decide: a report, a key. */
export interface Output {
  entry: Entry;
  at: number;
  length: number;
}

/** Pages for contents, used again with the next model: most of what a sequence allocates. */
export class PagePool {
  readonly #pages: Uint8Array[] = [];
  #used = 0;

  /** A page of zeros, or a copy of `from`. */
  take(from?: Uint8Array): Uint8Array {
    const page = this.#pages[this.#used] ?? new Uint8Array(PAGE);
    this.#pages[this.#used++] = page;
    if (from === undefined) page.fill(0);
    else page.set(from);
    return page;
  }

  /** All pages are free again. */
  reset(): void {
    this.#used = 0;
  }
}

/** EPCM, enclaves, threads. */
export class Model {
  readonly p: ModelParameters;
  readonly frames: Entry[] = [];
  /** Enclaves whose SECS is in the EPC, or evicted and not lost. */
  readonly enclaves: Enclave[] = [];
  readonly ram: Uint8Array;
  readonly mayAccess: (gpa: number, length: number, write: boolean) => boolean;
  readonly oracle: Oracle;
  readonly pages: PagePool;
  /** Guest writes of the last leaf. */
  writes: Write[] = [];
  /** What the last leaf wrote into enclave pages and the model cannot compute. */
  outputs: Output[] = [];
  /** The next thing asked of the processor fails for want of resources. */
  refuse: 'memory' | 'start' | 'write' | null = null;
  nextEid = 1;
  /** What the last EWB sealed. Its cipher text and MAC are unknown until the driver has seen them. */
  lastSealed: Sealed | null = null;
  readonly noCipher = new Uint8Array(0);
  #entries = 0;

  constructor(
    p: ModelParameters,
    ram: Uint8Array,
    mayAccess: (gpa: number, length: number, write: boolean) => boolean,
    oracle: Oracle,
    pages = new PagePool(),
  ) {
    this.p = p;
    this.ram = ram;
    this.mayAccess = mayAccess;
    this.oracle = oracle;
    this.pages = pages;
    pages.reset();
    for (let i = 0; i < FRAMES; i++) this.frames.push(freeEntry());
  }

  /** "Does not resolve within an EPC": the fault, the refusal of a foreign frame, or null. */
  notMine(address: number): Outcome | null {
    const frame = this.frameOf(address);
    if (frame < 0 || frame >= FRAMES) return pf(address);
    return this.p.ownership && frame >= OWN_FRAMES ? REFUSED : null;
  }

  frameOf(address: number): number {
    return Math.floor((address - EPC_BASE) / PAGE);
  }

  /** EPCM(address). */
  epcm(address: number): Entry {
    return this.frames[this.frameOf(address)];
  }

  /** Bytes of guest memory, or null where reading them faults. The view is valid during one leaf. */
  read(address: number, length: number): Uint8Array | null {
    return this.mayAccess(address, length, false) ? this.ram.subarray(address, address + length) : null;
  }

  /** The frame that holds a linear address of an enclave, or null. */
  pageAt(enclave: Enclave, address: number): Entry | null {
    for (const entry of this.frames)
      if (entry.valid && entry.enclave === enclave && entry.type !== PT.SECS && entry.address === address)
        return entry;
    return null;
  }

  children(enclave: Enclave): number {
    let n = 0;
    for (const entry of this.frames)
      if (entry.valid && entry.enclave === enclave && entry.type !== PT.SECS) n++;
    return n;
  }

  /** Entries of threads that are inside now. */
  inside(enclave: Enclave): number[] {
    const out: number[] = [];
    for (const entry of this.frames)
      if (entry.enclave === enclave && entry.inside !== 0) out.push(entry.inside);
    return out;
  }

  /** A number for an entry that begins now. */
  newEntry(): number {
    return ++this.#entries;
  }

  /** "Tracking is correct": an ETRACK came since, and everybody who was inside then has left. */
  tracked(entry: Entry): boolean {
    if (entry.stale) return false;
    if (entry.waitFor.length === 0 || entry.enclave === null) return true;
    const inside = this.inside(entry.enclave);
    return !entry.waitFor.some((n) => inside.includes(n));
  }

  /** A thread's rights to a page may have been cached until now. */
  touch(entry: Entry): void {
    entry.stale = true;
  }

  remove(entry: Entry): void {
    clear(entry);
  }

  /** SECS.ENCLAVECONTEXT: on this platform the gPA of the SECS. */
  contextOf(enclave: Enclave): number {
    return frameGpa(enclave.frame);
  }

  /** The enclave ends with its SECS. */
  forget(enclave: Enclave): void {
    const at = this.enclaves.indexOf(enclave);
    if (at >= 0) this.enclaves.splice(at, 1);
  }
}

export function aligned(address: number, to: number): boolean {
  return address % to === 0;
}

/** A little-endian u64; NaN where it is no address (2^53 or more), which is aligned to nothing. */
export function u64(bytes: Uint8Array, at: number): number {
  const low = u32(bytes, at);
  const high = u32(bytes, at + 4);
  return high > 0x1f_ffff ? Number.NaN : high * 0x1_0000_0000 + low;
}

export function u32(b: Uint8Array, at: number): number {
  return (b[at] | (b[at + 1] << 8) | (b[at + 2] << 16) | (b[at + 3] << 24)) >>> 0;
}

export function u16(b: Uint8Array, at: number): number {
  return b[at] | (b[at + 1] << 8);
}

export function zero(b: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (b[i] !== 0) return false;
  return true;
}

/** SECINFO as the leaves use it. */
export interface Secinfo {
  r: boolean;
  w: boolean;
  x: boolean;
  pending: boolean;
  modified: boolean;
  pr: boolean;
  type: number;
  reservedZero: boolean;
}

/** Decodes 64 bytes of SECINFO. */
export function secinfo(b: Uint8Array): Secinfo {
  return {
    r: (b[0] & 1) !== 0,
    w: (b[0] & 2) !== 0,
    x: (b[0] & 4) !== 0,
    pending: (b[0] & 8) !== 0,
    modified: (b[0] & 16) !== 0,
    pr: (b[0] & 32) !== 0,
    type: b[1],
    reservedZero: (b[0] & 0xc0) === 0 && zero(b, 2, 64),
  };
}

/** The running hash that stands for SHA-256 in measurements: words are mixed in one by one. */
export function mix(hash: number, bytes: Uint8Array, from = 0, to = bytes.length): number {
  let h = hash;
  for (let i = from; i < to; i += 4) {
    h = Math.imul(h ^ u32(bytes, i), 0x9e37_79b1);
    h ^= h >>> 15;
  }
  return h;
}

/** {@link mix} of numbers. */
export function mixNumbers(hash: number, ...numbers: number[]): number {
  let h = hash;
  for (const n of numbers) {
    h = Math.imul(h ^ ((n % 0x1_0000_0000) | 0), 0x9e37_79b1);
    h ^= h >>> 15;
  }
  return h;
}

/** The part of a measurement's hash that ENCLAVEHASH carries: few values, so that few SIGSTRUCTs need signing. */
export function hashTag(hash: number): number {
  return hash & 7;
}
