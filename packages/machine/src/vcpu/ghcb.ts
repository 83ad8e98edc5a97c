/**
 * One copy of a guest's GHCB page, checked field by field (AMD 56421, "GHCB Layout"). The page itself is
 * shared memory that the guest can change at any time; nothing is read from it twice.
 */
import { GHCB } from '@nestedsgx/arch';
import { MachineError } from '../errors.js';

const AT = GHCB.offsets;
/** Bytes of a GHCB. */
export const GHCB_BYTES = GHCB.size;
/** Protocol versions the machine speaks: SNP guests need 2. */
export const GHCB_VERSION = 2;

/** SW_EXITINFO1 of an answer. */
export const GHCB_RESULT = Object.freeze({ NO_ACTION: 0, ISSUE_EXCEPTION: 1, MALFORMED_INPUT: 2 });

/** SW_EXITINFO2 with MALFORMED_INPUT: what is wrong. */
export const GHCB_REASON = Object.freeze({
  NOT_REGISTERED: 1,
  INVALID_USAGE: 2,
  INVALID_SCRATCH: 3,
  MISSING_INPUT: 4,
  INVALID_INPUT: 5,
  INVALID_EVENT: 6,
});

/** Quadword fields of a GHCB that VALID_BITMAP covers. */
export type GhcbField =
  | 'RAX'
  | 'RCX'
  | 'RDX'
  | 'R8'
  | 'R9'
  | 'SW_EXITCODE'
  | 'SW_EXITINFO1'
  | 'SW_EXITINFO2'
  | 'SW_SCRATCH';

/** A private copy of a GHCB page, reusable for the next exit. */
export class Ghcb {
  /** The 4096 bytes. */
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  /** Takes ownership of `bytes`. Throws GHCB_LENGTH. */
  constructor(bytes: Uint8Array = new Uint8Array(GHCB_BYTES)) {
    if (bytes.length !== GHCB_BYTES) {
      throw new MachineError('GHCB_LENGTH', `a GHCB has ${GHCB_BYTES} bytes, not ${bytes.length}`);
    }
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, GHCB_BYTES);
  }

  /** A copy of `bytes`. Throws GHCB_LENGTH. */
  static copyFrom(bytes: Uint8Array): Ghcb {
    return new Ghcb(Uint8Array.prototype.slice.call(bytes));
  }

  /** True when the guest marked the field as valid. */
  has(field: GhcbField): boolean {
    const bit = AT[field] >>> 3;
    return ((this.bytes[AT.VALID_BITMAP + (bit >>> 3)] >>> (bit & 7)) & 1) === 1;
  }

  /** Low 32 bits. */
  low(field: GhcbField): number {
    return this.#view.getUint32(AT[field], true);
  }

  /** High 32 bits. */
  high(field: GhcbField): number {
    return this.#view.getUint32(AT[field] + 4, true);
  }

  /** The value as a number: exact below 2^53; above that no safe integer, which every address check refuses. */
  number(field: GhcbField): number {
    return this.high(field) * 0x1_0000_0000 + this.low(field);
  }

  /** The exact value. */
  big(field: GhcbField): bigint {
    return this.#view.getBigUint64(AT[field], true);
  }

  /** What is wrong with version or usage (a {@link GHCB_REASON}), or 0. */
  headerProblem(): number {
    if (this.#view.getUint16(AT.PROTOCOL_VERSION, true) !== GHCB_VERSION) return GHCB_REASON.INVALID_USAGE;
    if (this.#view.getUint32(AT.GHCB_USAGE, true) !== 0) return GHCB_REASON.INVALID_USAGE;
    return this.has('SW_EXITCODE') && this.has('SW_EXITINFO1') && this.has('SW_EXITINFO2')
      ? 0
      : GHCB_REASON.MISSING_INPUT;
  }

  /** The part of the shared buffer at SW_SCRATCH, or undefined when it does not lie inside this GHCB. */
  scratch(ghcbGpa: number, length: number): Uint8Array | undefined {
    if (!this.has('SW_SCRATCH')) return undefined;
    const offset = this.number('SW_SCRATCH') - ghcbGpa;
    const end = AT.SHARED_BUFFER + 0x7f0;
    if (!(offset >= AT.SHARED_BUFFER && offset + length <= end)) return undefined;
    return this.bytes.subarray(offset, end);
  }

  /** Starts the answer: no field is valid but those set from here on. */
  clear(): void {
    this.bytes.fill(0, AT.VALID_BITMAP, AT.VALID_BITMAP + 16);
  }

  /** Sets a field of the answer and marks it valid. Numbers must be safe integers ≥ 0; bigints are cut to 64 bits. */
  set(field: GhcbField, value: number | bigint): void {
    if (typeof value === 'bigint') this.#view.setBigUint64(AT[field], value & 0xffff_ffff_ffff_ffffn, true);
    else {
      this.#view.setUint32(AT[field], value >>> 0, true);
      this.#view.setUint32(AT[field] + 4, Math.floor(value / 0x1_0000_0000), true);
    }
    const bit = AT[field] >>> 3;
    this.bytes[AT.VALID_BITMAP + (bit >>> 3)] |= 1 << (bit & 7);
  }

  /** Result fields of a machine-level exit. */
  result(info1: number, info2: number): void {
    this.clear();
    this.set('SW_EXITINFO1', info1);
    this.set('SW_EXITINFO2', info2);
  }
}

/** The bytes of a GHCB that an answer may change: registers, exit fields, bitmap; and the shared buffer. */
export const GHCB_ANSWER = Object.freeze({ from: AT.RAX, to: AT.VALID_BITMAP + 16 });
