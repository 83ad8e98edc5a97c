/** The scalar types that a native layout is made of. */
export type Scalar = 'u8' | 'u16' | 'u32' | 'u64';

/** One field: its type, its offset in bytes, and how many of it follow one another (default 1). */
export type Field = readonly [type: Scalar, offset: number, count?: number];

/** A structure shared by TypeScript and native code: the offsets are the single definition for both sides. */
export interface Layout<F extends Record<string, Field>> {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  readonly fields: F;
  /** Byte offset of each field. */
  readonly at: { readonly [K in keyof F]: number };
}

export const SCALAR_BYTES: Readonly<Record<Scalar, number>> = Object.freeze({
  u8: 1,
  u16: 2,
  u32: 4,
  u64: 8,
});

/**
 * Defines a native structure and checks that its fields are aligned, in order and inside the size.
 *
 * @throws RangeError when two fields overlap, a field is misaligned or leaves the structure.
 */
export function defineLayout<const F extends Record<string, Field>>(
  name: string,
  size: number,
  fields: F,
): Layout<F> {
  let end = 0;
  const at: Record<string, number> = {};
  for (const [field, [type, offset, count = 1]] of Object.entries(fields)) {
    const bytes = SCALAR_BYTES[type];
    if (offset % bytes !== 0) throw new RangeError(`${name}.${field} is misaligned at ${offset}`);
    if (offset < end) throw new RangeError(`${name}.${field} at ${offset} overlaps the field before it`);
    end = offset + bytes * count;
    if (end > size)
      throw new RangeError(`${name}.${field} ends at ${end}, after the structure's ${size} bytes`);
    at[field] = offset;
  }
  return Object.freeze({ name, size, fields, at: Object.freeze(at) as { readonly [K in keyof F]: number } });
}
