/** Buffers: how long they are, what is in them, and what the members of structures in them point to. */
import { edlError } from '../errors.js';
import { type CMember, type CType, type Extent, sizeOf, type Target } from '../layout/ctype.js';
import { MAX_BUFFER } from './memory.js';
import { dataView, define, invalid, rawBytes, readInteger, readValue, writeValue } from './values.js';

type Shape = 'one' | 'many' | 'bytes';

/** An enclave chooses how long the arrays are that an OCALL brings: each element becomes a value of its own here. */
const MAX_ELEMENTS = 2 ** 22;

/** Finds the value of a parameter or member that a size or count names. */
export type Lookup = (name: string) => number | bigint | undefined;

/** Length in bytes: size × count. @throws EDL_VALUE when negative, too large or no multiple of the element's size */
export function targetLength(target: Target, lookup: Lookup, what: string): number {
  const unit = extent(target.unit, lookup, what);
  const count = extent(target.count, lookup, what);
  const length = unit * count;
  if (length > MAX_BUFFER) throw edlError('EDL_VALUE', `${what} would have ${length} bytes`);
  if (length % target.multiple !== 0)
    throw edlError(
      'EDL_VALUE',
      `${what} has ${length} bytes, which is no multiple of its element's ${target.multiple}`,
      'size counts bytes, count counts elements.',
    );
  return length;
}

function extent(value: Extent, lookup: Lookup, what: string): number {
  const found = typeof value === 'number' ? value : lookup(value);
  if (found === undefined || found < 0 || found > MAX_BUFFER)
    throw edlError('EDL_VALUE', `the length '${value}' of ${what} is ${found ?? 'no integer'}`);
  return Number(found);
}

/** Values beside a member, for its size and count: integers of the structure at `at`. */
export function memberLookup(view: DataView, at: number, members: readonly CMember[]): Lookup {
  return (name) => {
    const member = members.find((other) => other.name === name);
    if (member?.type.kind !== 'integer') return undefined;
    return readInteger(view, at + member.offset, member.type.size, member.type.signed);
  };
}

/** The members of a structure that are copied deeply. */
export function deepMembers(element: CType | undefined): (CMember & { readonly deep: Target })[] {
  if (element?.kind !== 'struct') return [];
  return element.members.filter(
    (member): member is CMember & { readonly deep: Target } => member.deep !== undefined,
  );
}

/** How the values of a target look: several of its element, or bytes. */
export function targetShape(target: Target): Shape {
  const { element } = target;
  const plain = element === undefined || element.kind === 'bytes';
  return plain || (element.kind === 'integer' && element.size === 1) ? 'bytes' : 'many';
}

/**
 * Fills `bytes` with a value of the target's shape. Bytes and typed arrays may be longer than the buffer is: the buffer's
 * length counts, as in C. @throws EDL_VALUE when it is too short or of another type
 */
export function encodeTarget(
  bytes: Uint8Array,
  target: Target,
  shape: Shape,
  value: unknown,
  what: string,
): void {
  if (ArrayBuffer.isView(value)) {
    const raw = rawBytes(value, target.element, what);
    if (raw.length < bytes.length)
      throw edlError('EDL_VALUE', `${what} has ${raw.length} bytes and needs ${bytes.length}`);
    bytes.set(raw.length === bytes.length ? raw : raw.subarray(0, bytes.length));
    return;
  }
  const { element } = target;
  if (element === undefined || shape === 'bytes')
    throw invalid(what, `a Uint8Array of ${bytes.length} bytes`, value);
  const view = dataView(bytes);
  if (shape === 'one') {
    writeValue(view, 0, element, value, what);
    return;
  }
  const step = sizeOf(element);
  if (bytes.length % step !== 0) throw invalid(what, `a Uint8Array of ${bytes.length} bytes`, value);
  const count = bytes.length / step;
  if (!Array.isArray(value) || value.length !== count)
    throw invalid(what, `an array of ${count} elements`, value);
  for (let i = 0; i < count; i++) writeValue(view, i * step, element, value[i], `${what}[${i}]`);
}

/** The value in a buffer, which is a copy already and may be kept. */
export function decodeTarget(bytes: Uint8Array, target: Target, shape: Shape): unknown {
  const { element } = target;
  if (element === undefined || shape === 'bytes') return bytes;
  const step = sizeOf(element);
  const view = dataView(bytes);
  if (shape === 'one') return bytes.length < step ? bytes : readValue(view, 0, element);
  if (bytes.length % step !== 0) return bytes;
  if (bytes.length / step > MAX_ELEMENTS)
    throw edlError(
      'EDL_VALUE',
      `a buffer has ${bytes.length / step} elements, more than the ${MAX_ELEMENTS} that are made into values`,
      'Declare it as bytes (uint8_t or void), or pass it in pieces.',
    );
  return Array.from({ length: bytes.length / step }, (_, i) => readValue(view, i * step, element));
}

/** The objects of a structure buffer, one for each structure in it. @throws EDL_VALUE */
export function structObjects(value: unknown, shape: Shape, what: string): Record<string, unknown>[] {
  const list = shape === 'one' ? [value] : value;
  if (!Array.isArray(list) || list.some((item) => typeof item !== 'object' || item === null))
    throw invalid(what, 'objects: what its members point to is copied', value);
  return list as Record<string, unknown>[];
}

/** Sets a deeply copied member of a decoded structure. */
export function setMember(object: Record<string, unknown>, name: string, value: unknown): void {
  define(object, name, value);
}
