/** Strict reading of parsed JSON, field by field; unknown fields are left alone, as Intel adds some. */
import { fromHex } from '../bytes.js';
import { isoTime } from '../calendar.js';
import { AttestError } from '../errors.js';

/** An object with its place in the document, which is only spelt out for messages. */
export class JsonObject {
  readonly #fields: Readonly<Record<string, unknown>>;
  readonly #place: string | number;
  readonly #parent: JsonObject | null;
  readonly #document: string;

  /** @throws AttestError COLLATERAL_MALFORMED when `value` is no object */
  constructor(value: unknown, document: string, place: string | number, parent: JsonObject | null = null) {
    this.#document = document;
    this.#place = place;
    this.#parent = parent;
    this.#fields = value as Readonly<Record<string, unknown>>;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) this.fail(null, 'is no object');
  }

  get #path(): string {
    const parent = this.#parent;
    if (parent === null) return String(this.#place);
    return `${parent.#path}${typeof this.#place === 'number' ? `[${this.#place}]` : `.${this.#place}`}`;
  }

  /** Refuses the field `name`, or this object. @throws AttestError COLLATERAL_MALFORMED always */
  fail(name: string | null, reason: string): never {
    const path = name === null ? this.#path : `${this.#path}.${name}`;
    throw new AttestError(
      'COLLATERAL_MALFORMED',
      `The ${this.#document} is not of the known version: ${path} ${reason}.`,
    );
  }

  /** The field as it stands, undefined when it is missing. */
  value(name: string): unknown {
    return Object.hasOwn(this.#fields, name) ? this.#fields[name] : undefined;
  }

  /** True when the field is there. */
  has(name: string): boolean {
    return this.value(name) !== undefined;
  }

  /** An object. @throws AttestError */
  object(name: string): JsonObject {
    return new JsonObject(this.value(name), this.#document, name, this);
  }

  /** A list. @throws AttestError for another type or length */
  list(name: string, minimum: number, maximum: number): readonly unknown[] {
    const items = this.value(name);
    if (!Array.isArray(items) || items.length < minimum || items.length > maximum)
      this.fail(name, `is no list of ${minimum} to ${maximum} items`);
    return items;
  }

  /** A list of objects, each through `read`. @throws AttestError */
  objects<T>(name: string, minimum: number, maximum: number, read: (item: JsonObject) => T): T[] {
    return this.list(name, minimum, maximum).map((item, i) =>
      read(new JsonObject(item, this.#document, `${name}[${i}]`, this)),
    );
  }

  /** A whole number. @throws AttestError */
  integer(name: string, maximum: number): number {
    const value = this.value(name);
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > maximum)
      this.fail(name, `is no whole number up to ${maximum}`);
    return value;
  }

  /** Text. @throws AttestError */
  text(name: string, maximum: number): string {
    const value = this.value(name);
    if (typeof value !== 'string' || value.length > maximum)
      this.fail(name, `is no text of up to ${maximum} characters`);
    return value;
  }

  /** Bytes written as hexadecimal. @throws AttestError */
  hex(name: string, length: number): Uint8Array {
    const value = this.value(name);
    const bytes = typeof value === 'string' && value.length === 2 * length ? fromHex(value) : null;
    return bytes ?? this.fail(name, `is no ${2 * length} hexadecimal digits`);
  }

  /** One of the texts in `known`. @throws AttestError */
  oneOf<T extends string>(name: string, known: readonly T[]): T {
    const value = this.value(name);
    return known.includes(value as T) ? (value as T) : this.fail(name, `is none of ${known.join(', ')}`);
  }

  /** A time in milliseconds since 1970. @throws AttestError */
  date(name: string): number {
    const value = this.value(name);
    return (typeof value === 'string' ? isoTime(value) : null) ?? this.fail(name, 'is no date');
  }
}
