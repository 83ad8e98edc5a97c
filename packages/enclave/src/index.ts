/** The trusted side: building enclaves from C, their interface, their description. */
export * from './build.js';
export { buildOutsideKernels, CRYPTO_VERSION, RUNTIME_VERSION, runtimeDigest } from './compile.js';
export { readEdl } from './edl-file.js';
export { elfSymbolAddress } from './elf.js';
export { CompileError, ENCLAVE_ERRORS, type EnclaveErrorCode } from './errors.js';
export { type EnclaveLayout, type LayoutConfig, layOut, type ThreadLayout } from './layout.js';
export { type EnclaveConfig, type EnclaveConfigInput, type EnclaveProject, readProject } from './project.js';
export * from './scaffold.js';
export * from './shared-object/build.js';
export { isBuiltSharedObject, withSigstruct } from './shared-object/signature.js';
export { findToolchain, type Toolchain } from './toolchain.js';
export * from './trusted-abi.js';
