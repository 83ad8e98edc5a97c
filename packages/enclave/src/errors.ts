/** The error codes of package `enclave`. */
import { NsgxError } from '@nestedsgx/arch';

/** Every error code that package `enclave` throws, with its meaning in one line. */
export const ENCLAVE_ERRORS = Object.freeze({
  PROJECT_FILE: 'A file of an enclave project is missing or cannot be read.',
  PROJECT_INVALID: 'enclave.json has a wrong, missing or unknown field.',
  PROJECT_NO_SOURCES: 'An enclave project has no C file in its src folder.',
  PROJECT_EXISTS: 'The folder for a new project exists and is not empty.',
  PROJECT_TEMPLATE: 'There is no project template or sample of that name.',
  PROJECT_NOT_BUILT: 'A sample enclave is not built yet.',
  TOOLCHAIN_MISSING: 'gcc, or the linker it uses, is not installed.',
  TOOLCHAIN_VERSION: 'gcc is too old, or does not compile for x86-64.',
  COMPILE_FAILED: 'gcc refused a source file of the enclave.',
  LINK_FAILED: 'The linker refused the enclave, most often because a function is not defined.',
  ELF_MALFORMED: 'The linked file is not a well-formed 64-bit x86 ELF file.',
  ELF_UNSUPPORTED: 'The linked enclave needs something that the trusted runtime does not offer.',
  LAYOUT_TOO_LARGE: 'The enclave would be larger than the limit.',
} as const);

/** Codes of {@link ENCLAVE_ERRORS}. */
export type EnclaveErrorCode = keyof typeof ENCLAVE_ERRORS;

/** A typed error of this package. */
export function enclaveError(
  code: EnclaveErrorCode,
  message: string,
  options: { cause?: unknown; advice?: string } = {},
): NsgxError {
  return new NsgxError(code, message, options);
}

/** COMPILE_FAILED or LINK_FAILED; `output` is everything that gcc said, with file and line. */
export class CompileError extends NsgxError {
  /** gcc's diagnostics as it wrote them. */
  readonly output: string;

  constructor(code: 'COMPILE_FAILED' | 'LINK_FAILED', message: string, output: string, advice: string) {
    super(code, message, { advice });
    this.output = output;
  }
}
