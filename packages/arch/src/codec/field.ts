/**
 * Field types of binary structures. All integers are little endian, as in the Intel SDM ("Bit and Byte
 * Order", Vol. 1) and the AMD APM.
 */
import { NsgxError } from '../errors.js';

/** One kind of field: its size in bytes, how to read and write it. `T` is the decoded type. */
export interface FieldType<T> {
  readonly size: number;
  /** Reads the field at byte `at` of `b`; the caller has checked that it lies inside. */
  read(b: Uint8Array, at: number): T;
  /** Writes `value` at byte `at`; throws CODEC_FIELD_RANGE, CODEC_FIELD_LENGTH. `path` names the field. */
  write(value: T, b: Uint8Array, at: number, path: string): void;
}

function checkedInteger(value: number, limit: number, path: string): void {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > limit) {
    throw new NsgxError('CODEC_FIELD_RANGE', `${path} = ${String(value)} is not an integer in 0…${limit}`);
  }
}

/** Unsigned 8-bit integer, a JS number. */
export const u8: FieldType<number> = {
  size: 1,
  read: (b, at) => b[at],
  write(value, b, at, path) {
    checkedInteger(value, 0xff, path);
    b[at] = value;
  },
};

/** Unsigned 16-bit integer, a JS number. */
export const u16: FieldType<number> = {
  size: 2,
  read: (b, at) => readU16(b, at),
  write(value, b, at, path) {
    checkedInteger(value, 0xffff, path);
    writeU16(b, at, value);
  },
};

/** Unsigned 32-bit integer, a JS number. */
export const u32: FieldType<number> = {
  size: 4,
  read: (b, at) => readU32(b, at),
  write(value, b, at, path) {
    checkedInteger(value, 0xffff_ffff, path);
    writeU32(b, at, value);
  },
};

/** Unsigned 64-bit integer, a bigint. */
export const u64: FieldType<bigint> = {
  size: 8,
  read: (b, at) => readU64(b, at),
  write(value, b, at, path) {
    if (typeof value !== 'bigint' || value < 0n || value > 0xffff_ffff_ffff_ffffn) {
      throw new NsgxError('CODEC_FIELD_RANGE', `${path} = ${String(value)} is not a bigint in 0…2^64−1`);
    }
    writeU64(b, at, value);
  },
};

/** `length` raw bytes; reading gives a copy, writing wants exactly that many. */
export function bytes(length: number): FieldType<Uint8Array> {
  return {
    size: length,
    read: (b, at) => copyBytes(b, at, at + length),
    write(value, b, at, path) {
      if (!(value instanceof Uint8Array) || value.length !== length) {
        const got = value instanceof Uint8Array ? `${value.length} bytes` : String(value);
        throw new NsgxError('CODEC_FIELD_LENGTH', `${path} wants exactly ${length} bytes, not ${got}`);
      }
      b.set(value, at);
    },
  };
}

/** `count` equal elements in a row. */
export function array<T>(element: FieldType<T>, count: number): FieldType<T[]> {
  return {
    size: element.size * count,
    read(b, at) {
      const out: T[] = [];
      for (let i = 0; i < count; i++) out.push(element.read(b, at + i * element.size));
      return out;
    },
    write(value, b, at, path) {
      if (!Array.isArray(value) || value.length !== count) {
        throw new NsgxError('CODEC_FIELD_LENGTH', `${path} wants a list of exactly ${count} elements`);
      }
      for (let i = 0; i < count; i++) element.write(value[i], b, at + i * element.size, `${path}[${i}]`);
    },
  };
}

/** A copy of bytes [from, to) as a plain Uint8Array, whatever subclass `b` is. */
export function copyBytes(b: Uint8Array, from = 0, to = b.length): Uint8Array {
  return new Uint8Array(b.subarray(from, to));
}

/** The little-endian u16 at `at`; bytes past the end read as 0, so check the length first. */
export function readU16(b: Uint8Array, at: number): number {
  return b[at] | (b[at + 1] << 8);
}

/** Writes the low 16 bits of `value` at `at`, little endian. */
export function writeU16(b: Uint8Array, at: number, value: number): void {
  b[at] = value;
  b[at + 1] = value >>> 8;
}

/** The little-endian u32 at `at`; bytes past the end read as 0, so check the length first. */
export function readU32(b: Uint8Array, at: number): number {
  return (b[at] | (b[at + 1] << 8) | (b[at + 2] << 16) | (b[at + 3] << 24)) >>> 0;
}

/** Writes the low 32 bits of `value` at `at`, little endian. */
export function writeU32(b: Uint8Array, at: number, value: number): void {
  b[at] = value;
  b[at + 1] = value >>> 8;
  b[at + 2] = value >>> 16;
  b[at + 3] = value >>> 24;
}

/** The little-endian u64 at `at`; bytes past the end read as 0, so check the length first. */
export function readU64(b: Uint8Array, at: number): bigint {
  return (BigInt(readU32(b, at + 4)) << 32n) | BigInt(readU32(b, at));
}

/** Writes the low 64 bits of `value` at `at`, little endian. */
export function writeU64(b: Uint8Array, at: number, value: bigint): void {
  writeU32(b, at, Number(value & 0xffff_ffffn));
  writeU32(b, at + 4, Number((value >> 32n) & 0xffff_ffffn));
}
