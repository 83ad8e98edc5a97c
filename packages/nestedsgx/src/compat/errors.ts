/** Error codes of the compatibility run, each with its meaning in one line. */
import { NsgxError } from '@nestedsgx/arch';

/** Every code that functions of this folder throw. */
export const COMPAT_ERRORS = Object.freeze({
  COMPAT_FOLDER: 'The folder of enclaves to try cannot be read, or has none.',
  COMPAT_PLAN: 'A NAME.compat.json is no JSON, or has an unknown or ill-typed field.',
} as const);

/** Makes an error of this folder. */
export function compatError(code: keyof typeof COMPAT_ERRORS, message: string, cause?: unknown): NsgxError {
  return new NsgxError(code, message, {
    advice: 'See docs/COMPATIBILITY.md for the form of folders and plans.',
    cause,
  });
}
