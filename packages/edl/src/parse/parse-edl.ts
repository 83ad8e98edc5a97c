/** The front end of the EDL language. */
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
}

/** An interface with all imports: the place of a function in its list is its number. */
export interface ParsedEdl extends EdlFile {
  readonly warnings: readonly EdlWarning[];
}

/**
 * Parses an EDL file with its imports and checks it as Intel's sgx_edger8r does.
 * @throws EdlError with EDL_SYNTAX, EDL_ATTRIBUTE, EDL_REMOVED, EDL_DECLARATION, EDL_IMPORT or EDL_LIMIT
 */
export function parseEdl(source: EdlSource, options: ParseEdlOptions = {}): ParsedEdl {
  const limits = { ...DEFAULT_EDL_LIMITS, ...options.limits };
  const file = parseWithImports(source, options.resolve ?? (() => undefined), limits);
  return { ...file, warnings: checkInterface(file, options.requirePublic ?? true) };
}
