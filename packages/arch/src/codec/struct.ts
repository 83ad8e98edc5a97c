/**
 * Binary structures as typed codecs: a structure is a name, a size and fields at explicit byte offsets, so
 * that a definition reads like the manual's table. Bytes no field covers are reserved.
 */
import { NsgxError } from '../errors.js';
import type { FieldType } from './field.js';

/** What `encode` takes: any subset of the fields, nested structures too; what is missing becomes zero. */
export type StructInit<T> = {
  readonly [K in keyof T]?: T[K] extends number | bigint | Uint8Array | readonly unknown[]
    ? T[K]
    : StructInit<T[K]>;
};

/** A binary structure. `T` has the manual's field names in upper case. */
export interface Struct<T> extends FieldType<T> {
  readonly name: string;
  /** Size in bytes, reserved bytes included. */
  readonly size: number;
  /** Byte offset of every field. */
  readonly offsets: { readonly [K in keyof T]: number };
  /** Decodes the structure at byte `at` (byte strings are copies). Throws CODEC_SHORT_INPUT. */
  decode(b: Uint8Array, at?: number): T;
  /** Encodes to `size` fresh bytes; missing fields are zero. Throws CODEC_FIELD_RANGE/_LENGTH, CODEC_UNKNOWN_FIELD. */
  encode(v: StructInit<T>): Uint8Array;
  /** As `encode`, over the `size` bytes at `at` of `b` (all of them are overwritten). Also CODEC_SHORT_INPUT. */
  encodeInto(v: StructInit<T>, b: Uint8Array, at?: number): void;
  /** Writes only the fields given and leaves every other byte as it is. Throws as `encodeInto`. */
  patch(v: StructInit<T>, b: Uint8Array, at?: number): void;
  /** Offset (within the structure) of the first reserved byte that is not zero, or −1. Throws CODEC_SHORT_INPUT. */
  firstReservedNonZero(b: Uint8Array, at?: number): number;
}

/** A field at its place: `at(0x10, u32)`. */
export interface PlacedField<T> {
  readonly offset: number;
  readonly type: FieldType<T>;
}

/** Places a field type at a byte offset of the structure being defined. */
export function at<T>(offset: number, type: FieldType<T>): PlacedField<T> {
  return { offset, type };
}

/** The decoded type of a structure: `StructValue<typeof SECS>`. */
export type StructValue<S> = S extends Struct<infer T> ? T : never;

type Decoded<F> = { [K in keyof F]: F[K] extends PlacedField<infer T> ? T : never };

/**
 * Defines a structure. Fields must not overlap and must lie inside `size`; otherwise throws CODEC_LAYOUT
 * when the module loads.
 */
export function struct<F extends Record<string, PlacedField<unknown>>>(
  name: string,
  size: number,
  fields: F,
): Struct<Decoded<F>> {
  const plan = Object.entries(fields).map(([key, f]) => ({ key, offset: f.offset, type: f.type }));
  const covered = new Uint8Array(size);
  for (const { key, offset, type } of plan) {
    for (let i = offset; i < offset + type.size; i++) {
      if (i < 0 || i >= size || covered[i] !== 0) {
        throw new NsgxError(
          'CODEC_LAYOUT',
          `${name}.${key} overlaps another field or ends past byte ${size}`,
        );
      }
      covered[i] = 1;
    }
  }
  const byKey = new Map(plan.map((p) => [p.key, p]));

  function checkRoom(b: Uint8Array, start: number): void {
    if (!(b instanceof Uint8Array) || !Number.isInteger(start) || start < 0 || start + size > b.length) {
      const have = b instanceof Uint8Array ? Math.max(0, b.length - start) : 0;
      throw new NsgxError(
        'CODEC_SHORT_INPUT',
        `${name} needs ${size} bytes at offset ${start}, ${have} are there`,
      );
    }
  }
  function patchUnchecked(v: object, b: Uint8Array, start: number, path: string): void {
    for (const [key, value] of Object.entries(v)) {
      const p = byKey.get(key);
      if (p === undefined) throw new NsgxError('CODEC_UNKNOWN_FIELD', `${path} has no field ${key}`);
      if (value !== undefined) p.type.write(value, b, start + p.offset, `${path}.${key}`);
    }
  }

  const self: Struct<Decoded<F>> = {
    name,
    size,
    offsets: Object.freeze(Object.fromEntries(plan.map((p) => [p.key, p.offset]))) as Struct<
      Decoded<F>
    >['offsets'],
    read(b, start) {
      const out: Record<string, unknown> = {};
      for (const p of plan) out[p.key] = p.type.read(b, start + p.offset);
      return out as Decoded<F>;
    },
    write(value, b, start, path) {
      if (typeof value !== 'object' || value === null) {
        throw new NsgxError('CODEC_FIELD_RANGE', `${path} wants an object with the fields of ${name}`);
      }
      b.fill(0, start, start + size);
      patchUnchecked(value, b, start, path);
    },
    decode(b, start = 0) {
      checkRoom(b, start);
      return self.read(b, start);
    },
    encode(v) {
      const b = new Uint8Array(size);
      patchUnchecked(v, b, 0, name);
      return b;
    },
    encodeInto(v, b, start = 0) {
      checkRoom(b, start);
      b.fill(0, start, start + size);
      patchUnchecked(v, b, start, name);
    },
    patch(v, b, start = 0) {
      checkRoom(b, start);
      patchUnchecked(v, b, start, name);
    },
    firstReservedNonZero(b, start = 0) {
      checkRoom(b, start);
      for (let i = 0; i < size; i++) if (covered[i] === 0 && b[start + i] !== 0) return i;
      return -1;
    },
  };
  return Object.freeze(self);
}
