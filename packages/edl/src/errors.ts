/** Error codes of the edl package, each with its meaning in one line. */
import { NsgxError } from '@nestedsgx/arch';

/** Every code that functions of this package throw as the `code` of an `NsgxError`. */
export const EDL_ERRORS = Object.freeze({
  EDL_SYNTAX: 'an EDL file does not follow the grammar of the language',
  EDL_ATTRIBUTE:
    'an attribute of an EDL file is unknown, repeated, or does not go with its type or the others',
  EDL_REMOVED: "an EDL file uses a feature that Intel's tool no longer has",
  EDL_DECLARATION: 'a declaration of an EDL file contradicts another, or names what does not exist',
  EDL_IMPORT: 'an import of an EDL file has no file, misses a function or imports itself',
  EDL_TYPE: 'the size of a type or the value of a macro of an EDL file is not known, or has no bound',
  EDL_LIMIT: 'an EDL file is larger or nested deeper than the limits',
  EDL_VALUE: 'a value does not fit the parameter that the EDL file declares',
  EDL_MEMORY: 'a marshalling structure or what it points to is not in untrusted memory, or is malformed',
  INTERFACE_INVALID: "the description of an enclave's interface is malformed",
  INTERFACE_NAME: 'an interface uses a name that C or the trusted runtime needs, or uses one twice',
  MESSAGE_INVALID: 'a value does not fit the type that the interface declares for it',
  MESSAGE_MALFORMED: 'a message does not follow the declared types',
  MESSAGE_TOO_LARGE: 'a request or response is larger than the configured limit',
} as const);

export type EdlErrorCode = keyof typeof EDL_ERRORS;

/** Makes an error of this package; `advice` says what to do about it. */
export function edlError(code: EdlErrorCode, message: string, advice?: string, cause?: unknown): NsgxError {
  return new NsgxError(code, message, { advice, cause });
}
