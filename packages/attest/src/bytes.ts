import { AttestError, type AttestErrorCode } from './errors.js';

const HEX = Array.from({ length: 256 }, (_, value) => value.toString(16).padStart(2, '0'));

/** Lower-case hexadecimal of `bytes`, without a prefix. */
export function toHex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += HEX[byte];
  return text;
}

/** The bytes written as hexadecimal (either case, even length), or null when `text` is not that. */
export function fromHex(text: string): Uint8Array<ArrayBuffer> | null {
  if (text.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(text)) return null;
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

/** True when both hold the same bytes. Evidence is public, so the time taken may depend on content. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** True when every byte is zero (also for no bytes). */
export function allZero(bytes: Uint8Array): boolean {
  for (const byte of bytes) if (byte !== 0) return false;
  return true;
}

/** All parts in a row, in a new array. */
export function concatBytes(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  let length = 0;
  for (const part of parts) length += part.length;
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** A private copy: what was checked is what is used, whatever the caller does to its buffer. */
export function copyBytes(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(bytes.length);
  copy.set(bytes);
  return copy;
}

/** ASCII text up to the zero padding, or null if the bytes are not printable ASCII padded with zeros. */
export function paddedAscii(bytes: Uint8Array): string | null {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  let text = '';
  for (let i = 0; i < end; i++) {
    const byte = bytes[i]!;
    if (byte < 0x20 || byte > 0x7e) return null;
    text += String.fromCharCode(byte);
  }
  return text;
}

/**
 * A cursor over little-endian structures that never reads outside its bytes.
 * Every read names what it reads, so that a short input is reported as "the … is cut short".
 * @throws AttestError with the code given to the constructor
 */
export class Reader {
  readonly #view: DataView;
  #at = 0;

  constructor(
    readonly bytes: Uint8Array,
    readonly what: string,
    readonly code: AttestErrorCode = 'EVIDENCE_MALFORMED',
  ) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get at(): number {
    return this.#at;
  }

  get remaining(): number {
    return this.bytes.length - this.#at;
  }

  /** The next `length` bytes, copied. */
  take(length: number, field: string): Uint8Array<ArrayBuffer> {
    const at = this.#advance(length, field);
    return copyBytes(this.bytes.subarray(at, at + length));
  }

  /** The next `length` bytes as a view: for readers over a private copy. */
  view(length: number, field: string): Uint8Array {
    const at = this.#advance(length, field);
    return this.bytes.subarray(at, at + length);
  }

  u8(field: string): number {
    return this.#view.getUint8(this.#advance(1, field));
  }

  u16(field: string): number {
    return this.#view.getUint16(this.#advance(2, field), true);
  }

  u32(field: string): number {
    return this.#view.getUint32(this.#advance(4, field), true);
  }

  u64(field: string): bigint {
    return this.#view.getBigUint64(this.#advance(8, field), true);
  }

  /** @throws AttestError when bytes are left */
  end(): void {
    if (this.remaining !== 0) this.fail(`has ${this.remaining} bytes too many after offset ${this.#at}`);
  }

  fail(reason: string): never {
    throw new AttestError(this.code, `The ${this.what} ${reason}.`);
  }

  #advance(length: number, field: string): number {
    if (length > this.remaining) {
      this.fail(
        `is cut short: ${field} needs ${length} bytes at offset ${this.#at}, ${this.remaining} are left`,
      );
    }
    const at = this.#at;
    this.#at += length;
    return at;
  }
}
