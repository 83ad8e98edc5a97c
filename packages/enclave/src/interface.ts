/** The interface of an enclave: its ECALLs and OCALLs with typed parameters (interface.json and NAME.json). */
import { z } from 'zod';
import { enclaveError } from './errors.js';

/** Types of parameters and results. Integers and numbers take 8 bytes in a message, text and bytes a length and data. */
export const VALUE_TYPES = ['i32', 'u32', 'i64', 'u64', 'f64', 'bool', 'string', 'bytes'] as const;
/** One of {@link VALUE_TYPES}. */
export type ValueType = (typeof VALUE_TYPES)[number];

const identifier = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]{0,63}$/, 'is not a C identifier of at most 64 characters');
const valueType = z.enum(VALUE_TYPES);

const callSchema = z.strictObject({
  name: identifier,
  params: z
    .array(z.strictObject({ name: identifier, type: valueType }))
    .max(16)
    .default([]),
  returns: z.union([valueType, z.literal('void')]).default('void'),
});

const interfaceSchema = z.strictObject({
  ecalls: z.array(callSchema).max(1024).default([]),
  ocalls: z.array(callSchema).max(1024).default([]),
});

/** One parameter. */
export interface InterfaceParam {
  readonly name: string;
  readonly type: ValueType;
}

/** One ECALL or OCALL; its index is its place in the list. */
export interface InterfaceCall {
  readonly name: string;
  readonly params: readonly InterfaceParam[];
  readonly returns: ValueType | 'void';
}

/** All calls of an enclave. */
export interface EnclaveInterface {
  readonly ecalls: readonly InterfaceCall[];
  readonly ocalls: readonly InterfaceCall[];
}

const KEYWORDS = new Set(
  (
    'auto break case char const continue default do double else enum extern float for goto if inline int long ' +
    'register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while ' +
    'asm typeof bool true false NULL main ' +
    'malloc calloc realloc free abort memcpy memmove memset memcmp memchr strlen strnlen strcmp strncmp strchr ' +
    'strrchr strstr snprintf vsnprintf'
  ).split(' '),
);

function refuseName(name: string, what: string): void {
  if (KEYWORDS.has(name) || name.startsWith('nsgx_') || name.startsWith('br_') || name.startsWith('__')) {
    throw enclaveError(
      'INTERFACE_NAME',
      `the ${what} '${name}' has a name that C or the trusted runtime needs`,
      {
        advice: 'Choose another name; names do not begin with nsgx_, br_ or two underscores.',
      },
    );
  }
}

/**
 * Checks a parsed interface.json. `source` names it in messages.
 *
 * Throws PROJECT_INVALID for a wrong shape and INTERFACE_NAME for a name that cannot be used.
 */
export function parseInterface(value: unknown, source = 'interface.json'): EnclaveInterface {
  const parsed = interfaceSchema.safeParse(value);
  if (!parsed.success) throw invalid(source, parsed.error);
  const seen = new Set<string>();
  for (const [kind, calls] of [
    ['ECALL', parsed.data.ecalls],
    ['OCALL', parsed.data.ocalls],
  ] as const) {
    for (const call of calls) {
      refuseName(call.name, kind);
      if (seen.has(call.name)) {
        throw enclaveError('INTERFACE_NAME', `${source} names '${call.name}' twice`, {
          advice: 'Give every ECALL and OCALL a name of its own.',
        });
      }
      seen.add(call.name);
      const params = new Set<string>();
      for (const param of call.params) {
        refuseName(param.name, `parameter of '${call.name}'`);
        if (params.has(param.name)) {
          throw enclaveError('INTERFACE_NAME', `'${call.name}' names its parameter '${param.name}' twice`, {
            advice: 'Give every parameter a name of its own.',
          });
        }
        params.add(param.name);
      }
    }
  }
  return parsed.data;
}

/** A PROJECT_INVALID error from what zod found first. */
export function invalid(source: string, error: z.ZodError): Error {
  const issue = error.issues[0];
  const where = issue.path.length > 0 ? ` at ${issue.path.join('.')}` : '';
  return enclaveError('PROJECT_INVALID', `${source} is not valid${where}: ${issue.message}`, {
    advice: 'Compare the file with the one that `nsgx new` makes.',
  });
}
