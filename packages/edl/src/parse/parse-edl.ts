/** The front end of the EDL language. */
import { edlError } from '../errors.js';
import type { EdlFile } from './ast.js';
import { checkInterface, type EdlWarning } from './checks.js';
import { type EdlResolver, parseWithImports } from './imports.js';
import { DEFAULT_EDL_LIMITS, type EdlLimits } from './limits.js';
import type { EdlSource } from './source.js';

export interface ParseEdlOptions {
  /** Finds imported files; without it an import is an error. */
  readonly resolve?: EdlResolver;
  readonly limits?: Partial<EdlLimits>;
  /** Whether an interface without a public ECALL is an error; it is by default, as in sgx_edger8r. */
  readonly requirePublic?: boolean;
  /** Macros, as gcc's -D defines them: for `#if` and for names in the text. Numbers from 0 to 2^53 - 1. */
  readonly defines?: Readonly<Record<string, number>>;
  /** Lets attributes through that the language no longer has; only calls that need them are then unavailable. */
  readonly allowRemoved?: boolean;
}

/** An interface with all imports: the place of a function in its list is its number. */
export interface ParsedEdl extends EdlFile {
  readonly warnings: readonly EdlWarning[];
}

/**
 * Parses an EDL file with its imports and checks it as Intel's sgx_edger8r does.
 * @throws EdlError with EDL_SYNTAX, EDL_ATTRIBUTE, EDL_REMOVED, EDL_DECLARATION, EDL_IMPORT or EDL_LIMIT; EDL_VALUE for
 * `defines` that are none
 */
export function parseEdl(source: EdlSource, options: ParseEdlOptions = {}): ParsedEdl {
  const limits = { ...DEFAULT_EDL_LIMITS, ...options.limits };
  const { resolve = () => undefined, defines = {}, allowRemoved = false } = options;
  checkConstants(defines);
  const file = parseWithImports(source, { resolve, limits, defines, allowRemoved });
  return { ...file, warnings: checkInterface(file, options.requirePublic ?? true) };
}

/** @throws EDL_VALUE for what is no name of C, or no number that fits */
export function checkConstants(constants: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(constants)) {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name))
      throw edlError('EDL_VALUE', `${JSON.stringify(name)} is not the name of a macro`);
    if (!Number.isSafeInteger(value) || value < 0)
      throw edlError(
        'EDL_VALUE',
        `the macro '${name}' is given as ${value}, expected an integer from 0 to 2^53 - 1`,
      );
  }
}
