/** Values of C types to bytes and back. */
import { edlError } from '../errors.js';
import { type CType, sizeOf } from '../layout/ctype.js';
import { readExtended, writeExtended } from './long-double.js';

/** A view for numbers over bytes. */
export function dataView(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function invalid(what: string, expected: string, value: unknown): Error {
  return edlError('EDL_VALUE', `${what} must be ${expected}, not ${show(value)}`);
}

/** Writes a value of a type; `what` names it in errors. @throws EDL_VALUE */
export function writeValue(view: DataView, at: number, type: CType, value: unknown, what: string): void {
  switch (type.kind) {
    case 'integer':
      writeInteger(view, at, type.size, type.signed, value, what);
      return;
    case 'boolean':
      if (typeof value !== 'boolean') throw invalid(what, 'true or false', value);
      view.setUint8(at, value ? 1 : 0);
      return;
    case 'float':
      if (typeof value !== 'number') throw invalid(what, 'a number', value);
      if (type.size === 4) view.setFloat32(at, value, true);
      else if (type.size === 8) view.setFloat64(at, value, true);
      else writeExtended(view, at, value);
      return;
    case 'pointer':
      view.setBigUint64(at, addressOf(value, what), true);
      return;
    case 'bytes': {
      if (!(value instanceof Uint8Array) || value.length !== type.size)
        throw invalid(what, `a Uint8Array of ${type.size} bytes (${type.name})`, value);
      new Uint8Array(view.buffer, view.byteOffset + at, type.size).set(value);
      return;
    }
    case 'array': {
      const size = sizeOf(type);
      if (ArrayBuffer.isView(value)) {
        const raw = rawBytes(value, type.element, what);
        if (raw.length !== size) throw invalid(what, `${type.count} elements (${size} bytes)`, value);
        new Uint8Array(view.buffer, view.byteOffset + at, size).set(raw);
        return;
      }
      if (!Array.isArray(value) || value.length !== type.count)
        throw invalid(what, `an array of ${type.count} elements`, value);
      const step = sizeOf(type.element);
      for (let i = 0; i < type.count; i++)
        writeValue(view, at + i * step, type.element, value[i], `${what}[${i}]`);
      return;
    }
    case 'struct': {
      if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value) || Array.isArray(value))
        throw invalid(what, `an object with the members of ${type.name}`, value);
      const names = new Set(type.members.map(({ name }) => name));
      for (const key of Object.keys(value))
        if (!names.has(key)) throw edlError('EDL_VALUE', `${what} has no member '${key}'`);
      for (const member of type.members)
        if (member.deep === undefined)
          writeValue(
            view,
            at + member.offset,
            member.type,
            (value as Record<string, unknown>)[member.name],
            `${what}.${member.name}`,
          );
      return;
    }
  }
}

/** Reads a value of a type; bytes are copies. Members that are copied deeply are left out. */
export function readValue(view: DataView, at: number, type: CType): unknown {
  switch (type.kind) {
    case 'integer':
      return readInteger(view, at, type.size, type.signed);
    case 'boolean':
      return view.getUint8(at) !== 0;
    case 'float':
      return type.size === 4
        ? view.getFloat32(at, true)
        : type.size === 8
          ? view.getFloat64(at, true)
          : readExtended(view, at);
    case 'pointer':
      return view.getBigUint64(at, true);
    case 'bytes':
      return new Uint8Array(view.buffer, view.byteOffset + at, type.size).slice();
    case 'array': {
      const { element, count } = type;
      if (element.kind === 'integer' && element.size === 1)
        return new Uint8Array(view.buffer, view.byteOffset + at, count).slice();
      const step = sizeOf(element);
      return Array.from({ length: count }, (_, i) => readValue(view, at + i * step, element));
    }
    case 'struct': {
      const object: Record<string, unknown> = {};
      for (const { name, offset, type: of, deep } of type.members)
        if (deep === undefined) define(object, name, readValue(view, at + offset, of));
      return object;
    }
  }
}

/** Sets a member, also one that is named `__proto__`. */
export function define(object: Record<string, unknown>, name: string, value: unknown): void {
  if (name !== '__proto__') object[name] = value;
  else Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
}

/** The bytes of a typed array whose elements are bytes or as large as the type's. */
export function rawBytes(value: ArrayBufferView, element: CType | undefined, what: string): Uint8Array {
  const step = (value as { BYTES_PER_ELEMENT?: number }).BYTES_PER_ELEMENT ?? 1;
  let inner = element;
  while (inner?.kind === 'array') inner = inner.element;
  if (step !== 1 && (inner === undefined || sizeOf(inner) !== step))
    throw edlError(
      'EDL_VALUE',
      `${what} is a typed array with elements of another size`,
      'Pass a Uint8Array of its bytes.',
    );
  return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
}

/** An address: a bigint, a number, or null for NULL. */
export function addressOf(value: unknown, what: string): bigint {
  if (value === null) return 0n;
  const wide = typeof value === 'number' && Number.isSafeInteger(value) ? BigInt(value) : value;
  if (typeof wide !== 'bigint' || wide < 0n || wide >= 2n ** 64n)
    throw invalid(what, 'an address or null', value);
  return wide;
}

function writeInteger(
  view: DataView,
  at: number,
  size: number,
  signed: boolean,
  value: unknown,
  what: string,
): void {
  if (size < 8) {
    const small =
      typeof value === 'bigint' && value > -(2n ** 33n) && value < 2n ** 33n ? Number(value) : value;
    const values = size === 4 ? 0x1_0000_0000 : size === 2 ? 0x1_0000 : 0x100;
    const min = signed ? values / -2 : 0;
    const max = min + values - 1;
    if (typeof small !== 'number' || !Number.isInteger(small) || small < min || small > max)
      throw invalid(what, integerText(size * 8, signed), value);
    if (size === 4) view.setUint32(at, small >>> 0, true);
    else if (size === 2) view.setUint16(at, small & 0xffff, true);
    else view.setUint8(at, small & 0xff);
    return;
  }
  if (typeof value === 'number' && Number.isSafeInteger(value) && (signed || value >= 0)) {
    writeAddress(view, at, value);
    return;
  }
  if (
    typeof value !== 'bigint' ||
    value < (signed ? -(2n ** 63n) : 0n) ||
    value > (signed ? 2n ** 63n - 1n : 2n ** 64n - 1n)
  )
    throw invalid(what, integerText(size * 8, signed), value);
  view.setBigUint64(at, BigInt.asUintN(64, value), true);
}

function integerText(bits: number, signed: boolean): string {
  return `an integer of ${bits} bits${signed ? '' : ' without sign'}`;
}

/** Writes a safe integer as 64 bits. */
export function writeAddress(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setInt32(at + 4, Math.floor(value / 2 ** 32), true);
}

export function readInteger(view: DataView, at: number, size: number, signed: boolean): number | bigint {
  if (size === 8) return signed ? view.getBigInt64(at, true) : view.getBigUint64(at, true);
  if (size === 4) return signed ? view.getInt32(at, true) : view.getUint32(at, true);
  if (size === 2) return signed ? view.getInt16(at, true) : view.getUint16(at, true);
  return signed ? view.getInt8(at) : view.getUint8(at);
}

function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (typeof value === 'bigint') return `${value}n`;
  if (Array.isArray(value)) return `an array of ${value.length} elements`;
  if (ArrayBuffer.isView(value)) return `${value.byteLength} bytes`;
  if (value === null || value === undefined || typeof value === 'number' || typeof value === 'boolean')
    return String(value);
  return value instanceof Promise ? 'a promise' : `a value of type ${typeof value}`;
}
