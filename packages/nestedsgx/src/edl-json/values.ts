/** Values of C types as JSON, and back: bytes are hexadecimal, integers that JSON cannot hold are text. */
import { type CType, sizeOf } from '@nestedsgx/edl';
import { bytesFromHex, hex } from '../cli/files.js';
import { UsageError } from '../cli/terminal.js';

const INTEGER = /^-?(0x[0-9a-f]+|\d+)$/i;
/** Largest buffer that `{"bytes": N}` makes. */
const MAX_BYTES = 2 ** 30;

/** A value of a type. @throws UsageError, NsgxError VALUE_NOT_HEX */
export function valueFromJson(json: unknown, type: CType, what: string): unknown {
  switch (type.kind) {
    case 'integer': {
      const wide = integer(json, what);
      return type.size === 8 ? wide : Number(wide);
    }
    case 'boolean':
      if (typeof json === 'boolean') return json;
      if (json === 'true' || json === 'false') return json === 'true';
      if (json === 0 || json === 1) return json === 1;
      throw wrong(what, 'true or false', json);
    case 'float': {
      const value = typeof json === 'string' && json.trim() !== '' ? Number(json) : json;
      if (typeof value !== 'number' || Number.isNaN(value)) throw wrong(what, 'a number', json);
      return value;
    }
    case 'pointer':
      return json === null ? null : integer(json, what);
    case 'bytes':
      return bytesFromJson(json, what);
    case 'array':
      if (Array.isArray(json))
        return json.map((item, i) => valueFromJson(item, type.element, `${what}[${i}]`));
      return bytesFromJson(json, what);
    case 'struct': {
      if (typeof json !== 'object' || json === null || Array.isArray(json))
        throw wrong(what, `an object with the members of ${type.name}`, json);
      const given = json as Record<string, unknown>;
      const names = type.members.map(({ name }) => name);
      const foreign = Object.keys(given).find((key) => !names.includes(key));
      if (foreign !== undefined)
        throw new UsageError(`${what} has no member "${foreign}"; it has ${names.join(', ')}`);
      return Object.fromEntries(
        type.members
          .filter(({ name }) => Object.hasOwn(given, name))
          .map(({ name, type: of, deep }) => [
            name,
            deep === undefined || given[name] === null
              ? valueFromJson(given[name], of, `${what}.${name}`)
              : bytesFromJson(given[name], `${what}.${name}`),
          ]),
      );
    }
  }
}

/** Whether JSON has one of the forms that only bytes have: `{"hex"}`, `{"base64"}`, `{"text"}`, `{"bytes": N}`. */
export function isByteForm(json: unknown): json is Record<string, unknown> {
  if (typeof json !== 'object' || json === null) return false;
  const [key, ...more] = Object.keys(json);
  return more.length === 0 && key !== undefined && ['hex', 'base64', 'text', 'bytes'].includes(key);
}

/**
 * Bytes from hexadecimal digits, a list of numbers, `{"hex": …}`, `{"base64": …}`, `{"text": …}` (UTF-8, no zero behind it)
 * or `{"bytes": N}` (zeros). @throws UsageError, NsgxError VALUE_NOT_HEX
 */
export function bytesFromJson(json: unknown, what: string): Uint8Array {
  if (typeof json === 'string') return bytesFromHex(json, what);
  if (Array.isArray(json)) return Uint8Array.from(json, (item, i) => Number(integer(item, `${what}[${i}]`)));
  if (isByteForm(json)) {
    const [[form, value]] = Object.entries(json) as [[string, unknown]];
    if (form === 'bytes' && Number.isInteger(value) && Number(value) >= 0 && Number(value) <= MAX_BYTES)
      return new Uint8Array(Number(value));
    if (typeof value === 'string' && form !== 'bytes')
      return form === 'hex'
        ? bytesFromHex(value, what)
        : new Uint8Array(Buffer.from(value, form === 'text' ? 'utf8' : 'base64'));
  }
  throw wrong(what, 'hexadecimal digits, {"base64": …}, {"text": …} or {"bytes": N}', json);
}

/** Zero of a type, for those who have nothing better. */
export function zeroOf(type: CType): unknown {
  switch (type.kind) {
    case 'integer':
      return type.size === 8 ? 0n : 0;
    case 'boolean':
      return false;
    case 'float':
      return 0;
    case 'pointer':
      return null;
    case 'bytes':
    case 'array':
      return new Uint8Array(sizeOf(type));
    case 'struct':
      return Object.fromEntries(
        type.members.map(({ name, type: of, deep }) => [name, deep === undefined ? zeroOf(of) : null]),
      );
  }
}

/** What came from an enclave, as JSON can hold it. */
export function toJson(value: unknown): unknown {
  if (value instanceof Uint8Array) return hex(value);
  if (typeof value === 'bigint')
    return BigInt(Number(value)) === value && Number.isSafeInteger(Number(value))
      ? Number(value)
      : value.toString();
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  if (ArrayBuffer.isView(value)) return hex(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
  if (Array.isArray(value)) return value.map(toJson);
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, toJson(item)]));
  return value;
}

function integer(json: unknown, what: string): bigint {
  if (typeof json === 'number' && Number.isSafeInteger(json)) return BigInt(json);
  if (typeof json === 'string' && INTEGER.test(json))
    return json.startsWith('-') ? -BigInt(json.slice(1)) : BigInt(json);
  throw wrong(what, 'an integer', json);
}

function wrong(what: string, expected: string, json: unknown): UsageError {
  return new UsageError(`${what} must be ${expected}, not ${JSON.stringify(json)?.slice(0, 80)}`);
}
