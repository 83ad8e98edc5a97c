/** The interface of an enclave: its ECALLs and OCALLs with typed parameters (interface.json and NAME.json). */
import { z } from 'zod';
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

const identifier = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]{0,63}$/, 'is not a C identifier of at most 64 characters');
const valueType = z.enum(VALUE_TYPES);

const functionSchema = z.strictObject({
  name: identifier,
  params: z
    .array(z.strictObject({ name: identifier, type: valueType }))
    .max(16)
    .default([]),
  returns: z.union([valueType, z.literal('void')]).default('void'),
});

const lists = {
  ecalls: z.array(functionSchema).max(1024).default([]),
  ocalls: z.array(functionSchema).max(1024).default([]),
};
const sourceSchema = z.strictObject(lists);
/** NAME.json has more than the interface: what else a build records is not looked at. */
const builtSchema = z.object({
  ...lists,
  ecalls: z.array(functionSchema).max(1024),
  format: z.literal(1).optional(),
  name: z.string().max(256).optional(),
});

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
  const description = checked(builtSchema, value, 'the interface description');
  for (const list of [description.ecalls, description.ocalls]) refuseTwice(list, 'the interface');
  return description;
}

/**
 * Reads an author's interface.json, more strictly: unknown fields and names that C needs are errors as well.
 * @param source the file's name, for messages
 * @throws INTERFACE_INVALID, INTERFACE_NAME
 */
export function parseInterfaceSource(value: unknown, source = 'interface.json'): InterfaceDescription {
  const description = checked(sourceSchema, value, source);
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

function checked<T extends z.ZodType>(schema: T, value: unknown, source: string): z.output<T> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const where = issue !== undefined && issue.path.length > 0 ? ` at ${issue.path.join('.')}` : '';
  throw edlError(
    'INTERFACE_INVALID',
    `${source} is not usable${where}: ${issue?.message ?? 'invalid'}`,
    'Compare it with the interface.json that `nsgx new` makes.',
  );
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
