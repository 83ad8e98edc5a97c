/** Answering an enclave's OCALLs with the handlers that its host gave. */
import { NsgxError } from '@nestedsgx/arch';
import { type FunctionDescription, MessageWriter, readArguments, writeResult } from '@nestedsgx/edl';
import { EMPTY } from './call-frame.js';
import { sdkError } from './errors.js';
import type { OcallDispatch } from './thread.js';

/** A handler by name: decoded arguments in, the result (or a promise of it, in asynchronous ECALLs) out. */
export type OcallHandler = (...args: never[]) => unknown;

/** A handler of bytes: OCALL number and request in, response out. */
export type RawOcall = (index: number, request: Uint8Array) => Uint8Array | Promise<Uint8Array>;

const NONE: readonly unknown[] = [];

/** Builds the dispatch of one enclave. Handlers are looked up when they are needed, so they may be replaced. */
export function ocallDispatch(
  list: readonly FunctionDescription[],
  handlers: Readonly<Record<string, OcallHandler | undefined>>,
  raw: RawOcall | undefined,
  limit: number,
): OcallDispatch {
  const writer = new MessageWriter(limit);
  const encode = (fn: FunctionDescription, value: unknown) =>
    fn.returns === 'void' && value === undefined ? EMPTY : writeResult(writer, fn, value).slice();
  return (index, request) => {
    const fn = list[index];
    const handler = fn === undefined || !Object.hasOwn(handlers, fn.name) ? undefined : handlers[fn.name];
    if (fn === undefined || handler === undefined) {
      if (raw !== undefined) return guarded(`OCALL ${index}`, () => raw(index, request));
      throw sdkError(
        'OCALL_UNKNOWN',
        fn === undefined
          ? `the enclave asked for OCALL ${index}, which its interface does not have`
          : `the enclave asked for OCALL ${fn.name}, for which there is no handler`,
        'pass a handler in the option ocalls of cvm.load',
      );
    }
    const args = (
      request.length === 0 && fn.params.length === 0 ? NONE : readArguments(fn, request)
    ) as never[];
    const result = guarded(`OCALL ${fn.name}`, () => handler(...args));
    if (isThenable(result))
      return Promise.resolve(result).then(
        (value) => encode(fn, value),
        (error) => {
          throw failed(`OCALL ${fn.name}`, error);
        },
      );
    return encode(fn, result);
  };
}

function guarded<T>(what: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw failed(what, error);
  }
}

function failed(what: string, error: unknown): Error {
  const why = error instanceof Error ? error.message : String(error);
  const advice = error instanceof NsgxError ? error.advice : undefined;
  return sdkError('OCALL_FAILED', `the handler of ${what} failed: ${why}`, advice, error);
}

function isThenable(value: unknown): boolean {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function';
}
