/** Strict reading of parsed JSON, field by field; unknown fields are left alone, as Intel adds some. */
import { fromHex } from '../bytes.js';
import { AttestError } from '../errors.js';

const DATE = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/;

/** A value with its place in the document, which is only spelt out for messages. */
export class JsonValue {
  constructor(
    readonly value: unknown,
    readonly document: string,
    private readonly place: string | number,
    private readonly parent: JsonValue | null = null,
  ) {}

  /** From the outermost member to here. */
  get path(): string {
    if (this.parent === null) return String(this.place);
    return typeof this.place === 'number'
      ? `${this.parent.path}[${this.place}]`
      : `${this.parent.path}.${this.place}`;
  }

  /** @throws AttestError COLLATERAL_MALFORMED always */
  fail(reason: string): never {
    throw new AttestError(
      'COLLATERAL_MALFORMED',
      `The ${this.document} is not of the known version: ${this.path} ${reason}.`,
    );
  }

  /** The member `name`. @throws AttestError when this is no object */
  get(name: string): JsonValue {
    const { value } = this;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) this.fail('is no object');
    const member = Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
    return new JsonValue(member, this.document, name, this);
  }

  /** True when this member is in the document. */
  get present(): boolean {
    return this.value !== undefined;
  }

  /** The items, each through `read`. @throws AttestError for another type or length */
  list<T>(minimum: number, maximum: number, read: (item: JsonValue) => T): T[] {
    const { value } = this;
    if (!Array.isArray(value) || value.length < minimum || value.length > maximum)
      this.fail(`is no list of ${minimum} to ${maximum} items`);
    return value.map((item, i) => read(new JsonValue(item, this.document, i, this)));
  }

  /** A whole number. @throws AttestError */
  integer(maximum: number): number {
    const { value } = this;
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > maximum)
      this.fail(`is no whole number up to ${maximum}`);
    return value;
  }

  /** Text. @throws AttestError */
  text(maximum: number): string {
    const { value } = this;
    if (typeof value !== 'string' || value.length > maximum)
      this.fail(`is no text of up to ${maximum} characters`);
    return value;
  }

  /** Bytes written as hexadecimal. @throws AttestError */
  hex(length: number): Uint8Array {
    const bytes = typeof this.value === 'string' ? fromHex(this.value) : null;
    if (bytes === null || bytes.length !== length) this.fail(`is no ${2 * length} hexadecimal digits`);
    return bytes;
  }

  /** One of the texts in `known`. @throws AttestError */
  oneOf<T extends string>(known: readonly T[]): T {
    const found = known.find((text) => text === this.value);
    if (found === undefined) this.fail(`is none of ${known.join(', ')}`);
    return found;
  }

  /** A time in milliseconds since 1970, in seconds and of the calendar. @throws AttestError */
  date(): number {
    const { value } = this;
    const time = typeof value === 'string' && DATE.test(value) ? Date.parse(value) : Number.NaN;
    // Date.parse takes the 30th of February for the 2nd of March.
    if (Number.isNaN(time) || new Date(time).toISOString().slice(0, 19) !== (value as string).slice(0, 19))
      this.fail('is no date');
    return time;
  }
}
