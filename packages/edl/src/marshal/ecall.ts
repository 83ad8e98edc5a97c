/** ECALLs: from arguments to the marshalling structure, and back to results. */
import { edlError } from '../errors.js';
import { sizeOf } from '../layout/ctype.js';
import {
  type CallDescription,
  type EdlDescription,
  findCall,
  type ParameterDescription,
} from '../layout/describe.js';
import {
  decodeTarget,
  deepMembers,
  encodeTarget,
  type Lookup,
  memberLookup,
  setMember,
  structObjects,
  targetLength,
  targetShape,
} from './buffers.js';
import { type FlatPlan, flatPlan, marshalFlat } from './flat.js';
import { copyFrom, textEnd, type UntrustedMemory, viewOf } from './memory.js';
import { decodeText, encodeText } from './text.js';
import { addressOf, dataView, rawBytes, readInteger, readValue, writeValue } from './values.js';

type BufferParameter = Extract<ParameterDescription, { pass: 'buffer' }>;

/** What a call gives: its result, or with `out` parameters `{ value, out }`: the result and their values by name. */
export type CallResult =
  | unknown
  | { readonly value: unknown; readonly out: Readonly<Record<string, unknown>> };

export interface MarshalledEcall {
  /** The ECALL's number. */
  readonly index: number;
  /** Address of the marshalling structure; 0 for a call without one. */
  readonly address: bigint;
  /** After the call: the result, and what came back in `out` parameters. @throws EDL_MEMORY */
  finish(): CallResult;
}

/** Whether the call's result has the form `{ value, out }`. */
export function hasOutputs(call: CallDescription): boolean {
  return call.parameters.some(
    (p) => (p.pass !== 'value' && p.pass !== 'address' && p.direction !== 'in') || false,
  );
}

/**
 * Lays the arguments of an ECALL out in untrusted memory. Arguments for `out` may be left out, or be a Uint8Array or
 * typed array that is filled; an `in, out` one is filled as well. null is NULL.
 * @throws EDL_VALUE, EDL_TYPE
 */
export function marshalEcall(
  description: EdlDescription,
  name: string | number,
  args: readonly unknown[],
  memory: UntrustedMemory,
): MarshalledEcall {
  return ecallMarshaller(description, name)(args, memory);
}

/** `marshalEcall` of one call, which is looked up once. @throws EDL_VALUE, EDL_TYPE */
export function ecallMarshaller(
  description: EdlDescription,
  name: string | number,
): (args: readonly unknown[], memory: UntrustedMemory) => MarshalledEcall {
  const [call, index] = findCall(description.ecalls, name);
  const count = call.parameters.length;
  const empty: MarshalledEcall = Object.freeze({ index, address: 0n, finish: () => undefined });
  const { flat } = planOf(call);
  return (args, memory) => {
    if (args.length > count)
      throw edlError(
        'EDL_VALUE',
        `${call.name} takes ${count} arguments, not ${args.length}`,
        `In this order: ${call.parameters.map((p) => p.name).join(', ') || 'none'}.`,
      );
    if (call.size === 0) return empty;
    const piece = memory.flat;
    const laid =
      flat !== undefined && piece !== undefined ? marshalFlat(flat, index, args, piece) : undefined;
    return laid ?? new EcallFrame(call, args, memory).marshalled(index);
  };
}

/** What is looked up once for each call of a description. */
interface Plan {
  readonly labels: readonly string[];
  readonly flat: FlatPlan | undefined;
}

const plans = new WeakMap<CallDescription, Plan>();

function planOf(call: CallDescription): Plan {
  let plan = plans.get(call);
  if (plan === undefined) {
    const labels = call.parameters.map((p) => `argument ${p.name} of ${call.name}`);
    plan = { labels, flat: flatPlan(call, labels) };
    plans.set(call, plan);
  }
  return plan;
}

class EcallFrame {
  readonly #call: CallDescription;
  readonly #memory: UntrustedMemory;
  readonly #fields: Uint8Array;
  readonly #view: DataView;
  readonly #outputs: { readonly name: string; read(): unknown }[] = [];

  constructor(call: CallDescription, args: readonly unknown[], memory: UntrustedMemory) {
    this.#call = call;
    this.#memory = memory;
    this.#fields = new Uint8Array(call.size);
    this.#view = dataView(this.#fields);
    const { labels } = planOf(call);
    // Values first: sizes and counts are among them.
    call.parameters.forEach((p, i) => {
      if (p.pass === 'value') writeValue(this.#view, p.offset, p.type, args[i], labels[i]);
      else if (p.pass === 'address') this.#pointer(p.offset, addressOf(args[i], labels[i]));
    });
    call.parameters.forEach((p, i) => {
      if (p.pass === 'buffer') this.#buffer(p, args[i], labels[i]);
      else if (p.pass === 'string' || p.pass === 'wstring') this.#text(p, args[i], labels[i]);
    });
  }

  marshalled(index: number): MarshalledEcall {
    const { size, align, returns } = this.#call;
    const address = this.#memory.alloc(size, Math.max(align, 8));
    viewOf(this.#memory, address, size, `the structure of ${this.#call.name}`).set(this.#fields);
    const finish = (): CallResult => {
      let value: unknown;
      if (returns !== undefined) {
        const bytes = copyFrom(this.#memory, address, sizeOf(returns), `the result of ${this.#call.name}`);
        value = readValue(dataView(bytes), 0, returns);
      }
      if (!hasOutputs(this.#call)) return value;
      const out: Record<string, unknown> = {};
      for (const output of this.#outputs) setMember(out, output.name, output.read());
      return { value, out };
    };
    return { index, address, finish };
  }

  readonly #lookup: Lookup = (name) => {
    const p = this.#call.parameters.find((other) => other.name === name);
    if (p?.pass !== 'value' || p.type.kind !== 'integer') return undefined;
    return readInteger(this.#view, p.offset, p.type.size, p.type.signed);
  };

  #pointer(offset: number, address: bigint): void {
    this.#view.setBigUint64(offset, address, true);
  }

  #place(bytes: Uint8Array, what: string): bigint {
    const address = this.#memory.alloc(Math.max(bytes.length, 1), 16);
    viewOf(this.#memory, address, bytes.length, what).set(bytes);
    return address;
  }

  #text(
    p: Extract<ParameterDescription, { pass: 'string' | 'wstring' }>,
    value: unknown,
    what: string,
  ): void {
    const wide = p.pass === 'wstring';
    const output = p.direction !== 'in';
    if (value === null) {
      if (output) this.#outputs.push({ name: p.name, read: () => null });
      return;
    }
    const text = encodeText(value, wide, what);
    const address = this.#place(text, what);
    this.#pointer(p.offset, address);
    if (p.lengthOffset !== undefined) this.#view.setBigUint64(p.lengthOffset, BigInt(text.length), true);
    if (output)
      this.#outputs.push({
        name: p.name,
        read: () => {
          const bytes = copyFrom(this.#memory, address, text.length, what);
          return decodeText(bytes.subarray(0, textEnd(bytes, wide ? 4 : 1)), wide);
        },
      });
  }

  #buffer(p: BufferParameter, value: unknown, what: string): void {
    const output = p.direction !== 'in';
    if (value === null) {
      if (output) this.#outputs.push({ name: p.name, read: () => null });
      return;
    }
    const length = targetLength(p.target, this.#lookup, what);
    const address = this.#memory.alloc(Math.max(length, 1), 16);
    this.#pointer(p.offset, address);
    const bytes = viewOf(this.#memory, address, length, what);
    const fill = output && ArrayBuffer.isView(value) ? rawBytes(value, p.target.element, what) : undefined;
    if (fill !== undefined && fill.length < length)
      throw edlError('EDL_VALUE', `${what} has ${fill.length} bytes and needs ${length}`);
    let deep: DeepCopy | undefined;
    if (p.direction === 'out') {
      if (value !== undefined && fill === undefined)
        throw edlError(
          'EDL_VALUE',
          `${what} is an out parameter: leave it out, or pass bytes to fill or null`,
        );
      bytes.fill(0);
    } else if (p.deep) {
      deep = this.#deep(p, bytes, value, what);
    } else encodeTarget(bytes, p.target, p.shape, value, what);
    if (!output) return;
    this.#outputs.push({
      name: p.name,
      read: () => {
        if (fill !== undefined) {
          fill.set(viewOf(this.#memory, address, length, what));
          return value;
        }
        const copy = copyFrom(this.#memory, address, length, what);
        const decoded = decodeTarget(copy, p.target, p.shape);
        if (deep !== undefined) this.#readDeep(p, copy, decoded, deep, what);
        return decoded;
      },
    });
  }

  /** Structures with what their members point to. Gives where that is, by structure and member. */
  #deep(p: BufferParameter, bytes: Uint8Array, value: unknown, what: string): DeepCopy {
    const { element } = p.target;
    const members = deepMembers(element);
    const objects = structObjects(value, p.shape, what);
    const scratch = new Uint8Array(bytes.length);
    encodeTarget(scratch, p.target, p.shape, value, what);
    const view = dataView(scratch);
    const step = element === undefined ? 1 : sizeOf(element);
    const placed = objects.map((object, i) =>
      members.map(({ name, offset, deep }) => {
        const data = object[name];
        const label = `${what}${p.shape === 'many' ? `[${i}]` : ''}.${name}`;
        if (data === null || data === undefined) return undefined;
        const lookup = memberLookup(view, i * step, element?.kind === 'struct' ? element.members : []);
        const inner = new Uint8Array(targetLength(deep, lookup, label));
        encodeTarget(inner, deep, targetShape(deep), data, label);
        const address = this.#place(inner, label);
        view.setBigUint64(i * step + offset, address, true);
        return { address, length: inner.length };
      }),
    );
    bytes.set(scratch);
    return placed;
  }

  /** Reads back what members pointed to before the call; never more than was there, and never by pointers of now. */
  #readDeep(p: BufferParameter, copy: Uint8Array, decoded: unknown, placed: DeepCopy, what: string): void {
    const { element } = p.target;
    if (element?.kind !== 'struct') return;
    const view = dataView(copy);
    const objects = structObjects(decoded, p.shape, what);
    deepMembers(element).forEach(({ name, deep }, m) => {
      objects.forEach((object, i) => {
        const place = placed[i][m];
        if (place === undefined) {
          setMember(object, name, null);
          return;
        }
        const label = `${what}.${name}`;
        const now = targetLength(deep, memberLookup(view, i * element.size, element.members), label);
        const bytes = copyFrom(this.#memory, place.address, Math.min(now, place.length), label);
        setMember(object, name, decodeTarget(bytes, deep, targetShape(deep)));
      });
    });
  }
}

type DeepCopy = ({ readonly address: bigint; readonly length: number } | undefined)[][];
