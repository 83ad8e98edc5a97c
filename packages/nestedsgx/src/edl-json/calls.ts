/** Arguments of ECALLs and answers of OCALLs as JSON. */
import { type CallDescription, hasOutputs, type ParameterDescription } from '@nestedsgx/edl';
import { UsageError } from '../cli/terminal.js';
import { bytesFromJson, isByteForm, toJson, valueFromJson, zeroOf } from './values.js';

/** Memory for `user_check` pointers. */
export interface Room {
  alloc(length: number): { readonly address: number; readonly bytes: Uint8Array };
}

/** What stands for an `out` parameter that is not given: a buffer as the declaration says. */
export const LEFT_OUT = '-';

/**
 * Arguments of a call. Trailing ones may be missing where they are `out`; `-` leaves one out in the middle. For
 * `user_check`, bytes are put into memory that the enclave gets the address of.
 * @throws UsageError, NsgxError VALUE_NOT_HEX
 */
export function argumentsFromJson(call: CallDescription, given: readonly unknown[], room: Room): unknown[] {
  if (given.length > call.parameters.length)
    throw new UsageError(`${given.length} arguments are too many for ${signatureOf(call)}`);
  return call.parameters.map((p, i) => {
    const isOut = p.pass !== 'value' && p.pass !== 'address' && p.direction === 'out';
    if (isOut && (i >= given.length || given[i] === LEFT_OUT)) return undefined;
    if (i >= given.length) throw new UsageError(`argument ${p.name} is missing: ${signatureOf(call)}`);
    return argumentFromJson(p, given[i], room);
  });
}

function argumentFromJson(p: ParameterDescription, json: unknown, room: Room): unknown {
  const what = `argument ${p.name}`;
  if (p.pass === 'value') return valueFromJson(json, p.type, what);
  if (json === null) return null;
  if (p.pass === 'address') {
    if (!isByteForm(json)) return valueFromJson(json, { kind: 'pointer' }, what);
    const bytes = bytesFromJson(json, what);
    const block = room.alloc(Math.max(bytes.length, 1));
    block.bytes.set(bytes);
    return BigInt(block.address);
  }
  return referred(p, json, what);
}

/** What a pointer with a direction points to. */
function referred(
  p: Exclude<ParameterDescription, { pass: 'value' | 'address' }>,
  json: unknown,
  what: string,
): unknown {
  if (p.pass !== 'buffer') {
    if (typeof json === 'string') return json;
    if (isByteForm(json)) return Buffer.from(bytesFromJson(json, what)).toString('utf8');
    throw new UsageError(`${what} must be text, not ${JSON.stringify(json)}`);
  }
  const { element } = p.target;
  if (element === undefined || p.shape === 'bytes' || isByteForm(json)) return bytesFromJson(json, what);
  if (p.shape === 'one')
    return typeof json === 'string' && element.kind === 'struct'
      ? bytesFromJson(json, what)
      : valueFromJson(json, element, what);
  if (!Array.isArray(json)) return bytesFromJson(json, what);
  return json.map((item, i) => valueFromJson(item, element, `${what}[${i}]`));
}

/** What an ECALL gave: `{ result }`, and `out` for calls that have such parameters. */
export function resultToJson(call: CallDescription, result: unknown): { result: unknown; out?: unknown } {
  if (!hasOutputs(call)) return { result: toJson(result) ?? null };
  const { value, out } = result as { value: unknown; out: Record<string, unknown> };
  return { result: toJson(value) ?? null, out: toJson(out) };
}

/**
 * The answer to an OCALL: a value, or for calls with `out` parameters or errno also `{"value", "out", "errno"}`.
 * @throws UsageError, NsgxError VALUE_NOT_HEX
 */
export function answerFromJson(call: CallDescription, json: unknown): unknown {
  const wide = hasOutputs(call) || call.errnoOffset !== undefined;
  const isFields =
    wide && typeof json === 'object' && json !== null && !Array.isArray(json) && !isByteForm(json);
  const fields = (isFields ? json : { value: json }) as { value?: unknown; out?: unknown; errno?: unknown };
  const answer = zeroAnswer(call) as { value?: unknown; out?: unknown; errno?: unknown } | undefined;
  const what = `the result of ${call.name}`;
  const value =
    call.returns === undefined
      ? undefined
      : fields.value === undefined
        ? zeroOf(call.returns)
        : valueFromJson(fields.value, call.returns, what);
  if (!wide) return value;
  const out: Record<string, unknown> = {};
  for (const [name, item] of Object.entries((fields.out ?? {}) as Record<string, unknown>)) {
    const p = call.parameters.find((candidate) => candidate.name === name);
    if (p === undefined || p.pass === 'value' || p.pass === 'address' || p.direction === 'in')
      throw new UsageError(`${call.name} has no out parameter "${name}"`);
    out[name] = referred(p, item, `${name} of ${call.name}`);
  }
  return { ...answer, value, out, errno: typeof fields.errno === 'number' ? fields.errno : 0 };
}

/** The answer of zeros. */
export function zeroAnswer(call: CallDescription): unknown {
  const value = call.returns === undefined ? undefined : zeroOf(call.returns);
  return hasOutputs(call) || call.errnoOffset !== undefined ? { value } : value;
}

/** What an OCALL prints, if it looks like one that prints: its texts; else undefined. */
export function printed(call: CallDescription, args: readonly unknown[]): string | undefined {
  if (!/print|puts|log|debug|trace|message|msg/i.test(call.name)) return undefined;
  const texts = call.parameters.flatMap((p, i) =>
    p.pass === 'string' && p.direction === 'in' && typeof args[i] === 'string' ? [args[i]] : [],
  );
  return texts.length === 0 ? undefined : texts.join(' ');
}

/** Name and parameters of a call, for people. */
export function signatureOf(call: CallDescription): string {
  const parameter = (p: ParameterDescription): string => {
    if (p.pass === 'value') return p.name;
    return p.pass === 'address' ? `[user_check] ${p.name}` : `[${p.direction}] ${p.name}`;
  };
  return `${call.name}(${call.parameters.map(parameter).join(', ')})`;
}
