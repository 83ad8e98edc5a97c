/** The typed description of an enclave's ECALLs and OCALLs, as in NAME.json and interface.json. */
import { z } from 'zod';
import { sdkError } from './errors.js';

/** Types of parameters and results. */
export const VALUE_TYPES = ['i32', 'u32', 'i64', 'u64', 'f64', 'bool', 'string', 'bytes'] as const;

export type ValueType = (typeof VALUE_TYPES)[number];

/** One function: parameters in order, and the type of its result. */
export interface FunctionDescription {
  readonly name: string;
  readonly params: readonly { readonly name: string; readonly type: ValueType }[];
  readonly returns: ValueType | 'void';
}

/** An enclave's interface. ECALL and OCALL numbers are the positions in the lists. */
export interface InterfaceDescription {
  readonly name?: string;
  readonly ecalls: readonly FunctionDescription[];
  readonly ocalls: readonly FunctionDescription[];
}

const identifier = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,63}$/);
const functionSchema = z.object({
  name: identifier,
  params: z.array(z.object({ name: identifier, type: z.enum(VALUE_TYPES) })).max(64),
  returns: z.enum([...VALUE_TYPES, 'void']),
});
const schema = z.object({
  format: z.literal(1).optional(),
  name: z.string().max(256).optional(),
  ecalls: z.array(functionSchema).max(4096),
  ocalls: z.array(functionSchema).max(4096).default([]),
});

/**
 * Checks a description (for example the parsed NAME.json). Fields it does not know are left out.
 * @throws INTERFACE_INVALID naming the field
 */
export function parseInterface(value: unknown): InterfaceDescription {
  const result = schema.safeParse(value);
  if (!result.success) {
    const issue = result.error.issues[0];
    throw sdkError(
      'INTERFACE_INVALID',
      `the interface description is not usable: ${issue.path.join('.') || 'value'}: ${issue.message}`,
      'compare it with the interface.json of `nsgx new`',
    );
  }
  for (const list of [result.data.ecalls, result.data.ocalls]) {
    const seen = new Set<string>();
    for (const { name } of list) {
      if (seen.has(name)) throw sdkError('INTERFACE_INVALID', `the interface names ${name} twice`);
      seen.add(name);
    }
  }
  return result.data;
}

/** JavaScript type of a value type. */
export type ValueOf<T> = T extends 'i32' | 'u32' | 'f64'
  ? number
  : T extends 'i64' | 'u64'
    ? bigint
    : T extends 'bool'
      ? boolean
      : T extends 'string'
        ? string
        : T extends 'bytes'
          ? Uint8Array
          : T extends 'void'
            ? // biome-ignore lint/suspicious/noConfusingVoidType: functions without a result return void
              void
            : never;

/** What may be passed where a value type is expected: integers may be numbers or bigints. */
export type ArgumentOf<T> = T extends 'i32' | 'u32' | 'i64' | 'u64' ? number | bigint : ValueOf<T>;

/** True for `any`: an interface that is known only at run time. */
type IsAny<T> = 0 extends 1 & T ? true : false;

type ParamsOf<F extends FunctionDescription> =
  IsAny<F> extends true
    ? // biome-ignore lint/suspicious/noExplicitAny: nothing is known of the parameters
      any[]
    : {
        -readonly [K in keyof F['params']]: F['params'][K] extends { type: infer T } ? ArgumentOf<T> : never;
      };

type ResultsOf<F extends FunctionDescription> =
  IsAny<F> extends true
    ? // biome-ignore lint/suspicious/noExplicitAny: nothing is known of the parameters
      any[]
    : { -readonly [K in keyof F['params']]: F['params'][K] extends { type: infer T } ? ValueOf<T> : never };

// biome-ignore lint/suspicious/noExplicitAny: nothing is known of the result
type ReturnOf<F extends FunctionDescription> = IsAny<F> extends true ? any : ValueOf<F['returns']>;

type AnswerOf<F extends FunctionDescription> =
  // biome-ignore lint/suspicious/noExplicitAny: nothing is known of the result
  IsAny<F> extends true ? any : ArgumentOf<F['returns']> | Promise<ArgumentOf<F['returns']>>;

/** Named functions of a list of descriptions, called synchronously. */
export type SyncFunctions<L extends readonly FunctionDescription[]> = {
  readonly [F in L[number] as F['name']]: (...args: ParamsOf<F>) => ReturnOf<F>;
};

/** Named functions of a list of descriptions, called asynchronously. */
export type AsyncFunctions<L extends readonly FunctionDescription[]> = {
  readonly [F in L[number] as F['name']]: (...args: ParamsOf<F>) => Promise<ReturnOf<F>>;
};

/** Handlers of a list of OCALLs; they may return a promise when only asynchronous ECALLs lead to them. */
export type OcallHandlers<L extends readonly FunctionDescription[]> = {
  readonly [F in L[number] as F['name']]?: (...args: ResultsOf<F>) => AnswerOf<F>;
};
