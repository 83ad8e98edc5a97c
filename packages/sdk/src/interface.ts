/** TypeScript types of an enclave's functions, from the description of its interface. */
import type { FunctionDescription } from '@nestedsgx/edl';

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
    : ArgumentsOf<F['params']>;

/* Each maps over a type parameter of its own: only then does a tuple of parameters stay a tuple. */
type ArgumentsOf<P extends readonly unknown[]> = {
  -readonly [K in keyof P]: P[K] extends { type: infer T } ? ArgumentOf<T> : never;
};
type ValuesOf<P extends readonly unknown[]> = {
  -readonly [K in keyof P]: P[K] extends { type: infer T } ? ValueOf<T> : never;
};

type ResultsOf<F extends FunctionDescription> =
  IsAny<F> extends true
    ? // biome-ignore lint/suspicious/noExplicitAny: nothing is known of the parameters
      any[]
    : ValuesOf<F['params']>;

// biome-ignore lint/suspicious/noExplicitAny: nothing is known of the result
type ReturnOf<F extends FunctionDescription> = IsAny<F> extends true ? any : ValueOf<F['returns']>;

type AnswerOf<F extends FunctionDescription> =
  // biome-ignore lint/suspicious/noExplicitAny: nothing is known of the result
  IsAny<F> extends true ? any : ArgumentOf<F['returns']> | Promise<ArgumentOf<F['returns']>>;

/** Named functions of a list of descriptions, called synchronously. */
export type SyncFunctions<L extends readonly FunctionDescription[]> = {
  readonly [F in L[number] as F['name']]: (...args: Extract<ParamsOf<F>, unknown[]>) => ReturnOf<F>;
};

/** Named functions of a list of descriptions, called asynchronously. */
export type AsyncFunctions<L extends readonly FunctionDescription[]> = {
  readonly [F in L[number] as F['name']]: (...args: Extract<ParamsOf<F>, unknown[]>) => Promise<ReturnOf<F>>;
};

/** Handlers of a list of OCALLs; they may return a promise when only asynchronous ECALLs lead to them. */
export type OcallHandlers<L extends readonly FunctionDescription[]> = {
  readonly [F in L[number] as F['name']]?: (...args: Extract<ResultsOf<F>, unknown[]>) => AnswerOf<F>;
};
