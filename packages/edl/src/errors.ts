/** Error codes of the edl package, each with its meaning in one line. */
import { NsgxError } from '@nestedsgx/arch';

/** Every code that functions of this package throw as the `code` of an `NsgxError`. */
export const EDL_ERRORS = Object.freeze({
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
