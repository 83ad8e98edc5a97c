import type { Field, Layout } from './layout.js';

/** Values for some fields of a layout; the others are zero. */
export type Values<F extends Record<string, Field>> = { [K in keyof F]?: number | bigint };

/** Writes fields of a native structure into `bytes` at `at`, little endian. */
export function writeFields<F extends Record<string, Field>>(
  layout: Layout<F>,
  values: Values<F>,
  bytes: Uint8Array,
  at = 0,
): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const [name, value] of Object.entries(values) as [string, number | bigint][]) {
    const [type, offset] = layout.fields[name]!;
    if (type === 'u64') view.setBigUint64(at + offset, BigInt.asUintN(64, BigInt(value)), true);
    else if (type === 'u32') view.setUint32(at + offset, Number(value), true);
    else if (type === 'u16') view.setUint16(at + offset, Number(value), true);
    else view.setUint8(at + offset, Number(value));
  }
}

/** A zero-filled structure with these fields. */
export function encode<F extends Record<string, Field>>(layout: Layout<F>, values: Values<F>): Uint8Array {
  const bytes = new Uint8Array(layout.size);
  writeFields(layout, values, bytes);
  return bytes;
}

/** Reads one u32 field. */
export function readU32<F extends Record<string, Field>>(
  layout: Layout<F>,
  name: keyof F & string,
  bytes: Uint8Array,
  at = 0,
): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(at + layout.at[name], true);
}

/** Reads one u64 field. */
export function readU64<F extends Record<string, Field>>(
  layout: Layout<F>,
  name: keyof F & string,
  bytes: Uint8Array,
  at = 0,
): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(
    at + layout.at[name],
    true,
  );
}

/** A zero-terminated text field. */
export function readText<F extends Record<string, Field>>(
  layout: Layout<F>,
  name: keyof F & string,
  bytes: Uint8Array,
): string {
  const [, offset, count = 1] = layout.fields[name]!;
  const raw = bytes.subarray(offset, offset + count);
  const end = raw.indexOf(0);
  return new TextDecoder().decode(end < 0 ? raw : raw.subarray(0, end));
}
