/**
 * The message format of typed calls: values in order, each aligned to 8 bytes; i32, u32, i64, u64, f64 and bool take
 * 8 bytes little endian; string (UTF-8) and bytes are a u64 length and the data, padded to 8 bytes with zeros.
 * A request holds the arguments, a response the return value (nothing for void).
 */
import { edlError } from './errors.js';
import type { FunctionDescription, ValueType } from './interface.js';

/** Largest message in bytes unless the caller says otherwise. */
export const DEFAULT_MESSAGE_LIMIT = 64 * 2 ** 20;

const NOTHING = new Uint8Array(0);
const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

/** A growing output buffer that is used again and again. `bytes()` is valid until the next `start`. */
export class MessageWriter {
  #bytes = new Uint8Array(4096);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;
  readonly #limit: number;

  constructor(limit = DEFAULT_MESSAGE_LIMIT) {
    this.#limit = limit;
  }

  /** Begins an empty message. */
  start(): void {
    this.#length = 0;
  }

  /** The message written so far; a view of the writer's buffer. */
  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /**
   * Appends one value; `what` names it in errors.
   * @throws MESSAGE_INVALID when it does not fit its type, MESSAGE_TOO_LARGE
   */
  write(type: ValueType, value: unknown, what: string): void {
    switch (type) {
      case 'i32':
        this.#i64(integer(value, what, type, -(2n ** 31n), 2n ** 31n - 1n));
        return;
      case 'u32':
        this.#i64(integer(value, what, type, 0n, 2n ** 32n - 1n));
        return;
      case 'i64':
        this.#i64(integer(value, what, type, -(2n ** 63n), 2n ** 63n - 1n));
        return;
      case 'u64':
        this.#i64(integer(value, what, type, 0n, 2n ** 64n - 1n));
        return;
      case 'f64':
        if (typeof value !== 'number') throw invalid(what, 'a number', value);
        this.#view.setFloat64(this.#take(8), value, true);
        return;
      case 'bool':
        if (typeof value !== 'boolean') throw invalid(what, 'true or false', value);
        this.#i64(value ? 1n : 0n);
        return;
      case 'string': {
        if (typeof value !== 'string') throw invalid(what, 'a string', value);
        if (!wellFormed(value)) throw invalid(what, 'a string without lone surrogates', value);
        this.#data(encoder.encode(value));
        return;
      }
      case 'bytes':
        if (!(value instanceof Uint8Array)) throw invalid(what, 'a Uint8Array', value);
        this.#data(value);
        return;
    }
  }

  #i64(value: bigint): void {
    const at = this.#take(8);
    this.#view.setBigUint64(at, BigInt.asUintN(64, value), true);
  }

  #data(data: Uint8Array): void {
    this.#i64(BigInt(data.length));
    const padded = Math.ceil(data.length / 8) * 8;
    const at = this.#take(padded);
    this.#bytes.set(data, at);
    this.#bytes.fill(0, at + data.length, at + padded);
  }

  #take(count: number): number {
    const at = this.#length;
    const end = at + count;
    if (end > this.#limit)
      throw edlError('MESSAGE_TOO_LARGE', `a message of ${end} bytes exceeds ${this.#limit}`);
    if (end > this.#bytes.length) {
      const grown = new Uint8Array(
        Math.min(Math.max(end, this.#bytes.length * 2), Math.max(end, this.#limit)),
      );
      grown.set(this.#bytes.subarray(0, at));
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    this.#length = end;
    return at;
  }
}

/** Reads the values of a message that must be exactly as long as they are. The message must not change meanwhile. */
export class MessageReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** The next value. Strings and bytes are copies. @throws MESSAGE_MALFORMED */
  read(type: ValueType, what: string): number | bigint | boolean | string | Uint8Array {
    switch (type) {
      case 'f64':
        return this.#view.getFloat64(this.#take(8, what), true);
      case 'i64':
        return this.#view.getBigInt64(this.#take(8, what), true);
      case 'u64':
        return this.#view.getBigUint64(this.#take(8, what), true);
      case 'i32': {
        const at = this.#take(8, what);
        const low = this.#view.getInt32(at, true);
        if (this.#view.getInt32(at + 4, true) !== (low < 0 ? -1 : 0)) throw malformed(what, 'is not an i32');
        return low;
      }
      case 'u32': {
        const at = this.#take(8, what);
        if (this.#view.getUint32(at + 4, true) !== 0) throw malformed(what, 'is not a u32');
        return this.#view.getUint32(at, true);
      }
      case 'bool': {
        const at = this.#take(8, what);
        const low = this.#view.getUint32(at, true);
        if (low > 1 || this.#view.getUint32(at + 4, true) !== 0)
          throw malformed(what, 'is neither true nor false');
        return low === 1;
      }
      case 'string': {
        const data = this.#data(what);
        try {
          return decoder.decode(data);
        } catch {
          throw malformed(what, 'is not UTF-8');
        }
      }
      case 'bytes':
        return this.#data(what).slice();
    }
  }

  /** @throws MESSAGE_MALFORMED when bytes are left over */
  end(what: string): void {
    if (this.#at !== this.#bytes.length)
      throw malformed(what, `has ${this.#bytes.length - this.#at} bytes more than its type`);
  }

  #data(what: string): Uint8Array {
    const at = this.#take(8, what);
    const length = this.#view.getUint32(at, true);
    if (this.#view.getUint32(at + 4, true) !== 0 || length > this.#bytes.length - this.#at)
      throw malformed(what, 'is longer than its message');
    const start = this.#take(Math.ceil(length / 8) * 8, what);
    return this.#bytes.subarray(start, start + length);
  }

  #take(count: number, what: string): number {
    const at = this.#at;
    if (count > this.#bytes.length - at) throw malformed(what, 'is missing or cut off');
    this.#at = at + count;
    return at;
  }
}

/** Writes the arguments of a call. @throws MESSAGE_INVALID (also for a wrong number of them), MESSAGE_TOO_LARGE */
export function writeArguments(
  writer: MessageWriter,
  fn: FunctionDescription,
  args: readonly unknown[],
): Uint8Array {
  if (args.length !== fn.params.length)
    throw edlError(
      'MESSAGE_INVALID',
      `wrong number of arguments (${args.length}) for ${signature(fn)}`,
      `call it as ${signature(fn)}`,
    );
  writer.start();
  if (args.length === 0) return NOTHING;
  for (let i = 0; i < args.length; i++) {
    const { name, type } = fn.params[i];
    writer.write(type, args[i], `argument ${name} of ${fn.name}`);
  }
  return writer.bytes();
}

/** Reads the arguments of a call. @throws MESSAGE_MALFORMED */
export function readArguments(fn: FunctionDescription, message: Uint8Array): unknown[] {
  const reader = new MessageReader(message);
  const args = fn.params.map(({ name, type }) => reader.read(type, `argument ${name} of ${fn.name}`));
  reader.end(`the request of ${fn.name}`);
  return args;
}

/** Writes a return value. @throws MESSAGE_INVALID, MESSAGE_TOO_LARGE */
export function writeResult(writer: MessageWriter, fn: FunctionDescription, value: unknown): Uint8Array {
  writer.start();
  if (fn.returns === 'void') {
    if (value !== undefined) throw invalid(`the result of ${fn.name}`, 'nothing (void)', value);
  } else writer.write(fn.returns, value, `the result of ${fn.name}`);
  return writer.bytes();
}

/** Reads a return value. @throws MESSAGE_MALFORMED */
export function readResult(fn: FunctionDescription, message: Uint8Array): unknown {
  if (fn.returns === 'void' && message.length === 0) return undefined;
  const reader = new MessageReader(message);
  const value = fn.returns === 'void' ? undefined : reader.read(fn.returns, `the result of ${fn.name}`);
  reader.end(`the response of ${fn.name}`);
  return value;
}

/** For example `add(a: i32, b: i32): i32`. */
export function signature(fn: FunctionDescription): string {
  return `${fn.name}(${fn.params.map(({ name, type }) => `${name}: ${type}`).join(', ')}): ${fn.returns}`;
}

function integer(value: unknown, what: string, type: string, min: bigint, max: bigint): bigint {
  const wide =
    typeof value === 'bigint'
      ? value
      : typeof value === 'number' && Number.isSafeInteger(value)
        ? BigInt(value)
        : undefined;
  if (wide === undefined) throw invalid(what, `an integer (${type})`, value);
  if (wide < min || wide > max) throw invalid(what, `within ${min} and ${max} (${type})`, value);
  return wide;
}

function wellFormed(value: string): boolean {
  return !/[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/.test(value);
}

function invalid(what: string, expected: string, value: unknown): Error {
  return edlError('MESSAGE_INVALID', `${what} must be ${expected}, not ${show(value)}`);
}

function malformed(what: string, how: string): Error {
  return edlError(
    'MESSAGE_MALFORMED',
    `${what} ${how}`,
    'the enclave and its interface description may not match',
  );
}

function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (typeof value === 'bigint') return `${value}n`;
  if (value === null || typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (value instanceof Promise) return 'a promise';
  return value === undefined ? 'undefined' : `a value of type ${typeof value}`;
}
