/** Answers the OCALLs of an enclave of Intel's SDK: by its host's handlers, else by what the SDK's untrusted half answers. */
import { NsgxError } from '@nestedsgx/arch';
import {
  type CallDescription,
  type EdlDescription,
  marshalOcall,
  type UntrustedMemory,
} from '@nestedsgx/edl';
import { sdkError } from '../errors.js';

/** A handler by name: arguments as the EDL describes them in, the result (or a promise of it, in asynchronous ECALLs) out. */
export type EdlHandler = (...args: never[]) => unknown;

/** Handlers by OCALL name. */
export type EdlHandlers = Readonly<Record<string, EdlHandler | undefined>>;

/** Answers OCALLs that nobody else answers. */
export type OtherOcalls = (ocall: CallDescription, args: readonly unknown[]) => unknown;

/** What a runtime is told in RSI of the ORET. Source: Intel SGX SDK, sgx_error.h. */
export const SGX_SUCCESS = 0;
export const SGX_ERROR_UNEXPECTED = 1;

/** Runs one OCALL; undefined, or a promise where the handler gave one. */
export type EdlDispatch = (index: number, address: number) => Promise<void> | undefined;

/** Builds the dispatch of one enclave. Handlers are looked up when they are needed, so they may be replaced. */
export function edlDispatch(
  description: EdlDescription | undefined,
  memory: UntrustedMemory,
  handlers: EdlHandlers,
  builtin: EdlHandlers,
  other?: OtherOcalls,
): EdlDispatch {
  const count = description?.ocalls.length ?? 0;
  return (index, address) => {
    if (description === undefined || index < 0 || index >= count)
      throw sdkError(
        'OCALL_UNKNOWN',
        description === undefined
          ? `the enclave asked for OCALL ${index}, and was loaded without its EDL file`
          : `the enclave asked for OCALL ${index}; its EDL file has ${count}`,
        'load it with the EDL file that it was built with',
      );
    const ocall = description.ocalls[index];
    const { name } = ocall;
    const handler = Object.hasOwn(handlers, name)
      ? handlers[name]
      : Object.hasOwn(builtin, name)
        ? builtin[name]
        : other && ((...args: readonly unknown[]) => other(ocall, args));
    if (handler === undefined)
      throw sdkError(
        'OCALL_UNKNOWN',
        `the enclave asked for OCALL ${name}, for which there is no handler`,
        'pass a handler in the option ocalls of cvm.load',
      );
    const call = marshalOcall(description, index, BigInt(address), memory);
    let answer: unknown;
    try {
      answer = handler(...(call.args as never[]));
      if (!isThenable(answer)) {
        call.finish(answer);
        return undefined;
      }
    } catch (error) {
      throw failed(name, error);
    }
    return Promise.resolve(answer).then(
      (value) => {
        try {
          call.finish(value);
        } catch (error) {
          throw failed(name, error);
        }
      },
      (error) => {
        throw failed(name, error);
      },
    );
  };
}

function failed(name: string, error: unknown): Error {
  const why = error instanceof Error ? error.message : String(error);
  const advice = error instanceof NsgxError ? error.advice : undefined;
  return sdkError('OCALL_FAILED', `the handler of OCALL ${name} failed: ${why}`, advice, error);
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function';
}
