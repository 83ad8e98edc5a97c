/**
 * A strict reader of DER (ITU-T X.690): definite minimal lengths, single-byte tags, no trailing bytes.
 * What DER forbids is refused, so that one certificate has one encoding.
 */
import { calendarTime } from '../calendar.js';
import { AttestError, type AttestErrorCode } from '../errors.js';

/** Tags used in certificates and CRLs. */
export const TAG = Object.freeze({
  BOOLEAN: 0x01,
  INTEGER: 0x02,
  BIT_STRING: 0x03,
  OCTET_STRING: 0x04,
  NULL: 0x05,
  OID: 0x06,
  ENUMERATED: 0x0a,
  UTF8_STRING: 0x0c,
  PRINTABLE_STRING: 0x13,
  T61_STRING: 0x14,
  IA5_STRING: 0x16,
  UTC_TIME: 0x17,
  GENERALIZED_TIME: 0x18,
  BMP_STRING: 0x1e,
  SEQUENCE: 0x30,
  SET: 0x31,
} as const);

/** One element: its tag, its contents, and its whole encoding (views into the input, made when asked for). */
export class DerElement {
  constructor(
    readonly tag: number,
    readonly bytes: Uint8Array,
    readonly start: number,
    readonly inside: number,
    readonly end: number,
  ) {}

  get contents(): Uint8Array {
    return this.bytes.subarray(this.inside, this.end);
  }

  get encoding(): Uint8Array {
    return this.bytes.subarray(this.start, this.end);
  }
}

/** @throws AttestError always */
export function derFailure(reason: string, code: AttestErrorCode = 'CERTIFICATE_MALFORMED'): never {
  throw new AttestError(code, `The DER encoding is invalid: ${reason}.`);
}

/** Walks the elements inside one constructed value: `bytes` from `start` to `end`. */
export class DerReader {
  #at: number;
  readonly #bytes: Uint8Array;
  readonly #end: number;

  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  get done(): boolean {
    return this.#at === this.#end;
  }

  /** The tag of the next element, or -1 at the end. */
  peek(): number {
    return this.done ? -1 : this.#bytes[this.#at]!;
  }

  /** The next element, of any tag. @throws AttestError on anything but DER */
  any(): DerElement {
    const bytes = this.#bytes;
    const start = this.#at;
    const left = this.#end - start;
    if (left < 2) derFailure(`an element needs 2 bytes, ${left} are left`);
    const tag = bytes[start]!;
    if ((tag & 0x1f) === 0x1f) derFailure(`tag 0x${tag.toString(16)} has more than one byte`);
    let length = bytes[start + 1]!;
    let header = 2;
    if (length === 0x80) derFailure('a length is indefinite');
    if (length > 0x80) {
      const count = length & 0x7f;
      if (count > 3 || left < 2 + count) derFailure(`a length of ${count} bytes does not fit`);
      length = 0;
      for (let i = 0; i < count; i++) length = length * 256 + bytes[start + 2 + i]!;
      if (length < 0x80 || length < 2 ** (8 * (count - 1))) derFailure('a length is not minimal');
      header += count;
    }
    if (length > left - header) derFailure(`an element of ${length} bytes exceeds the ${left - header} left`);
    this.#at = start + header + length;
    return new DerElement(tag, bytes, start, start + header, this.#at);
  }

  /** The next element, which must carry `tag`. @throws AttestError */
  expect(tag: number, what: string): DerElement {
    if (this.done) derFailure(`${what} is missing`);
    const element = this.any();
    if (element.tag !== tag) {
      derFailure(`${what} has tag 0x${element.tag.toString(16)} instead of 0x${tag.toString(16)}`);
    }
    return element;
  }

  /** The elements inside the next element, which must carry `tag`. @throws AttestError */
  enter(tag: number, what: string): DerReader {
    const element = this.expect(tag, what);
    return new DerReader(element.bytes, element.inside, element.end);
  }

  /** The next element if it carries `tag`, else null. @throws AttestError */
  optional(tag: number): DerElement | null {
    return this.peek() === tag ? this.any() : null;
  }

  /** @throws AttestError when elements are left */
  end(what: string): void {
    if (!this.done) derFailure(`${what} has ${this.#end - this.#at} bytes too many`);
  }
}

/** Dotted form of an OBJECT IDENTIFIER's contents. @throws AttestError */
export function oidText(contents: Uint8Array): string {
  if (contents.length === 0 || contents.length > 32) derFailure('an object identifier has a wrong length');
  let text = '';
  let value = 0;
  let fresh = true;
  for (const byte of contents) {
    if (fresh && byte === 0x80) derFailure('an object identifier is not minimal');
    value = value * 128 + (byte & 0x7f);
    if (value > 0xffff_ffff) derFailure('an object identifier has an arc above 32 bits');
    fresh = (byte & 0x80) === 0;
    if (fresh) {
      if (text === '') {
        const root = value < 40 ? 0 : value < 80 ? 1 : 2;
        text = `${root}.${value - 40 * root}`;
      } else text += `.${value}`;
      value = 0;
    }
  }
  if (!fresh) derFailure('an object identifier is cut short');
  return text;
}

/** Contents of an INTEGER as magnitude, most significant byte first, no leading zero. @throws AttestError if negative */
export function unsignedInteger(contents: Uint8Array, what: string): Uint8Array {
  const first = contents[0];
  if (first === undefined) derFailure(`${what} is empty`);
  if (first >= 0x80) derFailure(`${what} is negative`);
  if (contents.length === 1) return contents;
  if (first === 0) {
    if (contents[1]! < 0x80) derFailure(`${what} is not minimal`);
    return contents.subarray(1);
  }
  return contents;
}

/** A small non-negative INTEGER (or ENUMERATED) as a number up to 2^31. @throws AttestError */
export function smallInteger(contents: Uint8Array, what: string): number {
  const magnitude = unsignedInteger(contents, what);
  if (magnitude.length > 4) derFailure(`${what} is above 2^31`);
  let value = 0;
  for (const byte of magnitude) value = value * 256 + byte;
  if (value > 0x7fff_ffff) derFailure(`${what} is above 2^31`);
  return value;
}

/** A BOOLEAN, which DER writes as 0x00 or 0xff. @throws AttestError */
export function booleanValue(contents: Uint8Array, what: string): boolean {
  if (contents.length !== 1 || (contents[0] !== 0 && contents[0] !== 0xff))
    derFailure(`${what} is no boolean`);
  return contents[0] === 0xff;
}

/** Bytes of a BIT STRING without unused bits. @throws AttestError */
export function wholeBits(contents: Uint8Array, what: string): Uint8Array {
  if (contents.length === 0 || contents[0] !== 0) derFailure(`${what} has unused bits`);
  return contents.subarray(1);
}

/** Milliseconds since 1970 of a UTCTime or GeneralizedTime (RFC 5280 §4.1.2.5: seconds present, zone Z). @throws AttestError */
export function timeValue(element: DerElement, what: string): number {
  const { tag, contents } = element;
  const short = tag === TAG.UTC_TIME;
  const digits = short ? 12 : 14;
  if (!short && tag !== TAG.GENERALIZED_TIME) derFailure(`${what} is no time`);
  if (contents.length !== digits + 1 || contents[digits] !== 0x5a) derFailure(`${what} is no time`);
  const pair = (at: number): number => {
    const [tens, ones] = [contents[at]! - 0x30, contents[at + 1]! - 0x30];
    if (tens < 0 || tens > 9 || ones < 0 || ones > 9) derFailure(`${what} is no time`);
    return tens * 10 + ones;
  };
  const at = digits - 10;
  const year = short ? pair(0) + (pair(0) >= 50 ? 1900 : 2000) : pair(0) * 100 + pair(2);
  const [month, day] = [pair(at), pair(at + 2)];
  const time = calendarTime(year, month, day, pair(at + 4), pair(at + 6), pair(at + 8));
  return time ?? derFailure(`${what} is no date of the calendar`);
}
