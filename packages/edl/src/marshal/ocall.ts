/** OCALLs: from the enclave's marshalling structure to arguments, and the answer back into it. */
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
import { hasOutputs } from './ecall.js';
import { copyFrom, copyText, type UntrustedMemory, viewOf } from './memory.js';
import { decodeText, encodeText } from './text.js';
import { dataView, readInteger, readValue, writeValue } from './values.js';

type BufferParameter = Extract<ParameterDescription, { pass: 'buffer' }>;

export interface MarshalledOcall {
  readonly name: string;
  /** Arguments in order. Those of `out` parameters are zeros that may be changed in place; NULL is null. */
  readonly args: unknown[];
  /**
   * Writes the answer: the result, or for calls with `out` parameters or errno `{ value, out, errno }`, each optional;
   * what `out` does not name is taken from `args`. @throws EDL_VALUE; nothing is written then
   */
  finish(answer?: unknown): void;
}

/**
 * Reads the arguments of an OCALL, all copied before they are looked at.
 * @param address what the enclave gave as its marshalling structure
 * @throws EDL_MEMORY when something is not in untrusted memory, EDL_VALUE for lengths that make no sense, EDL_TYPE
 */
export function marshalOcall(
  description: EdlDescription,
  name: string | number,
  address: bigint,
  memory: UntrustedMemory,
): MarshalledOcall {
  const [call] = findCall(description.ocalls, name);
  if (call.size === 0) {
    if (address !== 0n) throw edlError('EDL_MEMORY', `${call.name} has no structure, but one was given`);
    return {
      name: call.name,
      args: [],
      finish: (answer) => {
        if (answer !== undefined) throw edlError('EDL_VALUE', `${call.name} returns nothing`);
      },
    };
  }
  return new OcallFrame(call, address, memory).marshalled();
}

class OcallFrame {
  readonly #call: CallDescription;
  readonly #address: bigint;
  readonly #memory: UntrustedMemory;
  readonly #view: DataView;
  readonly #args: unknown[];
  /** One for each `out` parameter: encodes a value and gives what writes it. */
  readonly #outputs: { readonly name: string; readonly at: number; encode(value: unknown): () => void }[] =
    [];

  constructor(call: CallDescription, address: bigint, memory: UntrustedMemory) {
    this.#call = call;
    this.#address = address;
    this.#memory = memory;
    this.#view = dataView(copyFrom(memory, address, call.size, `the structure of ${call.name}`));
    this.#args = call.parameters.map((p, i) => this.#argument(p, i));
  }

  marshalled(): MarshalledOcall {
    return { name: this.#call.name, args: this.#args, finish: (answer) => this.#finish(answer) };
  }

  #finish(answer: unknown): void {
    const { name, returns, errnoOffset } = this.#call;
    const wide = hasOutputs(this.#call) || errnoOffset !== undefined;
    const fields = wide && typeof answer === 'object' && answer !== null;
    const { value, out = {}, errno = 0 } = fields ? (answer as Answer) : { value: answer };
    const writes: (() => void)[] = [];
    if (returns !== undefined) {
      const bytes = new Uint8Array(sizeOf(returns));
      writeValue(dataView(bytes), 0, returns, value, `the result of ${name}`);
      writes.push(() => this.#write(this.#address, bytes));
    } else if (value !== undefined) throw edlError('EDL_VALUE', `${name} returns nothing, but got a result`);
    if (errnoOffset !== undefined) {
      const bytes = new Uint8Array(4);
      writeValue(
        dataView(bytes),
        0,
        { kind: 'integer', size: 4, signed: true },
        errno,
        `the errno of ${name}`,
      );
      writes.push(() => this.#write(this.#address + BigInt(errnoOffset), bytes));
    }
    for (const key of Object.keys(out))
      if (!this.#outputs.some((output) => output.name === key) && !this.#isNull(key))
        throw edlError('EDL_VALUE', `${name} has no out parameter '${key}'`);
    for (const output of this.#outputs)
      writes.push(output.encode(Object.hasOwn(out, output.name) ? out[output.name] : this.#args[output.at]));
    for (const write of writes) write();
  }

  /** Answers for an out parameter that the enclave gave as NULL are dropped, as C code would. */
  #isNull(key: string): boolean {
    const at = this.#call.parameters.findIndex(
      (p) => p.name === key && 'direction' in p && p.direction !== 'in',
    );
    return at >= 0 && this.#args[at] === null;
  }

  #write(address: bigint, bytes: Uint8Array): void {
    if (bytes.length > 0)
      viewOf(this.#memory, address, bytes.length, `an answer of ${this.#call.name}`).set(bytes);
  }

  readonly #lookup: Lookup = (name) => {
    const p = this.#call.parameters.find((other) => other.name === name);
    if (p?.pass !== 'value' || p.type.kind !== 'integer') return undefined;
    return readInteger(this.#view, p.offset, p.type.size, p.type.signed);
  };

  #argument(p: ParameterDescription, at: number): unknown {
    if (p.pass === 'value') return readValue(this.#view, p.offset, p.type);
    const address = this.#view.getBigUint64(p.offset, true);
    if (p.pass === 'address') return address;
    if (address === 0n) return null;
    const what = `argument ${p.name} of ${this.#call.name}`;
    if (p.pass === 'buffer') return this.#buffer(p, at, address, what);
    const wide = p.pass === 'wstring';
    const bytes = copyText(this.#memory, address, wide ? 4 : 1, what);
    if (p.direction !== 'in')
      this.#outputs.push({
        name: p.name,
        at,
        encode: (value) => {
          const text = encodeText(value, wide, what);
          const room = bytes.length + (wide ? 4 : 1);
          if (text.length > room)
            throw edlError('EDL_VALUE', `${what} has room for ${room} bytes, the answer has ${text.length}`);
          return () => this.#write(address, text);
        },
      });
    return decodeText(bytes, wide);
  }

  #buffer(p: BufferParameter, at: number, address: bigint, what: string): unknown {
    const length = targetLength(p.target, this.#lookup, what);
    viewOf(this.#memory, address, length, what);
    const bytes =
      p.direction === 'out' ? new Uint8Array(length) : copyFrom(this.#memory, address, length, what);
    // A copy of its own: what the handler changes must not change what the addresses of members are.
    const deep = p.deep ? this.#deep(p, bytes.slice(), what) : undefined;
    const value = decodeTarget(bytes, p.target, p.shape);
    if (deep !== undefined) deep.attach(structObjects(value, p.shape, what));
    if (p.direction !== 'in')
      this.#outputs.push({
        name: p.name,
        at,
        encode: (answer) => {
          const encoded = new Uint8Array(length);
          encodeTarget(encoded, p.target, p.shape, answer, what);
          const inner = deep?.encode(encoded, structObjects(answer, p.shape, what)) ?? [];
          return () => {
            this.#write(address, encoded);
            for (const write of inner) write();
          };
        },
      });
    return value;
  }

  #deep(p: BufferParameter, bytes: Uint8Array, what: string): DeepCopy {
    const { element } = p.target;
    const members = element?.kind === 'struct' ? element.members : [];
    const step = element === undefined ? 1 : sizeOf(element);
    const view = dataView(bytes);
    const places = deepMembers(element).flatMap(({ name, offset, deep }) =>
      Array.from({ length: bytes.length / step }, (_, i) => {
        const address = view.getBigUint64(i * step + offset, true);
        const label = `${what}.${name}`;
        const length = address === 0n ? 0 : targetLength(deep, memberLookup(view, i * step, members), label);
        const data = address === 0n ? null : copyFrom(this.#memory, address, length, label);
        return { i, name, at: i * step + offset, address, length, data, deep, label };
      }),
    );
    return {
      attach: (objects) => {
        for (const { i, name, data, deep } of places)
          setMember(objects[i], name, data === null ? null : decodeTarget(data, deep, targetShape(deep)));
      },
      encode: (encoded, objects) => {
        const after = dataView(encoded);
        const writes: (() => void)[] = [];
        for (const { i, name, at, address, length, deep, label } of places) {
          after.setBigUint64(at, address, true);
          if (address === 0n) continue;
          const now = targetLength(deep, memberLookup(after, i * step, members), label);
          if (now > length)
            throw edlError('EDL_VALUE', `${label} has room for ${length} bytes, the answer has ${now}`);
          const inner = new Uint8Array(now);
          encodeTarget(inner, deep, targetShape(deep), objects[i][name], label);
          writes.push(() => this.#write(address, inner));
        }
        return writes;
      },
    };
  }
}

interface DeepCopy {
  attach(objects: Record<string, unknown>[]): void;
  encode(encoded: Uint8Array, objects: Record<string, unknown>[]): (() => void)[];
}

interface Answer {
  readonly value?: unknown;
  readonly out?: Readonly<Record<string, unknown>>;
  readonly errno?: number;
}
