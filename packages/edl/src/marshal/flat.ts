/**
 * The short way for most ECALLs: values and buffers of memory that is one piece, without a view or a copy of the structure
 * for each call. What is not simple (texts, deep copies, large buffers) goes the long way, with the same result.
 */
import { edlError } from '../errors.js';
import { type CType, type Extent, sizeOf } from '../layout/ctype.js';
import type { CallDescription, ParameterDescription } from '../layout/describe.js';
import { decodeTarget, encodeTarget, type Lookup, setMember, targetLength } from './buffers.js';
import type { CallResult, MarshalledEcall } from './ecall.js';
import type { FlatMemory } from './memory.js';
import { dataView, rawBytes, readInteger, readValue, writeAddress, writeValue } from './values.js';

type BufferParameter = Extract<ParameterDescription, { pass: 'buffer' }>;

interface FlatValue {
  readonly at: number;
  readonly offset: number;
  readonly type: CType;
  readonly label: string;
}

interface FlatBuffer {
  readonly at: number;
  readonly p: BufferParameter;
  readonly label: string;
  readonly input: boolean;
  readonly output: boolean;
}

/** A buffer that comes back: where it is, and what is filled with it, if the caller gave that. */
interface Place {
  readonly buffer: FlatBuffer;
  readonly offset: number;
  readonly length: number;
  readonly fill: Uint8Array | undefined;
  readonly value: unknown;
}

/** What is looked up once for each call of a description. */
export interface FlatPlan {
  readonly call: CallDescription;
  readonly values: readonly FlatValue[];
  readonly buffers: readonly FlatBuffer[];
  readonly outputs: boolean;
}

/** The plan of a call that can go the short way. */
export function flatPlan(call: CallDescription, labels: readonly string[]): FlatPlan | undefined {
  const values: FlatValue[] = [];
  const buffers: FlatBuffer[] = [];
  for (const [at, p] of call.parameters.entries()) {
    const label = labels[at];
    if (p.pass === 'value') values.push({ at, offset: p.offset, type: p.type, label });
    else if (p.pass === 'buffer' && !p.deep && sized(call, p.target.unit) && sized(call, p.target.count))
      buffers.push({ at, p, label, input: p.direction !== 'out', output: p.direction !== 'in' });
    else return undefined;
  }
  return { call, values, buffers, outputs: buffers.some(({ output }) => output) };
}

/** Whether the extent is a number, or an integer among the parameters. */
function sized(call: CallDescription, extent: Extent): boolean {
  if (typeof extent === 'number') return true;
  const p = call.parameters.find(({ name }) => name === extent);
  return p?.pass === 'value' && p.type.kind === 'integer';
}

/** Lays a call out; undefined when there is no room for it in one piece. @throws EDL_VALUE */
export function marshalFlat(
  plan: FlatPlan,
  index: number,
  args: readonly unknown[],
  memory: FlatMemory,
): MarshalledEcall | undefined {
  const { call, values, buffers } = plan;
  const base = memory.place(call.size, Math.max(call.align, 8));
  if (base < 0) return undefined;
  const { data, bytes } = memory;
  if (call.size <= 64) for (let i = base; i < base + call.size; i++) bytes[i] = 0;
  else bytes.fill(0, base, base + call.size);
  for (let i = 0; i < values.length; i++) {
    const { at, offset, type, label } = values[i];
    writeValue(data, base + offset, type, args[at], label);
  }
  const places: Place[] = [];
  for (let i = 0; i < buffers.length; i++) {
    const place = laid(call, buffers[i], args, memory, base);
    if (place === null) return undefined;
    if (buffers[i].output) places.push(place);
  }
  const finish = (): CallResult => {
    const value = result(call.returns, memory, base);
    if (!plan.outputs) return value;
    const out: Record<string, unknown> = {};
    for (let i = 0; i < places.length; i++) setMember(out, places[i].buffer.p.name, taken(places[i], memory));
    return { value, out };
  };
  const address = base === 0 ? memory.origin : BigInt(memory.address + base);
  return { index, address, finish };
}

/** Writes a buffer and its pointer. null: there is no room. */
function laid(
  call: CallDescription,
  buffer: FlatBuffer,
  args: readonly unknown[],
  memory: FlatMemory,
  base: number,
): Place | null {
  const { p, label, input, output } = buffer;
  const value = args[buffer.at];
  if (value === null) return { buffer, offset: 0, length: -1, fill: undefined, value };
  // Sizes come from the arguments, which have been checked: the enclave may change what is in the structure.
  const length = targetLength(p.target, lookup(call, args), label);
  const offset = memory.place(Math.max(length, 1), 16);
  if (offset < 0) return null;
  writeAddress(memory.data, base + p.offset, memory.address + offset);
  const given = ArrayBuffer.isView(value) ? rawBytes(value, p.target.element, label) : undefined;
  if (given !== undefined && given.length < length)
    throw edlError('EDL_VALUE', `${label} has ${given.length} bytes and needs ${length}`);
  if (!input) {
    if (value !== undefined && given === undefined)
      throw edlError(
        'EDL_VALUE',
        `${label} is an out parameter: leave it out, or pass bytes to fill or null`,
      );
    memory.bytes.fill(0, offset, offset + length);
  } else if (given !== undefined)
    memory.bytes.set(given.length === length ? given : given.subarray(0, length), offset);
  else encodeTarget(memory.bytes.subarray(offset, offset + length), p.target, p.shape, value, label);
  return { buffer, offset, length, fill: output ? given : undefined, value };
}

function lookup(call: CallDescription, args: readonly unknown[]): Lookup {
  return (name) => args[call.parameters.findIndex((p) => p.name === name)] as number | bigint | undefined;
}

/** What an output came to: copied once, then looked at. */
function taken({ buffer, offset, length, fill, value }: Place, { bytes }: FlatMemory): unknown {
  if (length < 0) return null;
  if (fill !== undefined) {
    fill.set(bytes.subarray(offset, offset + length));
    return value;
  }
  const { target, shape } = buffer.p;
  return decodeTarget(bytes.slice(offset, offset + length), target, shape);
}

function result(returns: CType | undefined, { data, bytes }: FlatMemory, base: number): unknown {
  if (returns === undefined) return undefined;
  // Numbers are read once; what has parts is copied first.
  if (returns.kind === 'integer') return readInteger(data, base, returns.size, returns.signed);
  return readValue(dataView(bytes.slice(base, base + sizeOf(returns))), 0, returns);
}
