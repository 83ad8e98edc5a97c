/** The interface of an enclave: its ECALLs and OCALLs with typed parameters (interface.json and NAME.json). */
import { edlError } from './errors.js';

/** Types of parameters and results. Integers and numbers take 8 bytes in a message, text and bytes a length and data. */
export const VALUE_TYPES = ['i32', 'u32', 'i64', 'u64', 'f64', 'bool', 'string', 'bytes'] as const;

export type ValueType = (typeof VALUE_TYPES)[number];

/** One function: parameters in order, and the type of its result. */
export interface FunctionDescription {
  readonly name: string;
  readonly params: readonly { readonly name: string; readonly type: ValueType }[];
  readonly returns: ValueType | 'void';
}

/** An enclave's interface. The number of an ECALL or OCALL is its place in its list. */
export interface InterfaceDescription {
  readonly name?: string;
  readonly ecalls: readonly FunctionDescription[];
  readonly ocalls: readonly FunctionDescription[];
}

const IDENTIFIER = /^[A-Za-z_][A-Za-z0-9_]{0,63}$/;
const MAX_CALLS = 1024;
const MAX_PARAMS = 16;
const MAX_NAME = 256;

const KEYWORDS = new Set(
  (
    'auto break case char const continue default do double else enum extern float for goto if inline int long ' +
    'register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while ' +
    'asm typeof bool true false NULL main ' +
    'malloc calloc realloc free abort memcpy memmove memset memcmp memchr strlen strnlen strcmp strncmp strchr ' +
    'strrchr strstr snprintf vsnprintf'
  ).split(' '),
);

/**
 * Reads the description that a built image carries (the parsed NAME.json), or an equal object.
 * @throws INTERFACE_INVALID naming the field, INTERFACE_NAME for a name used twice
 */
export function parseInterface(value: unknown): InterfaceDescription {
  const description = readInterface(value, 'the interface description');
  for (const list of [description.ecalls, description.ocalls]) refuseTwice(list, 'the interface');
  return description;
}

/**
 * Reads an author's interface.json, more strictly: unknown fields and names that C needs are errors as well.
 * @param source the file's name, for messages
 * @throws INTERFACE_INVALID, INTERFACE_NAME
 */
export function parseInterfaceSource(value: unknown, source = 'interface.json'): InterfaceDescription {
  const description = readInterface(value, source, ['ecalls', 'ocalls']);
  const { ecalls, ocalls } = description;
  for (const [kind, list] of [
    ['ECALL', ecalls],
    ['OCALL', ocalls],
  ] as const)
    for (const call of list) {
      refuseName(call.name, kind);
      refuseTwice(call.params, `'${call.name}'`);
      for (const param of call.params) refuseName(param.name, `parameter of '${call.name}'`);
    }
  refuseTwice([...ecalls, ...ocalls], source);
  return description;
}

/** Both forms; with `known` no other fields may be there, and both lists may be left out. */
function readInterface(value: unknown, source: string, known?: readonly string[]): InterfaceDescription {
  const fail = (at: string, message: string): never => {
    throw edlError(
      'INTERFACE_INVALID',
      `${source} is not usable${at === '' ? '' : ` at ${at}`}: ${message}`,
      'Compare it with the interface.json that `nsgx new` makes.',
    );
  };
  const fields = (item: unknown, at: string, allowed?: readonly string[]): Record<string, unknown> => {
    if (typeof item !== 'object' || item === null || Array.isArray(item)) return fail(at, 'is no object');
    const unknown = allowed && Object.keys(item).find((name) => !allowed.includes(name));
    if (unknown !== undefined) return fail(at, `has an unknown field ${JSON.stringify(unknown)}`);
    return item as Record<string, unknown>;
  };
  const list = <T>(item: unknown, at: string, most: number, read: (item: unknown, at: string) => T): T[] => {
    if (!Array.isArray(item)) return fail(at, 'is no list');
    if (item.length > most) return fail(at, `has more than ${most} entries`);
    return Array.from(item, (entry, i) => read(entry, `${at}.${i}`));
  };
  const identifier = (item: unknown, at: string): string =>
    typeof item === 'string' && IDENTIFIER.test(item)
      ? item
      : fail(at, 'is not a C identifier of at most 64 characters');
  const typeOf = <T extends string>(item: unknown, at: string, types: readonly T[]): T =>
    types.find((type) => type === item) ?? fail(at, `is none of ${types.join(', ')}`);
  const param = (item: unknown, at: string) => {
    const { name, type } = fields(item, at, ['name', 'type']);
    return { name: identifier(name, `${at}.name`), type: typeOf(type, `${at}.type`, VALUE_TYPES) };
  };
  const call = (item: unknown, at: string): FunctionDescription => {
    const { name, params = [], returns = 'void' } = fields(item, at, ['name', 'params', 'returns']);
    return {
      name: identifier(name, `${at}.name`),
      params: list(params, `${at}.params`, MAX_PARAMS, param),
      returns: typeOf(returns, `${at}.returns`, [...VALUE_TYPES, 'void'] as const),
    };
  };
  const { name, ecalls, ocalls = [], format = 1 } = fields(value, '', known);
  if (format !== 1) return fail('format', 'is not 1');
  if (name !== undefined && (typeof name !== 'string' || name.length > MAX_NAME))
    return fail('name', `is no text of at most ${MAX_NAME} characters`);
  return {
    ...(name === undefined ? {} : { name }),
    ecalls: list(known === undefined ? ecalls : (ecalls ?? []), 'ecalls', MAX_CALLS, call),
    ocalls: list(ocalls, 'ocalls', MAX_CALLS, call),
  };
}

function refuseName(name: string, what: string): void {
  if (!KEYWORDS.has(name) && !/^(nsgx_|br_|__)/.test(name)) return;
  throw edlError(
    'INTERFACE_NAME',
    `the ${what} '${name}' has a name that C or the trusted runtime needs`,
    'Choose another name; names do not begin with nsgx_, br_ or two underscores.',
  );
}

function refuseTwice(list: readonly { readonly name: string }[], where: string): void {
  const seen = new Set<string>();
  for (const { name } of list) {
    if (seen.has(name))
      throw edlError('INTERFACE_NAME', `${where} names '${name}' twice`, 'Give each a name of its own.');
    seen.add(name);
  }
}
